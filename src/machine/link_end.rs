//! What the end of a connection means (`reliability.md` 5.4), and what goes with it.

use std::time::Duration;

use serde_json::json;

use super::action::{Action, ConnectionNo, LinkEnd};
use super::backoff::Cause;
use super::event::EventKind;
use super::failure::{Class, Failure, Step, message};
use super::time::{Now, Timer};
use super::{Desired, LinkState, Machine, Transition};
use crate::error::{Error, ErrorKind};
use crate::protocol::close_code::{self, CloseMeaning};

/// After so many protocol errors in a row there is no point in going on.
const HOPELESS: usize = 3;

/// How long protocol errors and conflicts are remembered.
const MEMORY: Duration = Duration::from_mins(10);

/// Closes over the token that are nearer to each other than this mean that the fresh one is refused too.
const RENEWALS_APART: Duration = Duration::from_secs(10);

const CONFLICT_WAIT: Duration = Duration::from_secs(30);

impl Machine {
    /// An open socket has ended.
    pub fn handle_closed(&mut self, now: Now, conn: ConnectionNo, end: &LinkEnd) {
        if !self.is_current(conn) {
            return;
        }
        self.connection_ended(now, conn, end);
        // An answer that was given up may have been the last one.
        self.drain_step(now);
    }

    fn connection_ended(&mut self, now: Now, conn: ConnectionNo, end: &LinkEnd) {
        if self.link == LinkState::Closing {
            // Only a link that was up is closed with a handshake.
            self.counters.disconnects.closed_by_us += 1;
            self.disconnected_by_us(conn);
            return self.say_farewell(now);
        }
        let was_up = matches!(self.link, LinkState::Ready | LinkState::Suspect);
        let ended = if was_up {
            Transition::T33
        } else {
            Transition::T24
        };
        let token_generation = self.connection.as_ref().map(|c| c.token_generation);
        let (code, cause) = match end {
            LinkEnd::Closed { code, reason } => {
                let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
                (*code, self.auth.redact(&reason))
            }
            LinkEnd::Broken(text) | LinkEnd::Violation(text) => (None, self.auth.redact(text)),
        };
        let meaning = close_code::meaning(code);
        if self.blame_answers(now, conn, end) {
            // What these were about has been found.
            self.protocol_closes.clear();
        }
        if was_up {
            self.counters.disconnects.count(meaning);
        }
        self.disconnected(conn, code, &cause, was_up);
        let said = code.map_or(String::new(), |code| format!(" with code {code}"));
        let why = match (code, cause.as_str()) {
            (None, "") => "the connection ended without a close code or a reason".to_owned(),
            (_, "") => format!("the connection ended{said}"),
            _ => format!("the connection ended{said}: {cause}"),
        };
        let step = if was_up { Step::Dial } else { Step::Welcome };
        let error = Error::new(
            ErrorKind::Network,
            "CONNECTION_LOST",
            message(step, &self.dial_target(), &why),
        )
        .hint("it is made again by itself once it has been up; before that, connect again")
        .retryable(true);
        self.last_failure = Some(Box::new(Failure {
            class: Class::Temporary,
            retry_after: None,
            error: error.clone(),
        }));
        if was_up && !self.settings.auto_reconnect && self.desired == Desired::Running {
            if self.is_transport() {
                return self.rest();
            }
            return self.fail(now, Transition::T33C, error.hint("`auto_reconnect` is off"));
        }
        if matches!(end, LinkEnd::Violation(_)) {
            return self.protocol_close(now, Transition::T49, error);
        }
        match meaning {
            CloseMeaning::Announced => self.back_off(now, ended, Cause::Announced, None),
            CloseMeaning::Crash | CloseMeaning::TooBig => {
                self.back_off(now, ended, Cause::Crash, None);
            }
            CloseMeaning::Protocol => self.protocol_close(now, ended, error),
            CloseMeaning::Auth => self.auth_close(now, token_generation, &error),
            CloseMeaning::Superseded => self.superseded(now, error),
        }
    }

    fn protocol_close(&mut self, now: Now, transition: Transition, error: Error) {
        self.protocol_closes
            .retain(|at| now.mono.saturating_sub(*at) < MEMORY);
        self.protocol_closes.push(now.mono);
        if self.protocol_closes.len() >= HOPELESS {
            self.fail(now, Transition::T33C, error);
        } else {
            self.back_off(now, transition, Cause::Protocol, None);
        }
    }

    fn auth_close(&mut self, now: Now, dialed_with: Option<u64>, error: &Error) {
        self.outage_begins(now);
        let newer = dialed_with.is_some_and(|generation| generation < self.auth.generation());
        if newer && self.auth.is_valid(now.mono) {
            // What ended is the token that the link was dialed with, and that was renewed long ago.
            return self.advance(now, Transition::T33A);
        }
        let error = Error::new(ErrorKind::Auth, "UNAUTHORIZED", error.message())
            .hint("the token is expired or not this mesh's: call refresh_token with a new one");
        // The welcome in between proves little: a mesh that welcomes and refuses in turn is not dialed in a loop.
        let just_renewed = self
            .auth
            .renewed_for_close
            .is_some_and(|at| now.mono.saturating_sub(at) < RENEWALS_APART);
        if self.auth.can_renew() && !self.auth.fetched_for_attempt && !just_renewed {
            self.auth.fetched_for_attempt = true;
            self.auth.renewed_for_close = Some(now.mono);
            self.auth.invalidate();
            self.go(Transition::T33A, LinkState::Authenticating);
            self.fetch_token(now);
        } else {
            self.block(now, Transition::T33B, Failure::fatal(error));
        }
    }

    fn superseded(&mut self, now: Now, error: Error) {
        self.outage_begins(now);
        self.emit(EventKind::Superseded, json!({}));
        let again = self
            .superseded_at
            .is_some_and(|at| now.mono.saturating_sub(at) < MEMORY);
        self.superseded_at = Some(now.mono);
        if again {
            let error = error.hint("another process runs with the same `instance_id`");
            return self.fail(now, Transition::T41, error);
        }
        self.go(Transition::T41, LinkState::Conflict);
        let wait = CONFLICT_WAIT + CONFLICT_WAIT.mul_f64(self.rng.f64());
        self.timers.set(Timer::Retry, now.mono + wait);
    }

    /// The record of the connection goes as a whole, with everything that was timed by it.
    pub(super) fn drop_connection(&mut self) {
        self.connection = None;
        self.outbox.connection_lost();
        for timer in [
            Timer::Welcome,
            Timer::Silence,
            Timer::Watch,
            Timer::Probe,
            Timer::Heartbeat,
            Timer::Stable,
            Timer::Fence,
        ] {
            self.timers.stop(timer);
        }
    }

    /// The same, and the socket is dropped too.
    pub(super) fn abort_connection(&mut self) {
        if let Some(connection) = &self.connection {
            self.actions.push_back(Action::Abort(connection.no));
        }
        self.drop_connection();
    }

    pub(super) fn disconnected(
        &mut self,
        conn: ConnectionNo,
        code: Option<u16>,
        cause: &str,
        was_up: bool,
    ) {
        self.drop_connection();
        if was_up {
            self.emit(
                EventKind::Disconnected,
                json!({"connection": conn, "code": code, "cause": cause}),
            );
        }
    }
}
