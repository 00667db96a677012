//! What has happened since the start, as plain counters: cheap to look at on every change, and never forgotten.

use serde::Serialize;

/// Counters since the gateway's start. They keep counting when the records themselves have been dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Dispatches that were asked for; an id asked for again while it is open counts once.
    pub dispatched: u64,
    /// Dispatch frames and POSTs, repetitions included.
    pub sent: u64,
    /// Of these the POSTs to hosted agents.
    pub posted: u64,
    /// Of these the ones made because the connection of the first had failed.
    pub post_retries: u64,
    /// Cards of hosted agents that were looked at.
    pub probes: u64,
    /// Dispatches whose first answer was a `dispatch_result`.
    pub results: u64,
    /// Dispatches whose first answer was an `error`.
    pub errors: u64,
    /// Dispatches whose end-to-end timeout passed without an answer.
    pub timed_out: u64,
    /// Further answers with the very bytes of the first.
    pub duplicates_identical: u64,
    /// Further answers with other bytes than the first.
    pub duplicates_different: u64,
    /// Answers, first or further, after the deadline of their dispatch.
    pub late: u64,
    /// Of these the ones that were ignored because of [`drops_late_results`](crate::Options::drops_late_results).
    pub late_dropped: u64,
    /// Answers to what is no dispatch of this gateway.
    pub unknown_in_reply_to: u64,
    /// Good heartbeats, by frame or HTTP.
    pub heartbeats: u64,
    /// HTTP requests, upgrades included; the control face is not counted.
    pub requests: u64,
    /// Upgrades that were answered with 101.
    pub upgrades: u64,
    /// Registrations that succeeded.
    pub registrations: u64,
    /// Deregistrations that succeeded.
    pub deregistrations: u64,
    /// Tokens that were given out over HTTP.
    pub tokens: u64,
    /// Sessions that were opened.
    pub sessions: u64,
    /// What agents did against the protocol.
    pub violations: u64,
}

impl Totals {
    /// Dispatches with at least one answer.
    pub fn answered(&self) -> u64 {
        self.results + self.errors
    }

    /// Answers beyond the first of their dispatch.
    pub fn duplicates(&self) -> u64 {
        self.duplicates_identical + self.duplicates_different
    }
}
