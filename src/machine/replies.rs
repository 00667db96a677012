//! What the mesh's REST endpoints answered.

use serde_json::{Value, json};

use super::action::{HttpReply, NetFailure, Output, Reply, RequestId};
use super::event::EventKind;
use super::failure::{Class, Failure, Step};
use super::operations::Kind;
use super::time::{Now, Timer};
use super::{LinkState, Machine, Purpose, Registration, Transition};
use crate::error::{Error, ErrorKind};
use crate::protocol::rest::{Refusal, RegisterReply, SessionReply};

impl Machine {
    /// A request has ended.
    pub fn handle_reply(&mut self, now: Now, id: RequestId, reply: &Reply) {
        let Some(purpose) = self.requests.remove(&id) else {
            self.counters.stale_inputs += 1;
            return;
        };
        if self.requests.is_empty() {
            // They are rare, and an empty map keeps its room.
            self.requests.shrink_to_fit();
        }
        match purpose {
            Purpose::Register(_) | Purpose::ReRegister(_) if self.link == LinkState::Closing => {
                self.registered_too_late(now, reply);
            }
            Purpose::Heartbeat(_) if self.link == LinkState::Closing => {
                self.beaten_on_the_way_out(now);
            }
            Purpose::Token => self.token_reply(now, reply),
            Purpose::Register(revision) => self.register_reply(now, revision, reply),
            Purpose::ReRegister(revision) => self.re_register_reply(now, revision, reply),
            Purpose::Inquiry => self.inquired(now, reply),
            Purpose::Deregister => self.deregistered(),
            Purpose::Heartbeat(generation) => self.heartbeat_reply(now, generation, reply),
            Purpose::Session(operation) => self.session_reply(now, operation, reply),
            Purpose::OwnRequest(operation) => self.own_reply(now, operation, reply),
        }
    }

    /// What the reply says without any secret of ours: a server may echo what it was sent.
    pub(super) fn redacted(&self, reply: &HttpReply) -> HttpReply {
        let refusal = Refusal::read(&reply.body);
        let mut body = serde_json::Map::new();
        for (key, text) in [("code", &refusal.code), ("error", &refusal.message)] {
            if let Some(text) = text {
                body.insert(key.to_owned(), self.auth.redact(text).into());
            }
        }
        HttpReply {
            status: reply.status,
            retry_after: reply.retry_after,
            location: reply.location.as_deref().map(|host| self.auth.redact(host)),
            proxy: reply.proxy.clone(),
            body: if body.is_empty() {
                Vec::new()
            } else {
                Value::from(body).to_string().into_bytes()
            },
        }
    }

    pub(super) fn failure(&self, step: Step, target: &str, reply: &Reply) -> Failure {
        match reply {
            Reply::Failed(net) => {
                let text = self.auth.redact(&net.text);
                Failure::unanswered(
                    step,
                    target,
                    &NetFailure {
                        text,
                        ..net.clone()
                    },
                )
            }
            Reply::Http(http) => Failure::refused(step, target, &self.redacted(http)),
        }
    }

    /// Sends the registration; `while_up` leaves the link as it is.
    pub(super) fn send_registration(&mut self, now: Now, while_up: bool) {
        let body = self.agent.registration().to_string();
        let revision = self.revision;
        let purpose = if while_up {
            Purpose::ReRegister(revision)
        } else {
            Purpose::Register(revision)
        };
        self.registered_at = Some(now.boot);
        self.counters.registrations += 1;
        let timeout = self.settings.timing.http;
        self.request(purpose, "/agents/register", body, timeout);
    }

    fn register_reply(&mut self, now: Now, revision: u64, reply: &Reply) {
        if self.link != LinkState::Registering {
            self.counters.stale_inputs += 1;
            return;
        }
        let target = self.target("/agents/register");
        let Some(accepted) = success(reply) else {
            if may_have_been_taken(reply) {
                self.registration_is_unsure();
            }
            let failure = self.failure(Step::Register, &target, reply);
            return self.step_failed(now, failure);
        };
        let Ok(accepted) = accepted else {
            self.registration_is_unsure();
            let why = "the body is not a registration reply";
            let failure = Failure::undecodable(Step::Register, &target, 200, why);
            return self.step_failed(now, failure);
        };
        self.take_tenant(&accepted);
        if let Err(error) = self.take_connect_url(&accepted) {
            return self.fail(now, Transition::T9, error);
        }
        self.dial_failures = 0;
        self.outage.registered(now);
        self.registered(revision);
        if self.hosted() {
            self.become_hosted(now, Transition::T8);
        } else {
            self.dial(now, Transition::T8);
        }
    }

    /// Nobody will say any more whether the mesh has taken the registration that was sent.
    pub(super) fn registration_is_unsure(&mut self) {
        if self.registration == Registration::Absent {
            self.registration = Registration::Unsure;
        }
    }

    /// Keeps on whose behalf dispatches may come.
    fn take_tenant(&mut self, reply: &RegisterReply) {
        if reply.tenant_id.is_some() {
            self.tenant.clone_from(&reply.tenant_id);
        }
    }

    /// Checks and keeps the URL to dial.
    fn take_connect_url(&mut self, reply: &RegisterReply) -> Result<(), Error> {
        if self.hosted() {
            return Ok(());
        }
        let target = self.target("/agents/register");
        let Some(url) = &reply.connect_url else {
            return Err(Error::new(
                ErrorKind::Protocol,
                "NO_CONNECT_URL",
                format!("{target} accepted the agent in connected mode, but its reply has no connect_url to dial"),
            )
            .hint("is connected mode enabled for this tenant?"));
        };
        let instance_id = &self.agent.identity().instance_id;
        match self.settings.policy.connect_url(url, instance_id) {
            Ok(url) => {
                self.connect_url = Some(url);
                Ok(())
            }
            Err(error) => {
                let shown: String = url
                    .split(['?', '#'])
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(128)
                    .collect();
                Err(Error::new(
                    ErrorKind::Protocol,
                    "CONNECT_URL_REJECTED",
                    format!(
                        "the connect_url `{}` in the reply of {target} was refused: {}",
                        self.auth.redact(&shown),
                        error.reason()
                    ),
                )
                .hint("the token goes only to the host of `svantic_url`; list others in `allowed_connect_hosts`"))
            }
        }
    }

    fn registered(&mut self, revision: u64) {
        self.registration = Registration::Known { revision };
        let capabilities = self.agent.len();
        self.emit(
            EventKind::Registered,
            json!({"capabilities": capabilities, "revision": revision}),
        );
        let done = self
            .operations
            .ids(|op| matches!(op.kind, Kind::ReRegister(wanted) if wanted <= revision));
        for id in done {
            self.complete(id, Ok(Output::Nothing));
        }
    }

    fn re_register_reply(&mut self, now: Now, revision: u64, reply: &Reply) {
        let waiting = self
            .operations
            .ids(|op| matches!(op.kind, Kind::ReRegister(wanted) if wanted <= revision));
        let newest = self.registration;
        let mut overtaken = false;
        match success(reply) {
            Some(Ok(accepted)) => {
                // Its answer comes after that to a later one, so nobody knows which list the mesh took last.
                overtaken =
                    matches!(newest, Registration::Known { revision: newer } if newer > revision);
                self.take_tenant(&accepted);
                // A URL that must not see the token is not dialed; the one in use stays.
                if let Err(error) = self.take_connect_url(&accepted) {
                    self.log("warn", error.to_string());
                }
                self.registered(revision);
            }
            Some(Err(why)) => {
                let target = self.target("/agents/register");
                let failure = Failure::undecodable(Step::Register, &target, 200, &why);
                self.fail_or_retry(now, &waiting, &failure);
            }
            None => {
                let target = self.target("/agents/register");
                let failure = self.failure(Step::Register, &target, reply);
                self.fail_or_retry(now, &waiting, &failure);
            }
        }
        // More capabilities came while this one was on its way.
        let newer = self
            .operations
            .ids(|op| matches!(op.kind, Kind::ReRegister(wanted) if wanted > revision));
        if (overtaken || !newer.is_empty()) && self.is_up() {
            self.announce_capabilities(now);
        }
    }

    /// Repeats operations once with a fresh token after a 401; fails them otherwise.
    pub(super) fn fail_or_retry(&mut self, now: Now, ids: &[u64], failure: &Failure) {
        for id in ids {
            if failure.class == Class::Unauthorized && self.auth.can_renew() {
                let Some(operation) = self.operations.get_mut(*id) else {
                    continue;
                };
                if !operation.retried {
                    operation.retried = true;
                    operation.wants_token = true;
                    self.auth.suspect();
                    self.fetch_token(now);
                    continue;
                }
            }
            self.complete(*id, Err(failure.error.clone()));
        }
    }

    fn session_reply(&mut self, now: Now, id: u64, reply: &Reply) {
        let Some(operation) = self.operations.get_mut(id) else {
            self.counters.stale_inputs += 1;
            return;
        };
        if operation.abandoned && matches!(operation.kind, Kind::CreateSession { .. }) {
            return self.close_unwanted(now, id, reply);
        }
        let closing = match &operation.kind {
            Kind::CloseSession { session_id, .. } => Some(session_id.clone()),
            _ => None,
        };
        let creating = closing.is_none();
        let (step, path) = if creating {
            (Step::CreateSession, "/sessions/init")
        } else {
            (Step::CloseSession, "/sessions/close")
        };
        let target = self.target(path);
        match reply {
            Reply::Http(http) if (200..300).contains(&http.status) => {
                let result = if creating {
                    session(&http.body).ok_or_else(|| {
                        let why = "the body holds no session_id";
                        Failure::undecodable(step, &target, http.status, why).error
                    })
                } else {
                    Ok(Output::Nothing)
                };
                match &result {
                    Ok(Output::Session { session_id, .. }) => self.sessions.opened(session_id),
                    _ => self.session_closed(closing.as_deref()),
                }
                self.complete(id, result);
            }
            Reply::Http(http) if http.status == 404 && !creating => {
                let refusal = self.failure(step, &target, reply).error;
                let error = Error::new(
                    ErrorKind::NotFound,
                    refusal.code().to_owned(),
                    refusal.message(),
                )
                .http_status(Some(404))
                .hint("the session does not exist or has ended");
                self.session_closed(closing.as_deref());
                self.complete(id, Err(error));
            }
            _ => {
                let failure = self.failure(step, &target, reply);
                self.fail_or_retry(now, &[id], &failure);
            }
        }
    }

    /// How a heartbeat over HTTP ended that showed the token of this generation.
    fn heartbeat_reply(&mut self, now: Now, generation: u64, reply: &Reply) {
        let Reply::Http(http) = reply else {
            return;
        };
        if self.link != LinkState::Hosted {
            return self.beaten_without_link(now, http.status);
        }
        match http.status {
            200..300 => self.auth.fetched_for_heartbeat = false,
            // It crossed a newer token, which is shown at once.
            401 if generation != self.auth.generation() => self.send_heartbeat(now),
            401 if self.auth.can_renew() && !self.auth.fetched_for_heartbeat => {
                self.auth.fetched_for_heartbeat = true;
                self.auth.suspect();
                self.fetch_token(now);
            }
            401 => {
                let failure =
                    self.failure(Step::Heartbeat, &self.target("/agents/heartbeat"), reply);
                self.timers.stop(Timer::Heartbeat);
                self.timers.stop(Timer::Stable);
                self.block(now, Transition::T54, failure);
            }
            // One that says so right after a registration is asked again with the next heartbeat.
            404 if self.registration_is_due(now) => {
                self.forget_instance();
                self.timers.stop(Timer::Heartbeat);
                self.advance(now, Transition::T52);
            }
            _ => {}
        }
    }
}

/// Only an answer that refuses says for sure that the mesh has not taken a registration.
pub(super) fn may_have_been_taken(reply: &Reply) -> bool {
    !matches!(reply, Reply::Http(http) if !(200..300).contains(&http.status))
}

/// A 2xx reply read as a registration reply; `None` for any other.
fn success(reply: &Reply) -> Option<Result<RegisterReply, String>> {
    match reply {
        Reply::Http(http) if (200..300).contains(&http.status) => {
            Some(serde_json::from_slice(&http.body).map_err(|error| error.to_string()))
        }
        _ => None,
    }
}

pub(super) fn session(body: &[u8]) -> Option<Output> {
    let reply: SessionReply = serde_json::from_slice(body).ok()?;
    Some(Output::Session {
        session_id: reply.session_id,
        reply: String::from_utf8(body.to_vec()).ok()?,
    })
}
