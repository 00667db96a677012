//! A gateway that is killed again and again, with the ledgers of both sides (`reliability.md` 3.0).
//!
//! It differs from the simulation's mesh in that nothing goes wrong but the kills, and that it judges nothing: what it
//! saw is compared after the run (`kills`).

use std::time::Duration;

/// How a connection dies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kill {
    /// At once, in both directions.
    Reset,
    /// The gateway reads no more; what it has written still arrives.
    End,
    /// Nothing passes, and it is told after this time or not at all.
    BlackHole(Option<Duration>),
}

/// What is played.
pub(super) struct Script {
    pub(super) kills: &'static [Kill],
    /// How long a kill is after the one before, in ms.
    pub(super) kill_every: std::ops::RangeInclusive<u64>,
    /// How long the gateway takes to come back, in ms.
    pub(super) down: std::ops::RangeInclusive<u64>,
    /// How long the way is in each direction, in ms.
    pub(super) way: std::ops::RangeInclusive<u64>,
    /// The mean time between dispatches in ms; they come at random times.
    pub(super) work_every: f64,
    /// How long work comes, and until when connections are killed.
    pub(super) lasts: Duration,
    /// The median of a handler's time in ms, its spread, and what the slowest of a hundred takes.
    pub(super) handler: (f64, f64, u64),
    /// Whether the gateway sends what is unanswered again when a connector is back, or leaves all to the connector.
    pub(super) sends_again: bool,
}

/// What a run came to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Figures {
    pub(super) dispatches: usize,
    pub(super) kills: usize,
    /// Answers that invariant I3 promises, or that a gateway that sends again waits for, and that never came.
    pub(super) lost: usize,
    /// Handlers that ran for an id that had been run (I1).
    pub(super) second_runs: usize,
    /// Copies of an answer that differ from the first (I2).
    pub(super) contradictions: usize,
    pub(super) extra_copies: usize,
    /// Answers other than the handler's result.
    pub(super) refused: usize,
    /// Answers to what was never asked.
    pub(super) unknown_ids: usize,
    /// Connections that the connector gave up although nothing was wrong with them.
    pub(super) false_alarms: usize,
}

impl Figures {
    pub(super) fn add(self, other: Self) -> Self {
        Self {
            dispatches: self.dispatches + other.dispatches,
            kills: self.kills + other.kills,
            lost: self.lost + other.lost,
            second_runs: self.second_runs + other.second_runs,
            contradictions: self.contradictions + other.contradictions,
            extra_copies: self.extra_copies + other.extra_copies,
            refused: self.refused + other.refused,
            unknown_ids: self.unknown_ids + other.unknown_ids,
            false_alarms: self.false_alarms + other.false_alarms,
        }
    }
}
