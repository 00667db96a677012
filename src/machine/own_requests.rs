//! What the application asks the mesh by itself: with the library's token, and the library's patience with failures
//! that pass (section 3).

use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, HttpReply, OperationId, Output, Reply};
use super::backoff::{Backoff, Cause};
use super::failure::{Class, Failure, Step};
use super::operations::{Kind, Operation};
use super::time::Now;
use super::{LinkState, Machine, Purpose, redaction};
use crate::error::Error;
use crate::own_request::OwnRequest;
use crate::protocol::json_shape::{self, ShapeError};
use crate::protocol::limits::{MAX_HTTP_BODY_BYTES, MAX_JSON_DEPTH};

/// A header's value that is shorter is looked for nowhere: it would be found in any text.
const SECRET_FROM: usize = 12;

/// How often a request has failed, and when it is tried again.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    pub(super) at: Option<Duration>,
    last: Option<Error>,
}

impl Operation {
    /// How its last attempt has failed.
    pub(super) fn last_failure(&self) -> Option<&Error> {
        self.attempts.as_ref()?.last.as_ref()
    }
}

impl Machine {
    /// Sends a request with the token in use, or the one that is fetched for it. Needs no link and no registration.
    pub fn own_request(
        &mut self,
        now: Now,
        operation: OperationId,
        request: OwnRequest,
        timeout: Duration,
    ) {
        if self.link.is_final() || self.link == LinkState::Closing {
            let error = self.ended("request");
            return self.refuse(operation, error);
        }
        let kind = Kind::OwnRequest(Arc::new(request));
        self.begin(now, operation, kind, timeout);
        let backoff = Backoff::new(
            self.settings.reconnect_delays.clone(),
            self.settings.protections.jitter,
        );
        if let Some(operation) = self.operations.get_mut(operation) {
            operation.attempts = Some(Attempts {
                backoff,
                at: None,
                last: None,
            });
        }
        self.adopt_static_token(now);
        self.send_operation(now, operation);
    }

    pub(super) fn send_own_request(
        &mut self,
        id: OperationId,
        request: &OwnRequest,
        timeout: Duration,
    ) {
        let operation = self.operations.get_mut(id);
        if let Some(attempts) = operation.and_then(|operation| operation.attempts.as_mut()) {
            attempts.at = None;
        }
        self.request_with(
            Purpose::OwnRequest(id),
            request.path().to_owned().into(),
            request.headers().clone(),
            request.body().to_owned(),
            timeout,
        );
        self.watch_deadlines();
    }

    pub(super) fn own_reply(&mut self, now: Now, id: OperationId, reply: &Reply) {
        let Some(Kind::OwnRequest(request)) = self.operations.get(id).map(|op| &op.kind) else {
            self.counters.stale_inputs += 1;
            return;
        };
        let request = Arc::clone(request);
        let step = step_of(&request);
        let target = self.target(request.shown_path());
        if let Reply::Http(http) = reply
            && (200..300).contains(&http.status)
        {
            let result = json_in(&http.body).map(Output::Reply);
            // It was taken: to ask again might do twice what was asked for.
            let result =
                result.map_err(|why| Failure::undecodable(step, &target, http.status, &why).error);
            return self.complete(id, result);
        }
        let failure = match reply {
            Reply::Http(http) => {
                Failure::refused(step, &target, &self.without_its_secrets(http, &request))
            }
            Reply::Failed(_) => self.failure(step, &target, reply),
        };
        if failure.class == Class::Unauthorized {
            self.fail_or_retry(now, &[id], &failure);
        } else {
            self.own_request_failed(now, id, &failure);
        }
    }

    /// A server may echo the headers that it was sent.
    fn without_its_secrets(&self, reply: &HttpReply, request: &OwnRequest) -> HttpReply {
        let mut reply = self.redacted(reply);
        let secrets = request.secrets().filter(|text| text.len() >= SECRET_FROM);
        let body = redaction::remove(&String::from_utf8_lossy(&reply.body), secrets);
        reply.body = body.into_bytes();
        reply
    }

    /// An attempt has failed, or the token for it has not come: the request is tried again later if that may help, and
    /// ends otherwise. `false` if the operation is no such request.
    pub(super) fn own_request_failed(
        &mut self,
        now: Now,
        id: OperationId,
        failure: &Failure,
    ) -> bool {
        let waits = !self.settings.fail_fast && self.link != LinkState::Closing && passes(failure);
        let rng = &mut self.rng;
        let Some(operation) = self.operations.get_mut(id) else {
            return false;
        };
        let Some(attempts) = &mut operation.attempts else {
            return false;
        };
        if attempts.at.is_some() {
            // Somebody else's wait for a token has ended; this one has its own time.
            return true;
        }
        let cause = match failure.class {
            Class::Busy => Cause::Announced,
            Class::Tls => Cause::Tls,
            _ => Cause::Crash,
        };
        attempts.last = Some(failure.error.clone());
        let at = attempts
            .backoff
            .next(now.mono, cause, failure.retry_after, rng);
        if waits && operation.deadline.is_none_or(|deadline| at < deadline) {
            attempts.at = Some(at);
            self.watch_deadlines();
        } else if waits {
            let error = gave_up(attempts, &failure.error);
            self.complete(id, Err(error));
        } else {
            self.complete(id, Err(failure.error.clone()));
        }
        true
    }

    /// Sends the requests again whose wait is over.
    pub(super) fn try_again(&mut self, now: Now) {
        let due = self.operations.ids(|op| {
            let in_time = op.deadline.is_none_or(|deadline| deadline > now.mono);
            in_time && op.again_at().is_some_and(|at| at <= now.mono)
        });
        for id in due {
            let Some(operation) = self.operations.get_mut(id) else {
                continue;
            };
            let wants_token = operation.wants_token;
            if let Some(attempts) = &mut operation.attempts {
                attempts.at = None;
            }
            if self.link == LinkState::Closing {
                // It ends with everything else; nothing is begun any more.
                continue;
            }
            if wants_token {
                self.fetch_token(now);
            } else {
                self.send_operation(now, id);
            }
        }
    }

    /// The request under way for this operation is of no use any more.
    pub(super) fn abort_own_request(&mut self, id: OperationId) {
        let of_it = self
            .requests
            .iter()
            .find(|(_, purpose)| **purpose == Purpose::OwnRequest(id));
        if let Some(request) = of_it.map(|(request, _)| *request) {
            self.requests.remove(&request);
            self.actions.push_back(Action::AbortRequest(request));
        }
    }

    /// Why a request has not been answered in time.
    pub(super) fn own_request_error(&self, operation: &Operation) -> Error {
        let failed = operation.attempts.as_ref();
        let failed = failed.and_then(|attempts| Some(gave_up(attempts, attempts.last.as_ref()?)));
        failed.unwrap_or_else(|| self.overdue(operation))
    }
}

/// What is being done, for errors: the registration has texts of its own.
pub(super) fn step_of(request: &OwnRequest) -> Step {
    match request.shown_path() {
        "/agents/register" => Step::Register,
        _ => Step::OwnRequest,
    }
}

/// Whether to ask again may help: nobody has answered, or whoever did has no time or is broken. A refusal stands, since
/// it may be an answer to what was asked.
fn passes(failure: &Failure) -> bool {
    match failure.error.http_status_code() {
        None => failure.class.passes(),
        Some(status) => matches!(status, 408 | 425 | 429 | 500..=599),
    }
}

fn gave_up(attempts: &Attempts, last: &Error) -> Error {
    let count = attempts.backoff.attempts();
    let plural = if count == 1 { "" } else { "s" };
    last.clone()
        .within(&format!("request gave up after {count} attempt{plural}"))
}

/// The body as JSON; nothing at all is null.
fn json_in(body: &[u8]) -> Result<String, String> {
    if body.len() >= MAX_HTTP_BODY_BYTES {
        return Err(format!(
            "the body is larger than {MAX_HTTP_BODY_BYTES} bytes"
        ));
    }
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok("null".to_owned());
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err("the body is not JSON".to_owned());
    }
    if json_shape::check(text) == Err(ShapeError::TooDeep) {
        return Err(format!(
            "the body is nested deeper than {MAX_JSON_DEPTH} levels"
        ));
    }
    Ok(text.to_owned())
}
