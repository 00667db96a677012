//! Answers that the peer closes the connection on (`reliability.md` R-04c and 5.4).
//!
//! One such answer, sent again with every connection, would keep all others from ever being delivered. So what is
//! followed by the end of the connection again and again is sent alone, to learn whether it is the one. If the peer
//! closes on it with a code that complains, it is given up; if the connection only breaks, it goes behind the others,
//! until its time is over.

use std::time::Duration;

use serde_json::json;

use super::Machine;
use super::action::{ConnectionNo, LinkEnd};
use super::event::EventKind;
use super::time::Now;
use crate::protocol::close_code::{self, CloseMeaning};

/// A close this soon after an answer may be about it.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// An answer is sent so many times.
const SENDS: u8 = 3;

/// How a connection ended, as far as the answers are concerned that it had not proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The peer says that something was too large.
    TooBig,
    /// The peer closed with a code that may be a complaint.
    Complaint,
    /// The connection broke, or was closed for reasons of its own. A peer that breaks over an answer cannot be told
    /// from a network that breaks, so nothing is ever given up for it.
    Loss,
}

impl Ending {
    pub(super) fn of(end: &LinkEnd) -> Self {
        let LinkEnd::Closed {
            code: Some(code), ..
        } = end
        else {
            return Self::Loss;
        };
        match close_code::meaning(Some(*code)) {
            CloseMeaning::TooBig => Self::TooBig,
            CloseMeaning::Protocol | CloseMeaning::Crash => Self::Complaint,
            CloseMeaning::Announced | CloseMeaning::Auth | CloseMeaning::Superseded => Self::Loss,
        }
    }
}

/// What the ends of connections say of an answer.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// How many of its sends in a row were followed by an end that may be about it, and how many of those ends were
    /// complaints.
    ends: u8,
    complaints: u8,
    /// Whether it goes alone, so that a close says which answer it is about.
    pub(super) alone: bool,
    /// Whether it is the refusal in the place of a result that was too large.
    replaced: bool,
}

/// What becomes of an answer that the peer closes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is dropped.
    Poisoned,
    /// An error goes in its place.
    TooLarge,
    /// It went alone and the connection broke again: the others go before it.
    Last,
}

impl Suspicion {
    pub(super) fn replaced() -> Self {
        Self {
            replaced: true,
            ..Self::default()
        }
    }

    /// A connection has ended that the answer was given to, without proof that it was read.
    pub(super) fn ended(&mut self, soon: bool, ending: Ending) -> Option<Verdict> {
        let too_big = ending == Ending::TooBig;
        if !soon && !too_big {
            (self.ends, self.complaints, self.alone) = (0, 0, false);
            return None;
        }
        self.ends = self.ends.saturating_add(1);
        self.complaints += u8::from(ending != Ending::Loss);
        // A crash hits whatever is on its way, so one is no reason to send answers one by one; the last
        // chance is taken alone, so that nothing is given up for the company that it was in.
        let was_alone = self.alone;
        self.alone = too_big || self.ends + 1 >= SENDS;
        match self.complaints {
            SENDS.. if too_big && !self.replaced => Some(Verdict::TooLarge),
            SENDS.. => Some(Verdict::Poisoned),
            _ if was_alone && ending == Ending::Loss => Some(Verdict::Last),
            _ => None,
        }
    }
}

impl Machine {
    /// Gives up the answer that the peer closes on, if that is now known.
    pub(super) fn blame_answers(&mut self, now: Now, conn: ConnectionNo, end: &LinkEnd) -> bool {
        if !self.settings.protections.poison_guard {
            return false;
        }
        let guilty = self.outbox.blame(conn, now.mono, Ending::of(end));
        for (id, verdict) in &guilty {
            let reason = match verdict {
                Verdict::Last => continue,
                Verdict::Poisoned => {
                    self.counters.results_dropped.poisoned += 1;
                    // Nor is it sent again when the mesh asks again.
                    self.inbox.replace_answer(id, None);
                    "poisoned"
                }
                Verdict::TooLarge => {
                    self.counters.results_dropped.too_large += 1;
                    let text = "the mesh closes the connection on the result: it is too large";
                    let stamp = self.stamp(now);
                    let error = self.frame_writer.error(stamp, id, "RESULT_TOO_LARGE", text);
                    self.outbox.replace(id, error.clone());
                    self.inbox.replace_answer(id, Some(error));
                    "too_large"
                }
            };
            self.emit(
                EventKind::ResultDropped,
                json!({"dispatch_id": &**id, "reason": reason}),
            );
        }
        !guilty.is_empty()
    }
}
