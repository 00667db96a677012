//! The ledger: every dispatch and every answer, so that a test can prove "exactly one answer".
//!
//! It is bounded, so that it can carry a soak: of the settled dispatches the oldest go first, and what must still be
//! known of them (is this the same answer again?) stays as hashes for four times as long.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use crate::{
    dispatch::Answer,
    envelope,
    hosted::reply,
    inbound,
    recent::{self, Recent},
    records::{as_seconds, as_seconds_if_any},
};

/// How many sendings and how many answers of one dispatch are kept as records; all are counted.
const RECORDS_PER_DISPATCH: usize = 64;
/// For how many times `ledger_limit` the first answers of dropped dispatches stay known.
const TRACES_PER_ENTRY: usize = 4;

/// The dispatches the gateway was asked for, in order.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    entries: Vec<LedgerEntry>,
    #[serde(skip)]
    by_id: HashMap<String, usize>,
    #[serde(skip)]
    answered: usize,
    #[serde(skip)]
    settled: usize,
    /// Entries before this one have lost the texts of their answers.
    #[serde(skip)]
    texts_from: usize,
    #[serde(skip)]
    text_bytes: usize,
}

/// One dispatch id and all that happened to it.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerEntry {
    /// The dispatch id: the `id` of the frame, the `messageId` of a call; an own one if forged.
    pub id: String,
    /// The `skill_id`.
    pub skill_id: Option<String>,
    /// When it was asked for, since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub opened_at: Duration,
    /// The end of its end-to-end timeout, since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub expires_at: Duration,
    /// How often its frame was sent.
    pub sends: u64,
    /// The first 64 times that its frame was sent.
    pub sent: Vec<SentDispatch>,
    /// How many answers came, also late and repeated ones.
    pub copies: u64,
    /// Whether every answer has the very bytes of the first; true without an answer.
    pub all_identical: bool,
    /// From the first sending to the first answer.
    #[serde(serialize_with = "as_seconds_if_any")]
    pub answered_after: Option<Duration>,
    /// The first 64 answers.
    pub answers: Vec<ReceivedAnswer>,
    /// Whether the end-to-end timeout passed before the first answer.
    pub timed_out: bool,
    /// Why a hosted agent could not be reached the last time that it could not.
    pub unreachable: Option<String>,
    #[serde(skip)]
    settled: bool,
    #[serde(skip)]
    first: Option<Fingerprint>,
}

/// One sending of a dispatch.
#[derive(Debug, Clone, Serialize)]
pub struct SentDispatch {
    /// Since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// To which instance.
    pub instance_id: String,
    /// On which of its connections, from 1; 0 for a POST.
    pub connection: u64,
    /// To which URL; `None` on a socket.
    pub url: Option<String>,
}

/// One answer frame or HTTP reply.
#[derive(Debug, Clone, Serialize)]
pub struct ReceivedAnswer {
    /// Since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// From which instance.
    pub instance_id: String,
    /// On which of its connections, from 1; 0 for an HTTP reply.
    pub connection: u64,
    /// The status of an HTTP reply; `None` on a socket.
    pub http_status: Option<u16>,
    /// The exact text of the frame or the body; empty once newer answers needed the room
    /// ([`text_limit_bytes`](crate::Options::text_limit_bytes)).
    pub text: String,
}

impl ReceivedAnswer {
    /// What it says; `None` once its text has gone.
    pub fn answer(&self) -> Option<Answer> {
        if self.text.is_empty() {
            return None;
        }
        match self.http_status {
            Some(status) => Some(reply::reread(status, &self.text)),
            None => Some(inbound::answer_of(&envelope::read(&self.text).ok()?)),
        }
    }
}

/// What two answers are compared by when their texts are gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint {
    /// Of the frame's text.
    pub(crate) text: u64,
    /// Of type and payload: what makes two answers the same answer.
    pub(crate) content: u64,
}

/// How an answer relates to the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    First,
    /// The same bytes again.
    Identical,
    /// Other bytes with the same type and payload.
    Reworded,
    /// Another answer.
    Different,
}

fn compare(first: &mut Option<Fingerprint>, now: Fingerprint) -> Copy {
    match first {
        None => {
            *first = Some(now);
            Copy::First
        }
        Some(first) if first.text == now.text => Copy::Identical,
        Some(first) if first.content == now.content => Copy::Reworded,
        Some(_) => Copy::Different,
    }
}

impl LedgerEntry {
    /// Whether its frame was sent to this instance.
    pub(crate) fn was_sent_to(&self, instance_id: &str) -> bool {
        self.sent.iter().any(|sent| sent.instance_id == instance_id)
    }

    pub(crate) fn record_sending(&mut self, sent: SentDispatch) {
        self.sends += 1;
        // Who never got it must not answer it, so each instance is kept at least once.
        if self.sent.len() < RECORDS_PER_DISPATCH || !self.was_sent_to(&sent.instance_id) {
            self.sent.push(sent);
        }
    }

    fn text_bytes(&self) -> usize {
        self.answers.iter().map(|answer| answer.text.len()).sum()
    }
}

impl Ledger {
    /// The entries that are kept, oldest first.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// The entry of one dispatch id.
    pub fn get(&self, id: &str) -> Option<&LedgerEntry> {
        self.by_id.get(id).map(|&at| &self.entries[at])
    }

    /// How many of the kept dispatches have at least one answer. Counted as it happens: costs nothing to ask.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// How many dispatches are neither answered nor timed out. Costs nothing to ask.
    pub fn running(&self) -> usize {
        self.entries.len() - self.settled
    }

    /// The kept entries that were sent and have no answer.
    pub fn unanswered(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().filter(|e| e.sends > 0 && e.copies == 0)
    }

    pub(crate) fn entry_mut(&mut self, id: &str) -> Option<&mut LedgerEntry> {
        self.by_id.get(id).map(|&at| &mut self.entries[at])
    }

    fn text_added(&mut self, at: usize, bytes: usize, limit_bytes: usize) {
        self.text_bytes += bytes;
        if at < self.texts_from {
            // Its dispatch is older than all whose texts are kept.
            self.drop_texts(at);
        }
        while self.text_bytes > limit_bytes && self.texts_from + 1 < self.entries.len() {
            self.drop_texts(self.texts_from);
            self.texts_from += 1;
        }
    }

    fn drop_texts(&mut self, at: usize) {
        for answer in &mut self.entries[at].answers {
            self.text_bytes -= answer.text.len();
            answer.text = String::new();
        }
    }
}

/// The ledger with what keeps it within its bounds.
pub(crate) struct LedgerKeeper {
    ledger: Ledger,
    limit: usize,
    text_limit_bytes: usize,
    /// Of dropped entries: their first answers, by the hash of their id.
    traces: Recent<Option<Fingerprint>>,
}

impl LedgerKeeper {
    pub(crate) fn new(limit: usize, text_limit_bytes: usize) -> Self {
        Self {
            ledger: Ledger::default(),
            limit,
            text_limit_bytes,
            traces: Recent::new(limit.saturating_mul(TRACES_PER_ENTRY)),
        }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn entry_mut(&mut self, id: &str) -> Option<&mut LedgerEntry> {
        self.ledger.entry_mut(id)
    }

    /// Opens an entry, or opens the entry of a settled id again.
    pub(crate) fn open(
        &mut self,
        id: &str,
        skill_id: Option<&str>,
        at: Duration,
        expires_at: Duration,
    ) {
        let ledger = &mut self.ledger;
        if let Some(&index) = ledger.by_id.get(id) {
            let entry = &mut ledger.entries[index];
            entry.expires_at = expires_at;
            if std::mem::replace(&mut entry.settled, false) {
                ledger.settled -= 1;
            }
            return;
        }
        let trace = self.traces.get_mut(recent::hash(id));
        ledger.by_id.insert(id.to_owned(), ledger.entries.len());
        ledger.entries.push(LedgerEntry {
            id: id.to_owned(),
            skill_id: skill_id.map(str::to_owned),
            opened_at: at,
            expires_at,
            sends: 0,
            sent: Vec::new(),
            copies: 0,
            all_identical: true,
            answered_after: None,
            answers: Vec::new(),
            timed_out: false,
            unreachable: None,
            settled: false,
            first: trace.and_then(|trace| *trace),
        });
    }

    /// Takes an answer in; `None` if there is no such entry.
    pub(crate) fn answer(
        &mut self,
        id: &str,
        received: ReceivedAnswer,
        print: Fingerprint,
    ) -> Option<Copy> {
        let ledger = &mut self.ledger;
        let at = *ledger.by_id.get(id)?;
        let entry = &mut ledger.entries[at];
        let copy = compare(&mut entry.first, print);
        entry.copies += 1;
        entry.all_identical &= matches!(copy, Copy::First | Copy::Identical);
        if entry.copies == 1 {
            let since = entry.sent.first().map_or(entry.opened_at, |sent| sent.at);
            entry.answered_after = Some(received.at.saturating_sub(since));
            ledger.answered += 1;
        }
        if entry.answers.len() < RECORDS_PER_DISPATCH {
            let bytes = received.text.len();
            entry.answers.push(received);
            ledger.text_added(at, bytes, self.text_limit_bytes);
        }
        Some(copy)
    }

    /// The same for a dispatch whose entry has been dropped; `None` if it is not known (any more).
    pub(crate) fn answer_to_dropped(&mut self, id: &str, print: Fingerprint) -> Option<Copy> {
        let first = self.traces.get_mut(recent::hash(id))?;
        Some(compare(first, print))
    }

    /// Marks a dispatch as answered or timed out, after which its entry may be dropped.
    pub(crate) fn settle(&mut self, id: &str) {
        if let Some(entry) = self.ledger.entry_mut(id)
            && !std::mem::replace(&mut entry.settled, true)
        {
            self.ledger.settled += 1;
            // In batches: to move the rest up costs as much as the rest is long.
            if self.ledger.settled > self.limit + self.limit / 4 {
                self.drop_oldest();
            }
        }
    }

    fn drop_oldest(&mut self) {
        let ledger = &mut self.ledger;
        let mut excess = ledger.settled - self.limit;
        ledger.settled = self.limit;
        let texts_from = ledger.texts_from;
        let mut kept = Vec::with_capacity(ledger.entries.len() - excess);
        for (at, entry) in std::mem::take(&mut ledger.entries).into_iter().enumerate() {
            if excess == 0 || !entry.settled {
                if let Some(index) = ledger.by_id.get_mut(&entry.id) {
                    *index = kept.len();
                }
                kept.push(entry);
                continue;
            }
            excess -= 1;
            ledger.by_id.remove(&entry.id);
            ledger.answered -= usize::from(entry.copies > 0);
            ledger.text_bytes -= entry.text_bytes();
            ledger.texts_from -= usize::from(at < texts_from);
            *self.traces.entry(recent::hash(&entry.id), None) = entry.first;
        }
        ledger.entries = kept;
    }
}
