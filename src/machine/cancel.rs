//! Operations that whoever began them no longer waits for. Each ends at once; what the mesh may have done for it
//! meanwhile is not left lying about.

use super::action::{OperationId, Output, Reply};
use super::operations::{Kind, Operation};
use super::replies::session;
use super::time::Now;
use super::{LinkState, Machine, Purpose};
use crate::error::{Error, ErrorKind};

impl Machine {
    /// Ends those of these operations that have not ended yet, each with `Cancelled`; whether there were any.
    pub fn cancel(&mut self, now: Now, ids: &[OperationId]) -> bool {
        let (mut any, mut out_of_patience) = (false, false);
        for id in ids {
            let Some(operation) = self.operations.get(*id).filter(|op| !op.abandoned) else {
                continue;
            };
            any = true;
            let error = self.cancelled_operation(operation);
            match operation.kind {
                Kind::Connect => self.give_up_first(error),
                Kind::CreateSession { .. } if self.is_under_way(*id) => {
                    self.abandon(now, *id, error);
                }
                Kind::CloseSession { .. } => self.abandon(now, *id, error),
                Kind::OwnRequest(_) => {
                    self.abort_own_request(*id);
                    self.complete(*id, Err(error));
                }
                Kind::Disconnect => {
                    out_of_patience = true;
                    self.complete(*id, Err(error));
                }
                Kind::CreateSession { .. } | Kind::ReRegister(_) | Kind::RefreshToken => {
                    self.complete(*id, Err(error));
                }
            }
        }
        if out_of_patience {
            // As with a second disconnect: the way out stays the way out, and nobody waits for running work any more.
            self.drain(now, now.mono);
        }
        any
    }

    fn cancelled_operation(&self, operation: &Operation) -> Error {
        let name = operation.kind.name();
        let last = match (&operation.kind, &self.last_failure) {
            (Kind::OwnRequest(_), _) => operation.last_failure(),
            (Kind::Connect, Some(failure)) => Some(&failure.error),
            _ => None,
        };
        let text = match (&operation.kind, last) {
            (_, Some(error)) => {
                format!(
                    "{name} was cancelled; the last attempt: {}",
                    error.message()
                )
            }
            (Kind::Disconnect, _) => {
                format!("{name} was cancelled: running dispatches are not waited for any more")
            }
            _ => format!("{name} was cancelled: {}", self.waited_for(operation)),
        };
        Error::new(ErrorKind::Cancelled, "CANCELLED", text)
    }

    /// Whether the mesh has been asked and has not answered.
    fn is_under_way(&self, id: OperationId) -> bool {
        self.requests
            .values()
            .any(|purpose| *purpose == Purpose::Session(id))
    }

    /// Ends the wait and lets the operation go on in the background, for as long as one call may take.
    fn abandon(&mut self, now: Now, id: OperationId, error: Error) {
        self.actions
            .push_back(super::Action::Complete(id, Box::new(Err(error))));
        let limit = self.settings.timing.http;
        if let Some(operation) = self.operations.get_mut(id) {
            operation.abandoned = true;
            operation.deadline = Some(now.mono + limit);
        }
        self.watch_deadlines();
    }

    /// What became of a `create_session` that was cancelled: if the mesh has opened the session, nobody knows its id but us.
    pub(super) fn close_unwanted(&mut self, now: Now, id: OperationId, reply: &Reply) {
        let opened = match reply {
            Reply::Http(http) if (200..300).contains(&http.status) => session(&http.body),
            _ => None,
        };
        match opened {
            // The farewell ends every session of the instance.
            Some(Output::Session { session_id, .. }) if self.link != LinkState::Closing => {
                let limit = self.settings.timing.http;
                if let Some(operation) = self.operations.get_mut(id) {
                    operation.kind = Kind::close_session(&session_id);
                    operation.deadline = Some(now.mono + limit);
                }
                self.watch_deadlines();
                self.send_operation(now, id);
            }
            _ => self.complete(id, Ok(Output::Nothing)),
        }
    }

    /// Nobody is told of its outcome, unless a session stays open that nobody will close.
    pub(super) fn ended_in_the_background(
        &mut self,
        operation: &Operation,
        result: &Result<Output, Error>,
    ) {
        let (Kind::CloseSession { session_id, .. }, Err(error)) = (&operation.kind, result) else {
            return;
        };
        if !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::NotFound) {
            let session_id = self.auth.redact(session_id);
            self.log(
                "warn",
                format!("the session {session_id} may be open still: {error}"),
            );
        }
    }
}
