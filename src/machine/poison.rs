//! Answers that the peer closes the connection on (`reliability.md` R-04c and 5.4).
//!
//! One such answer, sent again with every connection, would keep all others from ever being delivered. So what is
//! followed by a close again and again is first sent alone, to learn whether it is the one, and then given up.

use std::time::Duration;

use serde_json::json;

use super::Machine;
use super::action::ConnectionNo;
use super::event::EventKind;
use super::time::Now;
use crate::protocol::frame;

/// A close this soon after an answer may be about it.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// An answer is sent so many times.
const SENDS: u8 = 3;

/// What the closes of connections say of an answer.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// How many of its sends in a row were followed by a close that may be about it.
    closes: u8,
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
}

impl Suspicion {
    pub(super) fn replaced() -> Self {
        Self {
            replaced: true,
            ..Self::default()
        }
    }

    /// A connection has ended that the answer was given to, without proof that it was read.
    pub(super) fn closed(&mut self, soon: bool, too_big: bool) -> Option<Verdict> {
        if !soon && !too_big {
            (self.closes, self.alone) = (0, false);
            return None;
        }
        self.closes += 1;
        // A crash hits whatever is on its way, so one is no reason to send answers one by one; the last
        // chance is taken alone, so that nothing is given up for the company that it was in.
        self.alone = too_big || self.closes + 1 >= SENDS;
        match self.closes {
            SENDS.. if too_big && !self.replaced => Some(Verdict::TooLarge),
            SENDS.. => Some(Verdict::Poisoned),
            _ => None,
        }
    }
}

impl Machine {
    /// Gives up the answer that the peer closes on, if that is now known. `too_big` is the peer's own word.
    pub(super) fn blame_answers(&mut self, now: Now, conn: ConnectionNo, too_big: bool) -> bool {
        if !self.settings.protections.poison_guard {
            return false;
        }
        let guilty = self.outbox.blame(conn, now.mono, too_big);
        for (id, verdict) in &guilty {
            let reason = match verdict {
                Verdict::Poisoned => {
                    // Nor is it sent again when the mesh asks again.
                    self.inbox.replace_answer(id, None);
                    "poisoned"
                }
                Verdict::TooLarge => {
                    let text = "the mesh closes the connection on the result: it is too large";
                    let error = frame::error(self.stamp(now), id, "RESULT_TOO_LARGE", text);
                    let error = frame::FrameText::from(error);
                    self.outbox.replace(id, error.clone());
                    self.inbox.replace_answer(id, Some(error));
                    "too_large"
                }
            };
            match verdict {
                Verdict::Poisoned => self.counters.results_dropped.poisoned += 1,
                Verdict::TooLarge => self.counters.results_dropped.too_large += 1,
            }
            self.emit(
                EventKind::ResultDropped,
                json!({"dispatch_id": &**id, "reason": reason}),
            );
        }
        !guilty.is_empty()
    }
}
