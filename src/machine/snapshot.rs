//! What can be asked of the machine at any time.

use std::collections::HashSet;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::time::Now;
use super::{Desired, LinkState, Machine, Registration, Transition};
use crate::agent::Agent;

/// The state in a word, as programs want it. The discriminants are the C ABI's `svantic_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum State {
    /// Not started, or a first connect that failed.
    Idle = 0,
    /// On the way to the first link.
    Connecting = 1,
    /// Work can arrive.
    Connected = 2,
    /// The link is lost and being made again.
    Reconnecting = 3,
    /// Ended by the caller.
    Closed = 4,
    /// No new work; the running work is being finished.
    Draining = 5,
    /// Waiting for new credentials, or for another process to let go of the instance id.
    Blocked = 6,
    /// Given up for good.
    Failed = 7,
}

impl State {
    /// The name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Closed => "closed",
            Self::Draining => "draining",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

/// Counts of what happened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) dispatches: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) results_dropped: u64,
    pub(super) frames_ignored: u64,
    pub(super) heartbeats: u64,
    pub(super) dials: u64,
    pub(super) registrations: u64,
    pub(super) token_requests: u64,
    pub(super) stale_inputs: u64,
    pub(super) unknown_transitions: u64,
    transitions: HashSet<Transition>,
}

impl Counters {
    pub(super) fn taken(&mut self, transition: Transition) {
        self.transitions.insert(transition);
    }
}

impl Machine {
    /// The state in a word.
    pub fn state(&self) -> State {
        match self.link {
            LinkState::Idle => State::Idle,
            LinkState::Closed => State::Closed,
            LinkState::Failed => State::Failed,
            LinkState::Closing => State::Draining,
            _ if matches!(self.desired, Desired::Draining(_)) => State::Draining,
            LinkState::AuthBlocked | LinkState::Conflict => State::Blocked,
            LinkState::Ready | LinkState::Suspect | LinkState::Hosted => State::Connected,
            _ if self.was_ready => State::Reconnecting,
            _ => State::Connecting,
        }
    }

    /// Where the link is.
    pub fn link(&self) -> LinkState {
        self.link
    }

    /// Whether a registration is active (section 6): not the same as an open socket.
    pub fn connected(&self) -> bool {
        self.registration != Registration::Absent
            && self.desired != Desired::Stopped
            && self.link != LinkState::Closing
            && !self.link.is_final()
    }

    /// The token in use.
    pub fn token(&self) -> Option<Arc<SecretString>> {
        self.auth.bearer()
    }

    /// The agent and its capabilities.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// How many inputs named a transition that the table does not have. Always 0.
    pub fn unknown_transitions(&self) -> u64 {
        self.counters.unknown_transitions
    }

    /// The transitions that this machine has taken.
    pub fn transitions_taken(&self) -> impl Iterator<Item = Transition> + '_ {
        self.counters.transitions.iter().copied()
    }

    /// Everything worth knowing for somebody who looks for a fault; no secrets.
    pub fn snapshot(&self, now: Now) -> Value {
        let counters = &self.counters;
        let age = |at: std::time::Duration| now.mono.saturating_sub(at).as_millis();
        let connection = self.connection.as_ref().map(|connection| {
            json!({
                "no": connection.no,
                "age_ms": age(connection.opened_at),
                "last_inbound_age_ms": age(connection.liveness.last_inbound()),
                "fence_level": self.outbox.fence_level(),
            })
        });
        json!({
            "state": self.state().name(),
            "link": self.link.name(),
            "connected": self.connected(),
            "connection": connection,
            "in_flight": self.inbox.running(),
            "outbox_items": self.outbox.len(),
            "outbox_bytes": self.outbox.bytes(),
            "backoff_attempts": self.backoff.attempts(),
            "token": {
                "generation": self.auth.generation(),
                "seconds_left": self.auth.seconds_left(now.mono),
            },
            "last_failure": self.last_failure.as_ref().map(|failure| failure.error.to_json()),
            "counters": {
                "dispatches": counters.dispatches,
                "duplicates": counters.duplicates,
                "refused": counters.refused,
                "answered": counters.answered,
                "failed": counters.failed,
                "results_dropped": counters.results_dropped,
                "frames_ignored": counters.frames_ignored,
                "heartbeats": counters.heartbeats,
                "dials": counters.dials,
                "registrations": counters.registrations,
                "token_requests": counters.token_requests,
                "stale_inputs": counters.stale_inputs,
                "unknown_transitions": counters.unknown_transitions,
            },
        })
    }

    /// Tells the application of a state that changed without a transition.
    pub(super) fn announce_state(&mut self, previous: State) {
        let state = self.state();
        if state != previous {
            let link = self.link.name();
            self.emit(
                super::EventKind::State,
                json!({"state": state.name(), "previous": previous.name(), "link": link}),
            );
        }
    }
}
