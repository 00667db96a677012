//! What can be asked of the machine at any time.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::time::{Now, Timer};
use super::{Desired, LinkState, Machine, Registration, TABLE, Transition};
use crate::agent::Agent;

/// How many ids of a kind are listed.
const LISTED: usize = 100;

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

    /// Whether a registration is active (section 6): not the same as an open socket. For a transport it is the same.
    pub fn connected(&self) -> bool {
        if self.is_transport() {
            return self.is_up();
        }
        self.registration.was_accepted()
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
        let taken = self.counters.transitions;
        TABLE
            .iter()
            .map(|(transition, ..)| *transition)
            .filter(move |transition| taken & (1 << *transition as u32) != 0)
    }

    /// Everything worth knowing for somebody who looks for a fault; no secrets.
    pub fn snapshot(&self, now: Now) -> Value {
        let age = |at: Duration| now.mono.saturating_sub(at).as_millis();
        let connection = self.connection.as_ref().map(|connection| {
            json!({
                "no": connection.no,
                "age_ms": age(connection.opened_at),
                "last_inbound_age_ms": age(connection.liveness.last_inbound()),
                "fence_level": self.outbox.fence_level(),
            })
        });
        let next_attempt = self.timers.get(Timer::Retry);
        let revision = match self.registration {
            Registration::Absent | Registration::Unsure | Registration::Forgotten => None,
            Registration::Known { revision } => Some(revision),
        };
        let patience = self.settings.timing.dispatch;
        let dispatches = self.inbox.open().map(|(deadline, id, running)| {
            json!({
                "id": id,
                "age_ms": age(deadline.saturating_sub(patience)),
                "phase": if running { "running" } else { "queued" },
            })
        });
        json!({
            "state": self.state().name(),
            "link": self.link.name(),
            "connected": self.connected(),
            "connection": connection,
            "registration_revision": revision,
            "in_flight": self.inbox.running(),
            "dispatches": dispatches.take(LISTED).collect::<Vec<_>>(),
            "queue": {"items": self.queue.len(), "bytes": self.queue.bytes()},
            "calls_waiting": self.inbox.posted.waiting(),
            "dispatch_auth_refused": self.auth_refusals.to_json(),
            "dedupe_entries": self.inbox.entries(),
            "outbox": self.outbox.ids().take(LISTED).collect::<Vec<_>>(),
            "outbox_items": self.outbox.len(),
            "outbox_bytes": self.outbox.bytes(),
            "backoff_attempts": self.backoff.attempts(),
            "next_attempt_ms": next_attempt.map(|at| at.saturating_sub(now.mono).as_millis()),
            "token": {
                "generation": self.auth.generation(),
                "seconds_left": self.auth.seconds_left(now.mono),
            },
            "last_failure": self.last_failure.as_ref().map(|failure| failure.error.to_json()),
            "counters": self.counters.to_json(self.outbox.sent()),
        })
    }

    /// Tells the application of a state that changed without a transition.
    pub(super) fn announce_state(&mut self, previous: State) {
        self.announce_link(previous, self.link);
    }

    /// Tells the application of a state that changed; of a transport's also that the welcome is awaited, or no longer.
    pub(super) fn announce_link(&mut self, previous: State, from: LinkState) {
        let state = self.state();
        let awaits = |link| link == LinkState::Handshaking;
        let crossed = self.is_transport() && awaits(from) != awaits(self.link);
        if state != previous || crossed {
            let link = self.link.name();
            self.emit(
                super::EventKind::State,
                json!({"state": state.name(), "previous": previous.name(), "link": link}),
            );
        }
    }
}
