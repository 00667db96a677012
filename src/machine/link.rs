//! The way to a link: which step comes next, and what a failed one asks for.

use std::fmt::Write as _;

use super::action::{Action, ConnectionNo, Dial, Dialed, Reply};
use super::backoff::Cause;
use super::failure::{Class, Failure, Step, message};
use super::liveness::Liveness;
use super::time::{Now, Timer};
use super::{Connection, LinkState, Machine, Registration, Transition};
use crate::config::DeploymentMode;
use crate::error::{Error, ErrorKind};

/// After so many answers without our subprotocol there is no point in going on.
const HOPELESS: u32 = 3;

/// Up to this part of it is added to the time that a link has to be up to count as stable.
const STABLE_SPREAD: u32 = 3;

/// After so many failures on one URL a fresh one is asked for.
const FAILURES_BEFORE_FRESH_URL: u32 = 3;

impl Machine {
    /// Takes the first step that is missing.
    pub(super) fn advance(&mut self, now: Now, transition: Transition) {
        self.timers.stop(Timer::Retry);
        self.doubt_registration(now);
        let registered = self.is_announced();
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
        if self.has_external_socket() {
            // The library's own dial ends by itself.
            self.timers
                .set(Timer::Welcome, now.mono + self.settings.timing.attempt);
        }
        self.actions.push_back(Action::Dial(Box::new(Dial {
            conn: no,
            url,
            bearer,
            attempt_timeout: self.settings.timing.attempt,
            dns_timeout: self.settings.timing.dns,
            stage_timeout: self.settings.timing.stage,
        })));
    }

    /// A dial has ended.
    pub fn handle_dialed(&mut self, now: Now, conn: ConnectionNo, dialed: Dialed) {
        if !self.is_current(conn) || self.link != LinkState::Dialing {
            return;
        }
        let reply = match dialed {
            Dialed::Open => return self.say_hello(now, conn),
            Dialed::Failed(net) => Reply::Failed(net),
            Dialed::Refused(reply) => Reply::Http(reply),
            Dialed::WrongSubprotocol(got) => return self.wrong_subprotocol(now, got.as_deref()),
        };
        let failure = self.failure(Step::Dial, &self.dial_target(), &reply);
        self.step_failed(now, failure);
    }

    /// Whether this is the third failure at the same address, which may be stale: the next attempt asks for a fresh one.
    pub(super) fn address_is_stale(&mut self, class: Class) -> bool {
        // A 401 or 404 is the mesh's own answer: the address is good.
        if self.link != LinkState::Dialing || !class.passes() || self.is_transport() {
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
        self.last_failure = Some(Box::new(failure));
        self.back_off(now, Transition::T19, Cause::Crash, None);
    }

    /// Whether the mesh has today's capabilities. A transport has nothing to announce.
    fn is_announced(&self) -> bool {
        let current = Registration::Known {
            revision: self.revision,
        };
        self.is_transport() || self.registration == current
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
        let hello = self.hello(now);
        self.actions.push_back(Action::Send(conn, hello.into()));
        self.timers.set(Timer::Welcome, now.mono + welcome);
    }

    pub(super) fn welcome_overdue(&mut self, now: Now) {
        if self.link == LinkState::Dialing {
            return self.dial_overdue(now);
        }
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
        self.last_failure = Some(Box::new(failure));
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
        self.auth.forget_filter();
        self.dial_failures = 0;
        self.noise_since = None;
        if let Some(told) = self.told.touched() {
            told.forget_tls_causes();
        }
        self.outage_ends();
        self.last_failure = None;
        self.backoff.link_came_up();
        let stable = self.settings.timing.stable;
        let spread = (stable / STABLE_SPREAD).mul_f64(self.rng.f64());
        self.timers.set(Timer::Stable, now.mono + stable + spread);
        if !self.settings.protections.stability {
            self.proven_stable();
        }
        if let Some((id, _)) = self.operations.connect() {
            self.complete(id, Ok(super::action::Output::Nothing));
        }
        if !self.is_announced() && !self.draining() && self.auth.is_valid(now.mono) {
            // What was added after the last registration on the way here.
            self.announce_capabilities(now);
        }
    }

    pub(super) fn proven_stable(&mut self) {
        self.backoff.reset();
        self.auth_backoff.reset();
        self.protocol_closes.clear();
    }
}
