//! What a step that failed on the way to a link leads to (`reliability.md` 5.2): another try at once, a wait, or the end.

use std::time::Duration;

use serde_json::json;

use super::action::Action;
use super::backoff::Cause;
use super::event::EventKind;
use super::failure::{Class, Failure};
use super::operations::Kind;
use super::time::{Now, Timer};
use super::{Desired, LinkState, Machine, Purpose, Transition};
use crate::error::{Error, ErrorKind};

/// A first connect that is refused for so long without a code of the mesh's has no prospects.
const NOISE_BEFORE_THE_FIRST_LINK: Duration = Duration::from_mins(10);

impl Machine {
    /// A step on the way to the link has failed.
    pub(super) fn step_failed(&mut self, now: Now, failure: Failure) {
        let first = !self.was_ready;
        self.last_failure = Some(Box::new(failure.clone()));
        let stale = self.address_is_stale(failure.class);
        self.drop_connection();
        if failure.class != Class::Noise {
            self.noise_since = None;
        }
        // The third failure at one address is that before it is anything else.
        let named = |transition| if stale { Transition::T20 } else { transition };
        match failure.class {
            Class::Unauthorized if self.link == LinkState::Authenticating => {
                self.block(now, Transition::T4, failure);
            }
            Class::Unauthorized if self.auth.can_renew() && !self.auth.fetched_for_attempt => {
                self.auth.fetched_for_attempt = true;
                self.auth.invalidate();
                self.go(Transition::T10, LinkState::Authenticating);
                self.fetch_token(now);
            }
            Class::Unauthorized => self.block(now, Transition::T11, failure),
            Class::ProxyAuth => self.block(now, Transition::T17, failure),
            Class::Final => {
                let transition = if self.link == LinkState::Authenticating {
                    Transition::T5
                } else {
                    Transition::T12
                };
                self.fail(now, transition, failure.error);
            }
            Class::Forgotten if self.is_transport() => self.not_registered(now, failure.error),
            Class::Forgotten => self.forgotten(now),
            Class::Busy => {
                let transition = named(Transition::T7);
                self.back_off(now, transition, Cause::Announced, failure.retry_after);
            }
            Class::Noise => {
                let since = *self.noise_since.get_or_insert(now.mono);
                if first && now.mono.saturating_sub(since) >= NOISE_BEFORE_THE_FIRST_LINK {
                    let error = failure.error.within("refused for 10 minutes on end");
                    return self.fail(now, Transition::T13, error);
                }
                self.back_off(now, named(Transition::T13), Cause::Crash, None);
            }
            Class::Redirect => {
                self.log("warn", failure.error.to_string());
                self.back_off(now, named(Transition::T16), Cause::Crash, None);
            }
            Class::Tls => {
                if self.told.tls_cause(failure.error.message()) {
                    self.log("warn", failure.error.to_string());
                }
                self.back_off(now, named(Transition::T18), Cause::Tls, None);
            }
            Class::Temporary
                if first && self.hosted() && failure.error.http_status_code() == Some(502) =>
            {
                let probed = self
                    .agent
                    .identity()
                    .public_url
                    .as_deref()
                    .unwrap_or_default();
                let hint = format!(
                    "a hosted agent must serve its card at {probed}/.well-known/agent-card.json before it registers"
                );
                self.give_up_first(failure.error.hint(hint));
            }
            Class::Temporary => {
                let transition = named(Transition::T6);
                self.back_off(now, transition, Cause::Crash, failure.retry_after);
            }
        }
    }

    fn forgotten(&mut self, now: Now) {
        if self.registration_is_due(now) {
            self.forget_instance();
            self.go(Transition::T14, LinkState::Registering);
            self.send_registration(now, false);
        } else {
            self.back_off(now, Transition::T15, Cause::Crash, None);
        }
    }

    /// Waits before the next attempt, unless the first connect cannot wait that long.
    pub(super) fn back_off(
        &mut self,
        now: Now,
        transition: Transition,
        cause: Cause,
        retry_after: Option<Duration>,
    ) {
        self.auth.fetched_for_attempt = false;
        self.timers.stop(Timer::Stable);
        let at = self
            .backoff
            .next(now.mono, cause, retry_after, &mut self.rng);
        self.outage_begins(now);
        let at = at + self.registration_spread(at);
        self.go(transition, LinkState::Backoff);
        self.timers.set(Timer::Retry, at);
        let why = self.last_failure.as_ref().map(|failure| &failure.error);
        let (why, message) = (
            why.map(|error| error.code().to_owned()),
            why.map(|error| error.message().to_owned()),
        );
        let delay = u64::try_from(at.saturating_sub(now.mono).as_millis()).unwrap_or(u64::MAX);
        let attempt = self.backoff.attempts();
        self.emit(
            EventKind::Backoff,
            json!({"cause": why, "message": message, "delay_ms": delay, "attempt": attempt}),
        );
        if self.was_ready {
            return;
        }
        let deadline = self.operations.connect().and_then(|(_, op)| op.deadline);
        let hopeless = deadline.is_none_or(|deadline| at >= deadline);
        if (hopeless || self.settings.fail_fast) && self.desired == Desired::Running {
            let error = self.connect_error();
            self.give_up_first(error);
        }
    }

    /// Why the first connect has not succeeded.
    pub(super) fn connect_error(&self) -> Error {
        if let Some(failure) = &self.last_failure {
            let attempts = self.backoff.attempts().max(1);
            let plural = if attempts == 1 { "" } else { "s" };
            let attempt = format!("connect gave up after {attempts} attempt{plural}");
            return failure.error.clone().within(&attempt);
        }
        let timeout = self.operations.connect().map(|(_, op)| op.timeout);
        let timeout = timeout.unwrap_or_default().as_millis();
        Error::new(
            ErrorKind::Timeout,
            "TIMEOUT",
            format!(
                "connect timed out after {timeout} ms: {}",
                self.current_step()
            ),
        )
        .hint("check `svantic_url` (SVANTIC_URL) and that this machine reaches it")
        .retryable(true)
    }

    /// The first connect has failed: everything is as before it, and connect can be called again.
    pub(super) fn give_up_first(&mut self, error: Error) {
        self.abort_connection();
        for timer in [Timer::Retry, Timer::Welcome, Timer::Silence, Timer::Stable] {
            self.timers.stop(timer);
        }
        self.drop_requests_of_the_attempt();
        self.desired = Desired::Stopped;
        self.backoff.reset();
        self.go(Transition::T51, LinkState::Idle);
        // They waited for a registration on the way to this link.
        for id in self
            .operations
            .ids(|op| matches!(op.kind, Kind::ReRegister(_)))
        {
            self.complete(id, Err(error.clone()));
        }
        if let Some((id, _)) = self.operations.connect() {
            self.complete(id, Err(error));
        }
    }

    /// A reply that comes after all is not the next attempt's, and what is stuck does not hold it up.
    fn drop_requests_of_the_attempt(&mut self) {
        let others = self
            .operations
            .ids(|op| op.kind == Kind::RefreshToken || op.wants_token);
        let drops_token = others.is_empty();
        if drops_token {
            self.auth.fetching = None;
            self.timers.stop(Timer::Provider);
        }
        let mut dropped: Vec<_> = self
            .requests
            .extract_if(|_, purpose| match purpose {
                Purpose::Register(_) => true,
                Purpose::Token => drops_token,
                _ => false,
            })
            .collect();
        dropped.sort_unstable_by_key(|(id, _)| *id);
        for (id, purpose) in dropped {
            if purpose.is_registration() {
                self.registration_is_unsure();
            }
            self.actions.push_back(Action::AbortRequest(id));
        }
    }

    /// The credentials are refused: only new ones, or time, can help.
    pub(super) fn block(&mut self, now: Now, transition: Transition, failure: Failure) {
        self.auth_failed(&failure);
        // A proxy that wants credentials of its own says nothing about the token.
        let token_refused = transition != Transition::T17;
        if token_refused {
            self.auth.invalidate();
        }
        self.outage_begins(now);
        self.go(transition, LinkState::AuthBlocked);
        if !self.was_ready && self.desired == Desired::Running {
            return self.give_up_first(failure.error);
        }
        self.last_failure = Some(Box::new(failure));
        if self.auth.can_renew() || !token_refused {
            let at = self.auth_backoff.next(now.mono, &mut self.rng);
            self.timers.set(Timer::Retry, at);
        }
    }

    pub(super) fn auth_failed(&mut self, failure: &Failure) {
        let (code, text) = (failure.error.code(), failure.error.message());
        let data = json!({"code": code, "message": text});
        self.emit(EventKind::AuthFailed, data);
    }

    /// Given up for good.
    pub(super) fn fail(&mut self, now: Now, transition: Transition, error: Error) {
        if matches!(self.desired, Desired::Draining(_)) {
            // The end is what the caller asked for. What can no longer be delivered is reported one by one, and
            // whoever disconnects has no use for a cause why the link could not have been made again.
            self.log("warn", format!("no link is made again: {error}"));
            self.abort_connection();
            return self.leave(now);
        }
        self.emit(EventKind::Failed, error.to_json());
        self.abort_connection();
        self.timers = super::TimerTable::default();
        self.requests.clear();
        self.desired = Desired::Stopped;
        self.cancel_running(now, "failed");
        self.auth.wipe();
        self.go(transition, LinkState::Failed);
        for id in self.operations.ids(|_| true) {
            self.complete(id, Err(error.clone()));
        }
        self.last_failure = Some(Box::new(Failure::fatal(error)));
        self.actions.push_back(Action::Finished);
    }
}
