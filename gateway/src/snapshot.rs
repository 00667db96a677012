//! The view of the state that waiting tests get.

use std::time::Duration;

use crate::{
    ledger::Ledger,
    records::{AgentRecord, FrameRecord, RequestRecord, SessionRecord},
    script::ScriptStatus,
    state::State,
    totals::Totals,
};

/// What a condition of [`Gateway::wait_until`](crate::Gateway::wait_until) sees: everything at one moment.
pub struct Snapshot<'a> {
    pub(crate) state: &'a State,
}

impl Snapshot<'_> {
    /// All instances that ever registered.
    pub fn agents(&self) -> impl Iterator<Item = &AgentRecord> {
        self.state.agents.values()
    }

    /// One instance.
    pub fn agent(&self, instance_id: &str) -> Option<&AgentRecord> {
        self.state.agents.get(instance_id)
    }

    /// Whether the instance has a welcomed socket, or is hosted and takes dispatches.
    pub fn is_ready(&self, instance_id: &str) -> bool {
        self.agent(instance_id).is_some_and(|agent| agent.ready)
    }

    /// The requests that are kept, oldest first.
    pub fn requests(&self) -> &[RequestRecord] {
        self.state.requests.all()
    }

    /// The sessions that are kept.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionRecord> {
        self.state.sessions.all()
    }

    /// The frames of one instance, oldest first.
    pub fn frames(&self, instance_id: &str) -> impl DoubleEndedIterator<Item = &FrameRecord> {
        self.state.frames.of(instance_id)
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        self.state.ledger.ledger()
    }

    /// The counters. With these and [`Ledger::answered`] a condition costs the same however long the gateway runs.
    pub fn totals(&self) -> &Totals {
        &self.state.totals
    }

    /// What agents did against the protocol, the first 10,000 lines of it.
    pub fn violations(&self) -> &[String] {
        &self.state.violations
    }

    /// How far the script is.
    pub fn script(&self) -> &ScriptStatus {
        &self.state.script.status
    }

    /// Since the gateway's start.
    pub fn elapsed(&self) -> Duration {
        self.state.started.elapsed()
    }
}
