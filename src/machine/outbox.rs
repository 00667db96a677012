//! Answers from the moment they are final until the peer has proven to have read them
//! (`reliability.md` 6.2 and 6.3).
//!
//! An entry holds the frame's final bytes, so a resend is byte for byte the same. It leaves when a pong
//! answers a ping that was sent after it (the peer's WebSocket layer has read past it), or when its time is over.

use std::collections::VecDeque;
use std::time::Duration;

use super::action::{ConnectionNo, DispatchId};
use crate::protocol::frame::FrameText;

struct Entry {
    id: DispatchId,
    frame: FrameText,
    expires: Duration,
    /// The ping whose pong proves this entry, once it has been given to a connection.
    sent: Option<(ConnectionNo, u64)>,
}

/// What the driver is asked to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Write {
    Frame(FrameText),
    Fence(u64),
}

/// The answers that may still have to be sent.
#[derive(Default)]
pub(super) struct Outbox {
    /// In the order in which they became final; those given to the current connection are in front.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the last fence that was written, and the one that is awaited with its connection.
    fence: u64,
    awaited: Option<(ConnectionNo, u64)>,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether an answer for `id` still waits for its proof.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.id == id)
    }

    pub(super) fn push(&mut self, id: DispatchId, frame: FrameText, expires: Duration) {
        self.bytes += frame.len();
        self.entries.push_back(Entry {
            id,
            frame,
            expires,
            sent: None,
        });
    }

    /// Gives every entry that `conn` has not had to `write`, and a fence behind them unless one is on its way.
    pub(super) fn flush(&mut self, conn: ConnectionNo, mut write: impl FnMut(Write)) {
        let given = self
            .entries
            .partition_point(|entry| entry.sent.is_some_and(|(on, _)| on == conn));
        let fence = self.fence + 1;
        for entry in self.entries.range_mut(given..) {
            entry.sent = Some((conn, fence));
            write(Write::Frame(entry.frame.clone()));
        }
        self.fence_if_needed(conn, write);
    }

    /// A pong with this number came: everything that was written before its ping has been read.
    pub(super) fn proven(&mut self, conn: ConnectionNo, fence: u64, write: impl FnMut(Write)) {
        // One ping is awaited at a time. A pong with any other number is the peer's own idea (RFC 6455 allows
        // pongs that nobody asked for), and would prove what was never read.
        if self.awaited != Some((conn, fence)) {
            return;
        }
        while let Some(entry) = self.entries.front() {
            let read = entry.sent.is_some_and(|(on, by)| on == conn && by <= fence);
            if !read {
                break;
            }
            self.drop_front();
        }
        self.awaited = None;
        self.fence_if_needed(conn, write);
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
    }

    /// One entry that is not worth sending any more.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<DispatchId> {
        let at = self.entries.iter().position(|entry| entry.expires <= now)?;
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
        if self.awaited.is_none() && unproven {
            self.fence += 1;
            self.awaited = Some((conn, self.fence));
            write(Write::Fence(self.fence));
        }
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.frame.len();
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
        outbox.flush(conn, |write| seen.push(shown(write)));
        seen
    }

    fn proven(outbox: &mut Outbox, conn: ConnectionNo, fence: u64) -> Vec<String> {
        let mut seen = Vec::new();
        outbox.proven(conn, fence, |write| seen.push(shown(write)));
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
        let mut outbox = Outbox::default();
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
        let mut outbox = Outbox::default();
        push(&mut outbox, "a");
        flushed(&mut outbox, 1);
        push(&mut outbox, "b");
        flushed(&mut outbox, 1);
        proven(&mut outbox, 1, 1);
        assert!(outbox.holds("b") && !outbox.holds("a"));
    }

    #[test]
    fn what_was_not_proven_is_sent_again_in_order_and_identical() {
        let mut outbox = Outbox::default();
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
        let mut outbox = Outbox::default();
        push(&mut outbox, "a");
        outbox.push("b".into(), "b".to_owned().into(), Duration::from_secs(5));
        assert_eq!(outbox.next_expiry(), Some(Duration::from_secs(5)));
        assert_eq!(outbox.pop_expired(Duration::from_secs(5)), Some("b".into()));
        assert_eq!(outbox.pop_expired(Duration::from_secs(5)), None);
        assert_eq!(outbox.len(), 1);
    }
}
