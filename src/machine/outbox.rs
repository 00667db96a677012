//! Answers from the moment they are final until the peer has proven to have read them
//! (`reliability.md` 6.2 and 6.3).
//!
//! An entry holds the frame's final bytes, so a resend is byte for byte the same. It leaves when a pong
//! answers a ping that was sent after it (the peer's WebSocket layer has read past it), when it is found to be what
//! the peer closes on (`poison`), or when its time is over. On a connection whose peer never answers a ping, time
//! that the connection lived has to do for a proof (`fence`).

use std::collections::VecDeque;
use std::time::Duration;

use super::action::{ConnectionNo, DispatchId};
use super::poison::{Ending, SOON, Suspicion, Verdict};
use super::protections::Protections;
use crate::protocol::frame::FrameText;

struct Entry {
    id: DispatchId,
    frame: FrameText,
    expires: Duration,
    /// Its way over a connection, once it has been given to one.
    sent: Option<Sent>,
    /// Whether it has been given to any before.
    tried: bool,
    suspicion: Suspicion,
}

#[derive(Clone, Copy)]
struct Sent {
    conn: ConnectionNo,
    /// The ping whose pong proves the entry.
    fence: u64,
    at: Duration,
}

impl Entry {
    /// When it was given to `conn`, if it was.
    fn sent_on(&self, conn: ConnectionNo) -> Option<Sent> {
        self.sent.filter(|sent| sent.conn == conn)
    }
}

/// What the driver is asked to write.
#[derive(Debug, PartialEq, Eq)]
pub enum Write {
    /// An answer.
    Frame(FrameText),
    /// The ping that proves those before it.
    Fence(u64),
}

/// The answers that may still have to be sent.
pub struct Outbox {
    /// In the order in which they became final; those given to the current connection are in front.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the last fence that was written, and the one that is awaited with its connection.
    fence: u64,
    awaited: Option<(ConnectionNo, u64)>,
    /// The peer of the current connection does not answer pings.
    unfenced: bool,
    /// Whether answers are kept at all, and until they are proven.
    keeps: bool,
    fences: bool,
    first_sends: u64,
    resends: u64,
}

impl Outbox {
    /// An empty one.
    pub fn new(protections: Protections) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            fence: 0,
            awaited: None,
            unfenced: false,
            keeps: protections.outbox,
            fences: protections.fences,
            first_sends: 0,
            resends: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose answers are kept, in the order in which they became final.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.id)
    }

    /// How often an answer was written for the first time, and again.
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.first_sends, self.resends)
    }

    /// Whether an answer for `id` still waits for its proof.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.id == id)
    }

    pub fn push(&mut self, id: DispatchId, frame: FrameText, expires: Duration) {
        self.bytes += frame.len();
        self.entries.push_back(Entry {
            id,
            frame,
            expires,
            sent: None,
            tried: false,
            suspicion: Suspicion::default(),
        });
    }

    /// Gives every entry that `conn` has not had to `write`, and a fence behind them unless one is on its way.
    /// What is under suspicion is given when nothing else is on its way, and holds back what is behind it.
    pub fn flush(&mut self, conn: ConnectionNo, now: Duration, mut write: impl FnMut(Write)) {
        let mut given = self
            .entries
            .partition_point(|entry| entry.sent_on(conn).is_some());
        let fence = self.fence + 1;
        while given < self.entries.len() {
            let in_company = given > 0
                && (self.entries[given].suspicion.alone || self.entries[given - 1].suspicion.alone);
            if in_company {
                break;
            }
            let entry = &mut self.entries[given];
            let sends = if entry.tried {
                &mut self.resends
            } else {
                &mut self.first_sends
            };
            *sends += 1;
            entry.tried = true;
            entry.sent = Some(Sent {
                conn,
                fence,
                at: now,
            });
            write(Write::Frame(entry.frame.clone()));
            given += 1;
        }
        if !self.fences {
            return self.drop_while(|entry| entry.sent.is_some());
        }
        self.fence_if_needed(conn, write);
    }

    /// A pong with this number came: everything that was written before its ping has been read.
    pub fn proven(
        &mut self,
        conn: ConnectionNo,
        fence: u64,
        now: Duration,
        write: impl FnMut(Write),
    ) {
        if self.prove(conn, fence) {
            self.flush(conn, now, write);
        }
    }

    /// The same on a connection over which nothing more is written.
    pub(super) fn proven_at_the_end(&mut self, conn: ConnectionNo, fence: u64) {
        self.prove(conn, fence);
    }

    /// Drops what this pong proves. Whether it was the one that was awaited.
    fn prove(&mut self, conn: ConnectionNo, fence: u64) -> bool {
        // One ping is awaited at a time. A pong with any other number is the peer's own idea (RFC 6455 allows
        // pongs that nobody asked for), and would prove what was never read.
        let awaited = self.awaited == Some((conn, fence));
        if awaited {
            self.drop_while(|entry| entry.sent_on(conn).is_some_and(|sent| sent.fence <= fence));
            self.awaited = None;
        }
        awaited
    }

    /// The peer of the current connection does not answer pings: none is asked for a proof any more.
    pub(super) fn give_up_fences(&mut self) {
        self.unfenced = true;
        self.awaited = None;
    }

    /// How delivery is proven on the current connection: 1 by fences, 0 by time (`reliability.md` 6.3).
    pub(super) fn fence_level(&self) -> u8 {
        u8::from(!self.unfenced)
    }

    /// What was given to `conn` until `then` counts as delivered.
    pub(super) fn delivered_until(&mut self, conn: ConnectionNo, then: Duration) {
        self.drop_while(|entry| entry.sent_on(conn).is_some_and(|sent| sent.at <= then));
    }

    /// The fence that is on its way over `conn`.
    pub(super) fn awaited(&self, conn: ConnectionNo) -> Option<u64> {
        self.awaited
            .filter(|(on, _)| *on == conn)
            .map(|(_, fence)| fence)
    }

    /// The connection is gone: what it had not proven will be sent again.
    pub(super) fn connection_lost(&mut self) {
        for entry in &mut self.entries {
            entry.sent = None;
        }
        self.awaited = None;
        self.unfenced = false;
        if !self.keeps {
            self.entries.clear();
            self.bytes = 0;
        }
    }

    /// `conn` has ended: which answers it was about, and what becomes of them.
    pub(super) fn blame(
        &mut self,
        conn: ConnectionNo,
        now: Duration,
        ending: Ending,
    ) -> Vec<(DispatchId, Verdict)> {
        let mut guilty = Vec::new();
        for entry in &mut self.entries {
            if let Some(sent) = entry.sent_on(conn) {
                let soon = now.saturating_sub(sent.at) < SOON;
                if let Some(verdict) = entry.suspicion.ended(soon, ending) {
                    guilty.push((DispatchId::clone(&entry.id), verdict));
                }
            }
        }
        for (id, verdict) in &guilty {
            match verdict {
                Verdict::Poisoned => drop(self.remove(|entry| entry.id == *id)),
                Verdict::Last => self.put_last(id),
                Verdict::TooLarge => {}
            }
        }
        guilty.retain(|(_, verdict)| *verdict != Verdict::Last);
        guilty
    }

    fn put_last(&mut self, id: &str) {
        let at = self.entries.iter().position(|entry| &*entry.id == id);
        if let Some(entry) = at.and_then(|at| self.entries.remove(at)) {
            self.entries.push_back(entry);
        }
    }

    /// Puts another frame in the place of an answer.
    pub(super) fn replace(&mut self, id: &str, frame: FrameText) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| &*entry.id == id) {
            self.bytes = self.bytes - entry.frame.len() + frame.len();
            entry.frame = frame;
            entry.suspicion = Suspicion::replaced();
        }
    }

    /// One entry that is not worth sending any more.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<DispatchId> {
        self.remove(|entry| entry.expires <= now)
    }

    fn remove(&mut self, which: impl FnMut(&Entry) -> bool) -> Option<DispatchId> {
        let at = self.entries.iter().position(which)?;
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.frame.len();
        Some(entry.id)
    }

    /// When the next entry expires.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.entries.iter().map(|entry| entry.expires).min()
    }

    /// Writes a fence if there is something to prove and none is awaited: any number of answers share one.
    fn fence_if_needed(&mut self, conn: ConnectionNo, mut write: impl FnMut(Write)) {
        let unproven = self
            .entries
            .front()
            .is_some_and(|entry| entry.sent.is_some());
        if self.awaited.is_none() && unproven && !self.unfenced {
            self.fence += 1;
            self.awaited = Some((conn, self.fence));
            write(Write::Fence(self.fence));
        }
    }

    /// Drops from the front what is with the peer.
    fn drop_while(&mut self, delivered: impl Fn(&Entry) -> bool) {
        while let Some(entry) = self.entries.front().filter(|entry| delivered(entry)) {
            self.bytes -= entry.frame.len();
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &mut Outbox, id: &str) {
        outbox.push(id.into(), id.to_owned().into(), Duration::from_mins(1));
    }

    fn flushed(outbox: &mut Outbox, conn: ConnectionNo) -> Vec<String> {
        let mut seen = Vec::new();
        outbox.flush(conn, Duration::ZERO, |write| seen.push(shown(write)));
        seen
    }

    fn proven(outbox: &mut Outbox, conn: ConnectionNo, fence: u64) -> Vec<String> {
        let mut seen = Vec::new();
        outbox.proven(conn, fence, Duration::ZERO, |write| seen.push(shown(write)));
        seen
    }

    fn shown(write: Write) -> String {
        match write {
            Write::Frame(text) => text.to_string(),
            Write::Fence(n) => format!("fence {n}"),
        }
    }

    #[test]
    fn any_number_of_answers_share_a_fence() {
        let mut outbox = Outbox::new(Protections::default());
        push(&mut outbox, "a");
        assert_eq!(flushed(&mut outbox, 1), ["a", "fence 1"]);
        push(&mut outbox, "b");
        push(&mut outbox, "c");
        assert_eq!(
            flushed(&mut outbox, 1),
            ["b", "c"],
            "one fence is on its way"
        );
        assert_eq!(proven(&mut outbox, 1, 1), ["fence 2"]);
        assert_eq!(outbox.len(), 2);
        assert!(proven(&mut outbox, 1, 2).is_empty());
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn an_answer_is_not_proven_by_a_ping_that_went_before_it() {
        let mut outbox = Outbox::new(Protections::default());
        push(&mut outbox, "a");
        flushed(&mut outbox, 1);
        push(&mut outbox, "b");
        flushed(&mut outbox, 1);
        proven(&mut outbox, 1, 1);
        assert!(outbox.holds("b") && !outbox.holds("a"));
    }

    #[test]
    fn what_was_not_proven_is_sent_again_in_order_and_identical() {
        let mut outbox = Outbox::new(Protections::default());
        push(&mut outbox, "a");
        push(&mut outbox, "b");
        assert_eq!(flushed(&mut outbox, 1), ["a", "b", "fence 1"]);
        outbox.connection_lost();
        push(&mut outbox, "c");
        assert_eq!(flushed(&mut outbox, 2), ["a", "b", "c", "fence 2"]);
        assert!(
            proven(&mut outbox, 1, 2).is_empty(),
            "a pong of another connection proves nothing"
        );
        assert_eq!(outbox.len(), 3);
        proven(&mut outbox, 2, 2);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_expired_are_handed_out_once() {
        let mut outbox = Outbox::new(Protections::default());
        push(&mut outbox, "a");
        outbox.push("b".into(), "b".to_owned().into(), Duration::from_secs(5));
        assert_eq!(outbox.next_expiry(), Some(Duration::from_secs(5)));
        assert_eq!(outbox.pop_expired(Duration::from_secs(5)), Some("b".into()));
        assert_eq!(outbox.pop_expired(Duration::from_secs(5)), None);
        assert_eq!(outbox.len(), 1);
    }
}
