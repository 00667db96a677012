//! The way to a link: which step comes next, and what a failed one asks for.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::action::{Action, ConnectionNo, Dial, Dialed, Reply};
use super::backoff::Cause;
use super::event::EventKind;
use super::failure::{Class, Failure, Step, message};
use super::liveness::Liveness;
use super::time::{Now, Timer};
use super::{Connection, Desired, LinkState, Machine, Purpose, Registration, Transition};
use crate::config::DeploymentMode;
use crate::error::{Error, ErrorKind};
use crate::protocol::frame;

/// After so many answers without our subprotocol there is no point in going on.
const HOPELESS: u32 = 3;

/// After so many failures on one URL a fresh one is asked for.
const FAILURES_BEFORE_FRESH_URL: u32 = 3;

/// A first connect that is refused for so long without a code of the mesh's has no prospects.
const NOISE_BEFORE_THE_FIRST_LINK: Duration = Duration::from_mins(10);

impl Machine {
    /// Takes the first step that is missing.
    pub(super) fn advance(&mut self, now: Now, transition: Transition) {
        self.timers.stop(Timer::Retry);
        self.doubt_registration(now);
        let registered = self.registration
            == Registration::Known {
                revision: self.revision,
            };
        if !self.auth.is_valid(now.mono) {
            if self.auth.can_renew() {
                self.go(transition, LinkState::Authenticating);
                self.fetch_token(now);
            } else {
                let error = super::token::supplied_token_is_dead();
                self.block(now, Transition::T53, Failure::fatal(error));
            }
        } else if !registered {
            self.go(transition, LinkState::Registering);
            self.register_or_inquire(now);
        } else if self.agent.mode() == DeploymentMode::Hosted {
            self.become_hosted(now, transition);
        } else {
            self.dial(now, transition);
        }
    }

    pub(super) fn dial(&mut self, now: Now, transition: Transition) {
        let (Some(url), Some(bearer)) = (self.connect_url.clone(), self.auth.bearer()) else {
            debug_assert!(false, "dialing needs a URL and a token");
            return;
        };
        self.go(transition, LinkState::Dialing);
        let no = self.next_connection;
        self.next_connection += 1;
        self.connection = Some(Connection {
            no,
            opened_at: now.mono,
            token_generation: self.auth.generation(),
            welcome_limit: self.settings.timing.welcome,
            liveness: Liveness::new(now.mono),
            fence: super::FenceWatch::default(),
            early: Vec::new(),
            early_bytes: 0,
        });
        self.counters.dials += 1;
        self.actions.push_back(Action::Dial(Dial {
            conn: no,
            url,
            bearer,
            attempt_timeout: self.settings.timing.attempt,
            dns_timeout: self.settings.timing.dns,
            stage_timeout: self.settings.timing.stage,
        }));
    }

    /// A dial has ended.
    pub fn handle_dialed(&mut self, now: Now, conn: ConnectionNo, dialed: Dialed) {
        if !self.is_current(conn) || self.link != LinkState::Dialing {
            return;
        }
        let target = self.dial_target();
        let failure = match dialed {
            Dialed::Open => return self.say_hello(now, conn),
            Dialed::Failed(net) => self.failure(Step::Dial, &target, &Reply::Failed(net)),
            Dialed::Refused(reply) => self.failure(Step::Dial, &target, &Reply::Http(reply)),
            Dialed::WrongSubprotocol(got) => return self.wrong_subprotocol(now, got.as_deref()),
        };
        self.step_failed(now, failure);
    }

    /// Whether this is the third failure at the same address, which may be stale: the next attempt asks for a fresh one.
    fn address_is_stale(&mut self, class: Class) -> bool {
        // A 401 or 404 is the mesh's own answer: the address is good.
        if self.link != LinkState::Dialing || !class.passes() {
            return false;
        }
        self.dial_failures += 1;
        let stale = self.dial_failures >= FAILURES_BEFORE_FRESH_URL;
        if stale {
            self.dial_failures = 0;
            if self.registration != Registration::Forgotten {
                self.registration = Registration::Known { revision: 0 };
            }
        }
        stale
    }

    fn wrong_subprotocol(&mut self, now: Now, got: Option<&str>) {
        self.wrong_subprotocols += 1;
        let got = got.map_or("none".to_owned(), |name| {
            format!("`{}`", self.auth.redact(name))
        });
        let error = Error::new(
            ErrorKind::Protocol,
            "SUBPROTOCOL",
            message(
                Step::Dial,
                &self.dial_target(),
                &format!("the 101 agrees on subprotocol {got} instead of `svantic.v1`"),
            ),
        )
        .hint("something between this machine and the mesh rewrites the upgrade, or the mesh is of another version")
        .retryable(true);
        let failure = Failure {
            class: Class::Temporary,
            retry_after: None,
            error,
        };
        self.drop_connection();
        if self.wrong_subprotocols >= HOPELESS {
            return self.fail(now, Transition::T19, failure.error);
        }
        self.last_failure = Some(failure);
        self.back_off(now, Transition::T19, Cause::Crash, None);
    }

    fn say_hello(&mut self, now: Now, conn: ConnectionNo) {
        self.wrong_subprotocols = 0;
        self.go(Transition::T21, LinkState::Handshaking);
        let timing = &self.settings.timing;
        let mut welcome = timing.welcome;
        if let Some(connection) = &mut self.connection {
            // What the dial has left of the whole attempt.
            let spent = now.mono.saturating_sub(connection.opened_at);
            welcome = welcome.min(timing.attempt.saturating_sub(spent));
            connection.welcome_limit = welcome;
            connection.opened_at = now.mono;
            connection.liveness = Liveness::new(now.mono);
        }
        let stamp = self.stamp(now);
        let hello = frame::hello(stamp, &self.agent.hello().to_string());
        self.actions.push_back(Action::Send(conn, hello.into()));
        self.timers.set(Timer::Welcome, now.mono + welcome);
    }

    pub(super) fn welcome_overdue(&mut self, now: Now) {
        let timing = &self.settings.timing;
        let limit = self
            .connection
            .as_ref()
            .map_or(timing.welcome, |c| c.welcome_limit);
        let mut why = format!("no welcome within {} ms of the hello", limit.as_millis());
        if limit < timing.welcome {
            let attempt = timing.attempt.as_millis();
            let _ = write!(
                why,
                ", which was all that was left of the attempt's {attempt} ms"
            );
        }
        let failure = Failure {
            class: Class::Temporary,
            retry_after: None,
            error: Error::new(
                ErrorKind::Timeout,
                "NO_WELCOME",
                message(Step::Welcome, &self.dial_target(), &why),
            )
            .hint("check `svantic_url` (SVANTIC_URL): what answers there takes WebSockets but is silent")
            .retryable(true),
        };
        self.last_failure = Some(failure);
        self.abort_connection();
        self.back_off(now, Transition::T24, Cause::Crash, None);
    }

    pub(super) fn become_hosted(&mut self, now: Now, transition: Transition) {
        // In this order, for the same reason as with a welcome.
        self.go(transition, LinkState::Hosted);
        self.was_ready = true;
        self.attempt_succeeded(now);
        self.start_heartbeats(now);
    }

    /// The link is up: whoever waited for it goes on.
    pub(super) fn attempt_succeeded(&mut self, now: Now) {
        self.auth.fetched_for_attempt = false;
        self.dial_failures = 0;
        self.noise_since = None;
        self.told.forget_tls_causes();
        self.outage_ends();
        self.last_failure = None;
        self.timers
            .set(Timer::Stable, now.mono + self.settings.timing.stable);
        if !self.settings.protections.stability {
            self.proven_stable();
        }
        if let Some((id, _)) = self.operations.connect() {
            self.complete(id, Ok(super::action::Output::Nothing));
        }
        let announced = self.registration
            == Registration::Known {
                revision: self.revision,
            };
        if !announced && !self.draining() && self.auth.is_valid(now.mono) {
            // What was added after the last registration on the way here.
            self.announce_capabilities(now);
        }
    }

    pub(super) fn proven_stable(&mut self) {
        self.backoff.reset();
        self.auth_backoff.reset();
        self.protocol_closes.clear();
    }

    /// A step on the way to the link has failed.
    pub(super) fn step_failed(&mut self, now: Now, failure: Failure) {
        let first = !self.was_ready;
        self.last_failure = Some(failure.clone());
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
        // A reply that comes after all is not the next attempt's.
        self.requests
            .retain(|_, purpose| !matches!(purpose, Purpose::Register(_)));
        self.desired = Desired::Stopped;
        self.backoff.reset();
        self.go(Transition::T51, LinkState::Idle);
        if let Some((id, _)) = self.operations.connect() {
            self.complete(id, Err(error));
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
        self.last_failure = Some(failure);
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
        self.cancel_running("failed");
        self.go(transition, LinkState::Failed);
        for id in self.operations.ids(|_| true) {
            self.complete(id, Err(error.clone()));
        }
        self.last_failure = Some(Failure::fatal(error));
    }
}
