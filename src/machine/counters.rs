//! Counts of what happened, by cause where the cause says what to do about it (`reliability.md` 6.6).
//!
//! Plain integers: counting costs a dispatch nothing.

use serde_json::{Value, json};

use super::Transition;
use super::action::Reply;
use super::inbox::Known;
use crate::protocol::close_code::CloseMeaning;
use crate::rare::{Rare, at_rest};

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) dispatches: u64,
    pub(super) duplicates: Rare<Duplicates>,
    pub(super) refused: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) results_dropped: Rare<ResultsDropped>,
    pub(super) frames_rejected: Rare<FramesRejected>,
    pub(super) disconnects: Rare<Disconnects>,
    pub(super) heartbeats: u64,
    pub(super) dials: u64,
    pub(super) registrations: u64,
    pub(super) token_requests: u64,
    pub(super) tokens: Tokens,
    pub(super) stale_inputs: u64,
    pub(super) unknown_transitions: u64,
    /// A bit for each.
    pub(super) transitions: u128,
}

at_rest!(Duplicates, ResultsDropped, FramesRejected, Disconnects);

/// Dispatches whose id was known already, by how far the first one had come.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    queued: u64,
    running: u64,
    answered: u64,
}

impl Duplicates {
    pub(super) fn count(&mut self, known: &Known) {
        match known {
            Known::New => {}
            Known::Queued => self.queued += 1,
            Known::Running => self.running += 1,
            Known::Answered(_) => self.answered += 1,
        }
    }
}

/// Answers that were not delivered, by the reason that the event names; `ended` is `closed` and `failed`.
#[derive(Debug, Default)]
pub(super) struct ResultsDropped {
    pub(super) expired: u64,
    pub(super) poisoned: u64,
    pub(super) too_large: u64,
    pub(super) ended: u64,
}

/// Text messages that came to nothing.
#[derive(Debug, Default)]
pub(super) struct FramesRejected {
    malformed: u64,
    /// Of a type that is unknown, or not due now.
    unexpected: u64,
    /// Dispatches that no answer could refer to.
    pub(super) without_id: u64,
    /// What came while the link was being closed.
    pub(super) closing: u64,
}

impl FramesRejected {
    pub(super) fn count(&mut self, well_formed: bool) {
        if well_formed {
            self.unexpected += 1;
        } else {
            self.malformed += 1;
        }
    }
}

/// Links that were up and ended, by what the end means.
#[derive(Debug, Default)]
pub(super) struct Disconnects {
    /// We closed it.
    pub(super) closed_by_us: u64,
    /// Nothing came in any more.
    pub(super) half_open: u64,
    announced: u64,
    crash: u64,
    protocol: u64,
    too_big: u64,
    auth: u64,
    superseded: u64,
}

impl Disconnects {
    pub(super) fn count(&mut self, meaning: CloseMeaning) {
        *match meaning {
            CloseMeaning::Announced => &mut self.announced,
            CloseMeaning::Crash => &mut self.crash,
            CloseMeaning::Protocol => &mut self.protocol,
            CloseMeaning::TooBig => &mut self.too_big,
            CloseMeaning::Auth => &mut self.auth,
            CloseMeaning::Superseded => &mut self.superseded,
        } += 1;
    }
}

/// Answers of the token endpoint.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    ok: u64,
    /// 401 or 403: the credentials.
    refused: u64,
    /// Any other answer.
    failed: u64,
    /// None.
    unreachable: u64,
}

impl Tokens {
    pub(super) fn count(&mut self, reply: &Reply) {
        *match reply {
            Reply::Http(http) => match http.status {
                200 => &mut self.ok,
                401 | 403 => &mut self.refused,
                _ => &mut self.failed,
            },
            Reply::Failed(_) => &mut self.unreachable,
        } += 1;
    }
}

impl Counters {
    pub(super) fn taken(&mut self, transition: Transition) {
        self.transitions |= 1 << transition as u32;
    }

    /// `first` and `resend`: how often an answer was written for the first time, and again.
    pub(super) fn to_json(&self, (first, resend): (u64, u64)) -> Value {
        let Self {
            duplicates,
            results_dropped: dropped,
            frames_rejected: rejected,
            disconnects,
            tokens,
            ..
        } = self;
        json!({
            "dispatches": self.dispatches,
            "duplicates": duplicates.queued + duplicates.running + duplicates.answered,
            "duplicates_by_phase": {
                "queued": duplicates.queued,
                "running": duplicates.running,
                "answered": duplicates.answered,
            },
            "refused": self.refused,
            "answered": self.answered,
            "failed": self.failed,
            "results_sent": {"first": first, "resend": resend},
            "results_dropped": dropped.expired + dropped.poisoned + dropped.too_large + dropped.ended,
            "results_dropped_by_reason": {
                "expired": dropped.expired,
                "poisoned": dropped.poisoned,
                "too_large": dropped.too_large,
                "ended": dropped.ended,
            },
            "frames_ignored": rejected.malformed + rejected.unexpected + rejected.without_id + rejected.closing,
            "frames_rejected": {
                "malformed": rejected.malformed,
                "unexpected": rejected.unexpected,
                "without_id": rejected.without_id,
                "closing": rejected.closing,
            },
            "disconnects": {
                "closed_by_us": disconnects.closed_by_us,
                "half_open": disconnects.half_open,
                "announced": disconnects.announced,
                "crash": disconnects.crash,
                "protocol": disconnects.protocol,
                "too_big": disconnects.too_big,
                "auth": disconnects.auth,
                "superseded": disconnects.superseded,
            },
            "heartbeats": self.heartbeats,
            "dials": self.dials,
            "registrations": self.registrations,
            "token_requests": self.token_requests,
            "token_requests_by_outcome": {
                "ok": tokens.ok,
                "refused": tokens.refused,
                "failed": tokens.failed,
                "unreachable": tokens.unreachable,
            },
            "stale_inputs": self.stale_inputs,
            "unknown_transitions": self.unknown_transitions,
        })
    }
}
