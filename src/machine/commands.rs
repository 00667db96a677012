//! What the application asks for.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::action::{Action, OperationId, Output};
use super::operations::Kind;
use super::time::{Now, Timer};
use super::{Desired, LinkState, Machine, Purpose, Registration, Transition};
use crate::agent::Capability;
use crate::error::{Error, ErrorKind};

impl Machine {
    /// Adds a capability. The mesh learns of it with the next registration.
    pub fn define(&mut self, capability: Capability) -> Result<usize, Error> {
        if self.link.is_final() {
            return Err(self.ended("define_capability"));
        }
        let index = self.agent.define(capability)?;
        self.revision += 1;
        Ok(index)
    }

    /// Gets a token, registers, and opens the link; `operation` ends when work can arrive.
    pub fn connect(&mut self, now: Now, operation: OperationId, timeout: Duration) {
        if self.link != LinkState::Idle {
            let error = if self.link.is_final() || self.link == LinkState::Closing {
                self.ended("connect")
            } else {
                Error::new(
                    ErrorKind::InvalidState,
                    "ALREADY_CONNECTED",
                    format!("connect: the connector is already {}", self.state().name()),
                )
                .hint("one connect is enough: the connector makes lost connections again by itself")
            };
            return self.refuse(operation, error);
        }
        if self.settings.local {
            let text = "connect: the agent is configured with `local`, which is without a mesh";
            let error = Error::new(ErrorKind::InvalidState, "LOCAL", text)
                .hint("its requests are served as it is; take `local` out to join the mesh");
            return self.refuse(operation, error);
        }
        if self.hosted() {
            self.tell_unguarded();
        }
        let base = &self.settings.policy.base;
        if base.is_exposed() {
            let url = base.as_str().to_owned();
            self.log(
                "warn",
                format!(
                    "`allow_insecure`: the token and every dispatch travel unencrypted to {url}"
                ),
            );
        }
        self.desired = Desired::Running;
        self.last_failure = None;
        self.backoff.reset();
        self.auth_backoff.reset();
        self.auth.fetched_for_attempt = false;
        self.noise_since = None;
        // What an earlier attempt may have registered is announced anew.
        if self.registration.was_accepted() {
            self.registration = Registration::Known { revision: 0 };
        }
        self.revision = self.revision.max(1);
        self.begin(now, operation, Kind::Connect, timeout);
        self.adopt_static_token(now);
        self.advance(now, Transition::T1);
    }

    /// Stops taking dispatches, lets running ones finish for `timeout`, then closes.
    pub fn disconnect(&mut self, now: Now, operation: OperationId, timeout: Duration) {
        if self.link.is_final() {
            let error = self.ended("disconnect");
            return self.refuse(operation, error);
        }
        self.begin(now, operation, Kind::Disconnect, timeout);
        self.drain(now, now.mono + timeout);
    }

    /// Uses `jwt` from now on, or exchanges the credentials for a new token.
    pub fn refresh_token(
        &mut self,
        now: Now,
        operation: OperationId,
        jwt: Option<SecretString>,
        timeout: Duration,
    ) {
        if self.link.is_final() {
            let error = self.ended("refresh_token");
            return self.refuse(operation, error);
        }
        match jwt {
            Some(jwt) => {
                let result = self.supply_token(now, jwt).map(|()| Output::Nothing);
                self.actions
                    .push_back(Action::Complete(operation, Box::new(result)));
            }
            None if self.auth.can_renew() => {
                self.begin(now, operation, Kind::RefreshToken, timeout);
                self.fetch_token(now);
            }
            None => self.refuse(
                operation,
                Error::new(
                    ErrorKind::InvalidArgument,
                    "NO_CREDENTIALS",
                    "refresh_token: a token that was supplied can only be replaced by another one",
                )
                .hint("pass the new JWT"),
            ),
        }
    }

    /// Announces today's capabilities; `operation` ends when the mesh has them.
    pub fn re_register(&mut self, now: Now, operation: OperationId, timeout: Duration) {
        if let Err(error) = self.require_registration("re_register") {
            return self.refuse(operation, error);
        }
        self.revision += 1;
        let revision = self.revision;
        self.begin(now, operation, Kind::ReRegister(revision), timeout);
        // Without a link, the way to the next one registers first.
        if self.is_up() {
            self.counters.taken(Transition::T35);
            self.send_operation(now, operation);
        }
    }

    /// Opens a session; `options_json` is an object that the caller has checked.
    pub fn create_session(
        &mut self,
        now: Now,
        operation: OperationId,
        options: serde_json::Map<String, serde_json::Value>,
        timeout: Duration,
    ) {
        if let Err(error) = self.require_registration("create_session") {
            return self.refuse(operation, error);
        }
        let mut body = json!({"instance_id": self.agent.identity().instance_id});
        if let Some(fields) = body.as_object_mut() {
            fields.extend(options);
        }
        let kind = Kind::CreateSession {
            body: body.to_string(),
        };
        self.begin(now, operation, kind, timeout);
        self.send_operation(now, operation);
    }

    /// Closes a session.
    pub fn close_session(
        &mut self,
        now: Now,
        operation: OperationId,
        session_id: &str,
        timeout: Duration,
    ) {
        if let Err(error) = self.require_registration("close_session") {
            return self.refuse(operation, error);
        }
        self.begin(now, operation, Kind::close_session(session_id), timeout);
        self.send_operation(now, operation);
    }

    /// Whether the link is up, one way or the other.
    pub(super) fn is_up(&self) -> bool {
        matches!(
            self.link,
            LinkState::Ready | LinkState::Suspect | LinkState::Hosted
        )
    }

    /// Sends the registration with today's capabilities unless one is on its way; that one is followed up.
    pub(super) fn announce_capabilities(&mut self, now: Now) {
        let under_way = self
            .requests
            .values()
            .any(|purpose| matches!(purpose, Purpose::ReRegister(_)));
        if !under_way {
            self.send_registration(now, true);
        }
    }

    /// Sends the request of an operation, or makes it wait for a token.
    pub(super) fn send_operation(&mut self, now: Now, id: OperationId) {
        let valid = self.auth.is_valid(now.mono);
        let can_renew = self.auth.can_renew();
        let http = self.settings.timing.http;
        let Some(operation) = self.operations.get_mut(id) else {
            return;
        };
        operation.wants_token = !valid && can_renew;
        if operation.wants_token {
            return self.fetch_token(now);
        }
        if !valid {
            return self.complete(id, Err(super::token::supplied_token_is_dead()));
        }
        let timeout = operation
            .deadline
            .map_or(http, |deadline| deadline.saturating_sub(now.mono).min(http));
        let (path, body) = match &operation.kind {
            Kind::OwnRequest(request) => {
                let request = Arc::clone(request);
                return self.send_own_request(id, &request, timeout);
            }
            Kind::CreateSession { body } => ("/sessions/init", body.clone()),
            Kind::CloseSession { body, .. } => ("/sessions/close", body.clone()),
            Kind::ReRegister(_) => return self.announce_capabilities(now),
            Kind::Connect | Kind::Disconnect | Kind::RefreshToken => return,
        };
        self.request(Purpose::Session(id), path, body, timeout);
    }

    /// Ends an operation. Ends it only once: late news find nothing.
    pub(super) fn complete(&mut self, id: OperationId, result: Result<Output, Error>) {
        let Some(operation) = self.operations.remove(id) else {
            return;
        };
        if operation.abandoned {
            self.ended_in_the_background(&operation, &result);
        } else {
            self.actions
                .push_back(Action::Complete(id, Box::new(result)));
        }
        self.watch_deadlines();
    }

    /// Wakes up for the operation that is due first, or to be tried again.
    pub(super) fn watch_deadlines(&mut self) {
        match self.operations.next_due() {
            Some(due) => self.timers.set(Timer::Operation, due),
            None => self.timers.stop(Timer::Operation),
        }
    }

    pub(super) fn begin(&mut self, now: Now, id: OperationId, kind: Kind, timeout: Duration) {
        self.operations.insert(id, kind, now.mono, timeout);
        self.watch_deadlines();
    }

    pub(super) fn refuse(&mut self, id: OperationId, error: Error) {
        self.actions
            .push_back(Action::Complete(id, Box::new(Err(error))));
    }

    fn require_registration(&mut self, what: &str) -> Result<(), Error> {
        if self.link.is_final() || self.link == LinkState::Closing {
            return Err(self.ended(what));
        }
        if !self.registration.was_accepted() || self.desired == Desired::Stopped {
            return Err(Error::new(
                ErrorKind::InvalidState,
                "NOT_CONNECTED",
                format!("{what}: the agent is not connected (no registration is active)"),
            )
            .hint("call connect first"));
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, what: &str) -> Error {
        if self.link.is_final() {
            self.counters.taken(Transition::T50);
        }
        let why = match (&self.link, &self.last_failure) {
            (LinkState::Failed, Some(failure)) => {
                format!("has given up: {}", failure.error.message())
            }
            _ => "is closed".to_owned(),
        };
        Error::new(
            ErrorKind::InvalidState,
            "CLOSED",
            format!("{what}: the connector {why}"),
        )
        .hint("free this one and create another")
    }
}
