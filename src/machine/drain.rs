//! The end: no new work, the running work finished, a clean farewell (`reliability.md` T43 to T47).

use std::time::Duration;

use serde_json::json;

use super::action::{Action, Output, Reply};
use super::event::EventKind;
use super::operations::Kind;
use super::replies::may_have_been_taken;
use super::time::{Now, Timer};
use super::transport::Goodbye;
use super::{Desired, LinkState, Machine, Purpose, Registration, Transition};
use crate::error::{Error, ErrorKind};

/// When a draining ends that only stands for the last steps of the end.
const WITHOUT_END: Duration = Duration::MAX;

impl Machine {
    /// Takes no new dispatches and closes when the running ones are answered, at `until` at the latest.
    /// A second call does not wait any longer.
    pub(super) fn drain(&mut self, now: Now, until: Duration) {
        if self.link == LinkState::Closing {
            return;
        }
        if matches!(self.desired, Desired::Draining(_)) {
            return self.close(now, Transition::T47);
        }
        let previous = self.state();
        self.desired = Desired::Draining(until);
        self.announce_state(previous);
        self.end_connect();
        self.counters.taken(Transition::T43);
        self.timers.set(Timer::Drain, until);
        let in_flight = self.inbox.running();
        let left = u64::try_from(until.saturating_sub(now.mono).as_millis()).unwrap_or(u64::MAX);
        self.emit(
            EventKind::Draining,
            json!({"in_flight": in_flight, "until_ms": left}),
        );
        if self.is_up() {
            self.send_heartbeat(now);
        }
        self.refuse_waiting(now);
        self.drain_step(now);
    }

    /// Stops without waiting: running dispatches are answered with `AGENT_SHUTDOWN`.
    pub fn stop(&mut self, now: Now) {
        if self.link.is_final() {
            self.actions.push_back(Action::Finished);
        } else if self.link != LinkState::Closing {
            self.close(now, Transition::T47);
        }
    }

    /// Goes on to the farewell when nothing is left to be done.
    pub(super) fn drain_step(&mut self, now: Now) {
        let Desired::Draining(until) = self.desired else {
            return;
        };
        if until == WITHOUT_END {
            // On the way out already.
            return;
        }
        if self.link.is_final() || self.link == LinkState::Closing {
            return;
        }
        let done = self.inbox.running() == 0 && self.outbox.is_empty();
        if done || now.mono >= until {
            self.leave(now);
        }
    }

    /// The end of draining.
    pub(super) fn leave(&mut self, now: Now) {
        let up = matches!(self.link, LinkState::Ready | LinkState::Suspect);
        let transition = if up { Transition::T44 } else { Transition::T45 };
        self.close(now, transition);
    }

    /// Nobody connects any more. Its deadline would otherwise undo the end.
    fn end_connect(&mut self) {
        if let Some((id, _)) = self.operations.connect() {
            self.complete(id, Err(cancelled("connect")));
        }
    }

    fn close(&mut self, now: Now, transition: Transition) {
        self.end_connect();
        // Answered while the link still counts as ready, so that the answers go out before the close frame; and as
        // part of a draining without end, so that no other status goes out and none of them comes back here.
        let previous = std::mem::replace(&mut self.desired, Desired::Draining(WITHOUT_END));
        self.refuse_waiting(now);
        for id in self.inbox.all_running() {
            self.cancelled(&id, "shutdown");
            self.send_error(now, id, "AGENT_SHUTDOWN", "the agent is shutting down");
        }
        self.desired = previous;
        let conn = self.ready_connection();
        self.go(transition, LinkState::Closing);
        for timer in [
            Timer::Retry,
            Timer::Drain,
            Timer::Heartbeat,
            Timer::Silence,
            Timer::Watch,
            Timer::Probe,
            Timer::Welcome,
            Timer::Stable,
            Timer::Fence,
            Timer::Renew,
            Timer::PickUp,
        ] {
            self.timers.stop(timer);
        }
        if let Some(conn) = conn {
            let Goodbye { code, reason } = (*self.goodbye).clone();
            self.actions.push_back(Action::Close(conn, code, reason));
            self.timers
                .set(Timer::Farewell, now.mono + self.settings.timing.close);
        } else {
            self.abort_connection();
            self.say_farewell(now);
        }
    }

    /// The close handshake is over, or has been waited for long enough.
    pub(super) fn say_farewell(&mut self, now: Now) {
        let timeout = self.settings.timing.deregister;
        let patience = if self.waits_for_heartbeat() {
            timeout / 2
        } else {
            timeout
        };
        self.timers.set(Timer::Farewell, now.mono + patience);
        self.farewell_step(now);
    }

    /// A heartbeat that arrived behind the farewell would tell the mesh of an instance that it no longer knows.
    fn waits_for_heartbeat(&self) -> bool {
        self.registration != Registration::Absent
            && self.requests.values().any(Purpose::is_heartbeat)
    }

    /// A heartbeat has ended that was on its way when the farewell began.
    pub(super) fn beaten_on_the_way_out(&mut self, now: Now) {
        if self.farewell_begun() && self.registration != Registration::Absent {
            self.say_farewell(now);
        }
    }

    /// Deregisters as soon as that can be done: when no registration is on its way that the mesh might take after
    /// all, no heartbeat either, and with a token that it accepts. All of it has to fit into the farewell's time.
    pub(super) fn farewell_step(&mut self, now: Now) {
        let under_way = |wanted: fn(&Purpose) -> bool| self.requests.values().any(wanted);
        let begun = self.farewell_begun();
        if !begun || under_way(|purpose| *purpose == Purpose::Deregister) {
            return;
        }
        if under_way(Purpose::is_registration) || self.waits_for_heartbeat() {
            return;
        }
        if self.registration == Registration::Absent {
            return self.closed();
        }
        if !self.auth.is_valid(now.mono) {
            if !self.auth.can_renew() {
                return self.closed();
            }
            return self.fetch_token(now);
        }
        self.registration = Registration::Absent;
        let identity = self.agent.identity();
        let body = json!({"agent_type": identity.agent_type, "instance_id": identity.instance_id});
        let until = self.timers.get(Timer::Farewell).unwrap_or(now.mono);
        self.request(
            Purpose::Deregister,
            "/agents/deregister",
            body.to_string(),
            until.saturating_sub(now.mono),
        );
    }

    /// Whether the close handshake is behind us.
    fn farewell_begun(&self) -> bool {
        self.link == LinkState::Closing && self.connection.is_none()
    }

    /// A registration has ended that was on its way when the farewell began.
    pub(super) fn registered_too_late(&mut self, now: Now, reply: &Reply) {
        if may_have_been_taken(reply) {
            self.registration = Registration::Known { revision: 0 };
        }
        self.farewell_step(now);
    }

    /// The token for the farewell has not come.
    pub(super) fn farewell_without_token(&mut self, now: Now) {
        let registering = self.requests.values().any(Purpose::is_registration);
        let waits = self.farewell_begun() && !registering;
        if waits && self.registration != Registration::Absent && !self.auth.is_valid(now.mono) {
            self.closed();
        }
    }

    /// Whatever the mesh answered: we are gone.
    pub(super) fn deregistered(&mut self) {
        if self.link == LinkState::Closing {
            self.closed();
        }
    }

    pub(super) fn farewell_overdue(&mut self, now: Now) {
        if let Some(conn) = self.connection.as_ref().map(|connection| connection.no) {
            self.abort_connection();
            self.counters.disconnects.closed_by_us += 1;
            self.disconnected_by_us(conn);
            self.say_farewell(now);
        } else if self.waits_for_heartbeat() {
            self.requests.retain(|_, purpose| !purpose.is_heartbeat());
            self.say_farewell(now);
        } else {
            self.closed();
        }
    }

    fn closed(&mut self) {
        self.timers = super::TimerTable::default();
        self.requests.clear();
        self.auth.wipe();
        self.drop_answers("closed");
        self.desired = Desired::Stopped;
        self.agent.leave_place();
        self.go(Transition::T46, LinkState::Closed);
        for id in self.operations.ids(|op| op.kind == Kind::Disconnect) {
            self.complete(id, Ok(Output::Nothing));
        }
        for id in self.operations.ids(|_| true) {
            if let Some(operation) = self.operations.get_mut(id) {
                let error = cancelled(operation.kind.name());
                self.complete(id, Err(error));
            }
        }
        self.actions.push_back(Action::Finished);
    }

    /// Nobody will answer these any more, and nobody could be told.
    pub(super) fn cancel_running(&mut self, now: Now, reason: &str) {
        for id in self.inbox.all_running() {
            self.cancelled(&id, reason);
        }
        self.drop_waiting();
        self.abandon_calls(now);
        self.inbox.clear();
        self.drop_answers(reason);
    }

    /// What was not delivered is never dropped silently.
    fn drop_answers(&mut self, reason: &str) {
        while let Some(id) = self.outbox.pop_expired(Duration::MAX) {
            self.counters.results_dropped.ended += 1;
            self.emit(
                EventKind::ResultDropped,
                json!({"dispatch_id": &*id, "reason": reason}),
            );
        }
    }
}

fn cancelled(what: &str) -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "CANCELLED",
        format!("{what} was ended by disconnect, free or shutdown"),
    )
}
