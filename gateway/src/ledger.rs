//! The ledger: every dispatch and every answer, append-only, so that a test can prove "exactly one answer".

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::records::as_seconds;

/// Every dispatch the gateway was asked for, in order.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    entries: Vec<LedgerEntry>,
    #[serde(skip)]
    by_id: HashMap<String, usize>,
}

/// One dispatch id and all that happened to it.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerEntry {
    /// The dispatch id: the `id` of the frame.
    pub id: String,
    /// The `skill_id`.
    pub skill_id: Option<String>,
    /// When it was asked for, since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub opened_at: Duration,
    /// Every time its frame was sent.
    pub sent: Vec<SentDispatch>,
    /// Every answer that came, also late and repeated ones.
    pub answers: Vec<ReceivedAnswer>,
    /// Whether the end-to-end timeout passed before the first answer.
    pub timed_out: bool,
}

/// One sending of a dispatch.
#[derive(Debug, Clone, Serialize)]
pub struct SentDispatch {
    /// Since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// To which instance.
    pub instance_id: String,
    /// On which of its connections, from 1.
    pub connection: u64,
}

/// One answer frame.
#[derive(Debug, Clone, Serialize)]
pub struct ReceivedAnswer {
    /// Since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// From which instance.
    pub instance_id: String,
    /// On which of its connections, from 1.
    pub connection: u64,
    /// The exact text of the frame.
    pub text: String,
}

impl ReceivedAnswer {
    /// Type and payload: what makes two answers the same answer.
    pub(crate) fn content(&self) -> Option<(Value, Value)> {
        let mut frame: Value = serde_json::from_str(&self.text).ok()?;
        Some((frame["type"].take(), frame["payload"].take()))
    }
}

impl Ledger {
    /// All entries, oldest first.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// The entry of one dispatch id.
    pub fn get(&self, id: &str) -> Option<&LedgerEntry> {
        self.by_id.get(id).map(|&at| &self.entries[at])
    }

    /// How many dispatches have at least one answer.
    pub fn answered(&self) -> usize {
        self.entries
            .iter()
            .filter(|e| !e.answers.is_empty())
            .count()
    }

    /// The entries that were sent and have no answer.
    pub fn unanswered(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries
            .iter()
            .filter(|e| !e.sent.is_empty() && e.answers.is_empty())
    }

    pub(crate) fn open(&mut self, id: &str, skill_id: Option<&str>, at: Duration) {
        if self.by_id.contains_key(id) {
            return;
        }
        self.by_id.insert(id.to_owned(), self.entries.len());
        self.entries.push(LedgerEntry {
            id: id.to_owned(),
            skill_id: skill_id.map(str::to_owned),
            opened_at: at,
            sent: Vec::new(),
            answers: Vec::new(),
            timed_out: false,
        });
    }

    pub(crate) fn entry_mut(&mut self, id: &str) -> Option<&mut LedgerEntry> {
        self.by_id.get(id).map(|&at| &mut self.entries[at])
    }
}
