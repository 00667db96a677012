//! Timers that ran out.

use super::operations::{Kind, Operation};
use super::own_requests::step_of;
use super::time::{Now, Timer};
use super::{LinkState, Machine, Step, Transition};
use crate::error::{Error, ErrorKind};

impl Machine {
    /// Time has passed: everything that is due happens.
    pub fn handle_timeout(&mut self, now: Now) {
        self.notice_sleep(now);
        while let Some(timer) = self.timers.pop_expired(now.mono) {
            match timer {
                Timer::Operation => self.operations_overdue(now),
                Timer::Retry => self.retry(now),
                Timer::Welcome => self.welcome_overdue(now),
                Timer::Heartbeat => self.send_heartbeat(now),
                Timer::Silence => self.silence(now),
                Timer::Watch => self.watch_due(now),
                Timer::Probe => self.probe_overdue(now),
                Timer::Stable => self.proven_stable(),
                Timer::Renew => self.renewal_due(now),
                Timer::TokenDeath => self.token_died(now),
                Timer::Dispatch => self.dispatches_overdue(now),
                Timer::Outbox => self.outbox_expired(now),
                Timer::Fence => self.fence_overdue(now),
                Timer::Drain => self.drain_step(now),
                Timer::Provider => self.provider_overdue(now),
                Timer::Outage => self.beat_without_link(now),
                Timer::Farewell => self.farewell_overdue(now),
                Timer::PickUp => self.watch_pick_up(now),
                Timer::KeepAlive => self.keep_streams_alive(now),
            }
        }
    }

    fn retry(&mut self, now: Now) {
        match self.link {
            LinkState::Backoff => self.advance(now, Transition::T37),
            LinkState::AuthBlocked => {
                self.auth.fetched_for_attempt = true;
                self.advance(now, Transition::T40);
            }
            LinkState::Conflict => self.advance(now, Transition::T42),
            _ => {}
        }
    }

    fn operations_overdue(&mut self, now: Now) {
        self.try_again(now);
        let overdue = self
            .operations
            .ids(|op| op.deadline.is_some_and(|deadline| deadline <= now.mono));
        for id in overdue {
            let Some(operation) = self.operations.get(id) else {
                continue;
            };
            if operation.kind == Kind::Connect {
                let error = self.connect_error();
                self.give_up_first(error);
                continue;
            }
            if let Kind::OwnRequest(_) = operation.kind {
                let error = self.own_request_error(operation);
                self.abort_own_request(id);
                self.complete(id, Err(error));
                continue;
            }
            let error = self.overdue(operation);
            self.complete(id, Err(error));
        }
        self.watch_deadlines();
    }

    /// Why an operation has ended that nothing has answered.
    pub(super) fn overdue(&self, operation: &Operation) -> Error {
        let (name, limit) = (operation.kind.name(), operation.timeout.as_millis());
        let waited_for = self.waited_for(operation);
        let text = format!("{name} timed out after {limit} ms: {waited_for}");
        Error::new(ErrorKind::Timeout, "TIMEOUT", text).retryable(true)
    }

    /// What an operation that has not ended waits for.
    pub(super) fn waited_for(&self, operation: &Operation) -> String {
        let step = match &operation.kind {
            _ if operation.wants_token => Some((Step::Token, "/auth/get_token")),
            Kind::RefreshToken => Some((Step::Token, "/auth/get_token")),
            Kind::CreateSession { .. } => Some((Step::CreateSession, "/sessions/init")),
            Kind::CloseSession { .. } => Some((Step::CloseSession, "/sessions/close")),
            Kind::OwnRequest(request) => Some((step_of(request), request.shown_path())),
            Kind::ReRegister(_) if self.is_up() => Some((Step::Register, "/agents/register")),
            Kind::ReRegister(_) | Kind::Connect | Kind::Disconnect => None,
        };
        match step {
            Some((step, path)) => {
                format!("no answer while {} at {}", step.doing(), self.target(path))
            }
            None => self.current_step(),
        }
    }
}
