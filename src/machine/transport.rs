//! A transport: the link alone, with every frame handed on as it came. What an agent does above it (registration,
//! dispatches, heartbeats, the farewell call) is the caller's own affair; everything about the link itself, from the token
//! to the back-off, is as it is for an agent.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use super::action::{Action, ConnectionNo, LinkEnd, NetFailure, OperationId, Reply};
use super::backoff::Cause;
use super::event::EventKind;
use super::failure::Step;
use super::time::Now;
use super::{Desired, LinkState, Machine, Transition};
use crate::error::{Error, ErrorKind};
use crate::protocol::frame::{self, Envelope, FrameText, Kind, Welcome};
use crate::protocol::frame_writer;
use crate::protocol::timestamp::push_timestamp;
use crate::rare::at_rest;

/// What our close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goodbye {
    pub(super) code: u16,
    pub(super) reason: Cow<'static, str>,
}

at_rest!(Goodbye);

impl Default for Goodbye {
    fn default() -> Self {
        Self {
            code: 1000,
            reason: Cow::Borrowed("client_close"),
        }
    }
}

impl Machine {
    pub(super) fn is_transport(&self) -> bool {
        self.settings.transport.is_some()
    }

    /// Whether the application carries the bytes. Such a socket is not pinged: not every one can, or answers.
    pub(super) fn has_external_socket(&self) -> bool {
        let transport = self.settings.transport.as_ref();
        transport.is_some_and(|transport| transport.external_socket)
    }

    // ---- commands ----

    /// Sends a frame, which the caller has checked to be a JSON object.
    pub fn send_frame(&mut self, text: FrameText) -> Result<(), Error> {
        let limit = self.settings.max_frame_bytes;
        if text.len() > limit {
            let why = format!(
                "send_frame: the frame has {} bytes, and the limit is {limit}",
                text.len()
            );
            let error = Error::new(ErrorKind::InvalidArgument, "FRAME_TOO_LARGE", why);
            return Err(error.hint("send less at once, or raise `max_frame_bytes` on both sides"));
        }
        let Some(conn) = self.ready_connection() else {
            let why = format!("send_frame: the link is not ready but {}", self.link.name());
            let error = Error::new(ErrorKind::InvalidState, "NOT_READY", why);
            return Err(error
                .hint("wait for the welcome, which the outcome of connect and the event CONNECTED tell of")
                .retryable(!self.link.is_final()));
        };
        self.actions.push_back(Action::Send(conn, text));
        Ok(())
    }

    /// Ends the link with this close frame; `operation` ends when it is closed.
    pub fn close_transport(
        &mut self,
        now: Now,
        operation: OperationId,
        code: u16,
        reason: &str,
        timeout: Duration,
    ) {
        if !self.link.is_final() && self.link != LinkState::Closing {
            *self.goodbye = Goodbye {
                code,
                reason: Cow::Owned(reason.to_owned()),
            };
        }
        self.disconnect(now, operation, timeout);
    }

    // ---- what comes in ----

    /// The application has not taken what is there, and there is no room for more: what is not taken on here the mesh
    /// hears of by the end of the connection, and nothing is dropped in silence.
    pub fn handle_overrun(&mut self, now: Now) {
        if let Some(conn) = self.ready_connection() {
            self.actions.push_back(Action::Abort(conn));
            let text = "the application does not take the frames that came in".to_owned();
            self.handle_closed(now, conn, &LinkEnd::Broken(text));
        }
    }

    /// The socket that the application carries has failed. It is closed in any case: some kinds say no more.
    pub fn handle_socket_error(&mut self, now: Now, conn: ConnectionNo, text: String) {
        let current = self.connection.as_ref().is_some_and(|c| c.no == conn);
        if current {
            self.actions.push_back(Action::Abort(conn));
        }
        self.handle_closed(now, conn, &LinkEnd::Broken(text));
    }

    /// A message of the socket that the application carries is larger than may be. The library's own takes none in.
    pub(super) fn message_too_large(&mut self, now: Now, conn: ConnectionNo, bytes: usize) {
        let limit = self.settings.max_frame_bytes;
        let text = format!("the peer sent a message of {bytes} bytes, and the limit is {limit}");
        self.actions.push_back(Action::Abort(conn));
        self.handle_closed(now, conn, &LinkEnd::Violation(text));
    }

    /// The application has not told what became of the socket that it was to open.
    pub(super) fn dial_overdue(&mut self, now: Now) {
        let limit = self.settings.timing.attempt.as_millis();
        let silence = NetFailure {
            kind: ErrorKind::Timeout,
            text: format!("the socket was not open within {limit} ms"),
        };
        let target = self.dial_target();
        let failure = self.failure(Step::Dial, &target, &Reply::Failed(silence));
        self.abort_connection();
        self.step_failed(now, failure);
    }

    pub(super) fn raw_before_welcome(&mut self, now: Now, text: FrameText) {
        let welcome = match frame::parse(&text) {
            Ok(Envelope {
                kind: Kind::Welcome,
                payload,
                ..
            }) => Some(Welcome::read(payload)),
            _ => None,
        };
        match welcome {
            Some(welcome) => self.welcomed(now, welcome.resumed, Some(text)),
            None if frame::is_object(&text) => self.hold(now, text),
            None => self.ignore_frame(&text, false),
        }
    }

    pub(super) fn raw(&mut self, text: FrameText) {
        if frame::is_object(&text) {
            self.actions.push_back(Action::Frame(text));
        } else {
            self.ignore_frame(&text, false);
        }
    }

    // ---- the link ----

    /// The first frame: a transport's in the caller's own words.
    pub(super) fn hello(&mut self, now: Now) -> String {
        let stamp = self.stamp(now);
        let Some(transport) = &mut self.settings.transport else {
            return frame_writer::hello(stamp, &self.agent.hello().to_string());
        };
        let first = std::mem::take(&mut transport.first_hello);
        let id = first.id.unwrap_or_else(|| stamp.id.to_string());
        let ts = first.ts.unwrap_or_else(|| {
            let mut ts = String::new();
            push_timestamp(&mut ts, stamp.unix_ms);
            ts
        });
        frame_writer::hello_of(&id, &ts, &transport.hello)
    }

    /// The link has ended and is not to be made again: it may be connected anew.
    pub(super) fn rest(&mut self) {
        self.desired = Desired::Stopped;
        self.was_ready = false;
        self.backoff.reset();
        self.go(Transition::T55, LinkState::Idle);
    }

    /// The mesh does not know the instance, which only the caller can register.
    pub(super) fn not_registered(&mut self, now: Now, error: Error) {
        let error = error.hint("register the instance (POST /agents/register) and connect again");
        if !self.was_ready {
            return self.give_up_first(error);
        }
        self.emit(EventKind::InstanceForgotten, json!({}));
        self.back_off(now, Transition::T15, Cause::Crash, None);
    }

    /// A connection has ended that we closed.
    pub(super) fn disconnected_by_us(&mut self, conn: ConnectionNo) {
        let Goodbye { code, reason } = (*self.goodbye).clone();
        self.disconnected(conn, Some(code), &reason, true);
    }
}
