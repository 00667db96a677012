//! Answers on their way to the outbox: results, errors, refusals, and what time has done to them (`protocol.md` 7).

use std::time::Duration;

use serde_json::json;

use super::Machine;
use super::action::{Action, Answer, ConnectionNo, DispatchId};
use super::event::EventKind;
use super::outbox::Write;
use super::time::{Now, Timer};
use crate::agent::Capability;
use crate::error::{Error, ErrorKind};
use crate::protocol::frame::FrameText;

/// How long past a dispatch's deadline its answer is still worth sending.
const LATE_GRACE: Duration = Duration::from_secs(5);

/// The longest error message that goes on the wire.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

impl Machine {
    /// The application's answer. `NOT_FOUND` if the dispatch has ended already.
    pub fn answer(&mut self, now: Now, id: &str, answer: Answer<'_>) -> Result<(), Error> {
        let Some((id, capability)) = self.inbox.awaiting(id) else {
            return Err(dispatch_ended());
        };
        match answer {
            Answer::Result(json) => self.answer_result(now, id, &capability, json),
            Answer::Flawed { flaw, detail } => {
                let message = format!("the handler's result {flaw}");
                let error = Error::new(ErrorKind::InvalidJson, "INVALID_RESULT", detail)
                    .hint("the dispatch has been answered with INVALID_RESULT");
                Err(self.not_sent(now, id, &capability, &message, error))
            }
            Answer::Error { code, message } => {
                self.inbox.consecutive_failures += 1;
                self.counters.failed += 1;
                let text = self.failure_text(&capability, code, message);
                self.send_error(now, id, code, &text);
                Ok(())
            }
        }
    }

    fn answer_result(
        &mut self,
        now: Now,
        id: DispatchId,
        capability: &Capability,
        json: &str,
    ) -> Result<(), Error> {
        let stamp = self.stamp(now);
        let limit = self.settings.max_frame_bytes;
        let frame = match self.frame_writer.dispatch_result(stamp, &id, json, limit) {
            Ok(frame) => frame,
            Err(size) => {
                let text = format!("makes a frame of {size} bytes, and the limit is {limit}");
                let message = format!("the result {text}");
                let error = Error::new(ErrorKind::InvalidArgument, "RESULT_TOO_LARGE", text).hint(
                    "the dispatch has been answered with this error; `max_frame_bytes` sets the limit",
                );
                return Err(self.not_sent(now, id, capability, &message, error));
            }
        };
        self.inbox.consecutive_failures = 0;
        self.counters.answered += 1;
        self.answered(now, id, frame);
        Ok(())
    }

    /// The mesh gets an error in the result's place; `error` completes "the result of dispatch …". Logged too: of a
    /// batch, the application hears only how many were refused, and a handler in C may look at no status.
    fn not_sent(
        &mut self,
        now: Now,
        id: DispatchId,
        capability: &Capability,
        message: &str,
        error: Error,
    ) -> Error {
        self.inbox.consecutive_failures += 1;
        self.counters.failed += 1;
        let shown = self.auth.redact(&id).escape_debug().to_string();
        let whose = format!(
            "capability \"{}\": the result of dispatch {shown}",
            capability.name
        );
        let error = error.about(&whose);
        self.log("warn", error.to_string());
        self.send_error(now, id, error.code(), message);
        error
    }

    fn failure_text(&self, capability: &Capability, code: &str, message: &str) -> String {
        let message = if code == "HANDLER_ERROR" && self.settings.redact_handler_errors {
            "the handler failed"
        } else {
            message
        };
        let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
        let message = &message[..end];
        match code {
            "HANDLER_ERROR" => format!("capability \"{}\" failed: {message}", capability.name),
            _ => message.to_owned(),
        }
    }

    /// Answers a dispatch with an error, whether it ran or was refused.
    pub(super) fn send_error(&mut self, now: Now, id: DispatchId, code: &str, message: &str) {
        let stamp = self.stamp(now);
        let mut frame = self.frame_writer.error(stamp, &id, code, message);
        let mut message = message;
        while frame.len() > self.settings.max_frame_bytes && !message.is_empty() {
            message = &message[..message.floor_char_boundary(message.len() / 2)];
            frame = self.frame_writer.error(stamp, &id, code, message);
        }
        self.answered(now, id, frame);
    }

    fn answered(&mut self, now: Now, id: DispatchId, frame: FrameText) {
        let ended = self.inbox.answer(now.mono, &id, frame.clone());
        // The mesh waits from the receipt on, however late the answer is; a refusal is as old as its dispatch.
        let waits_until = ended
            .deadline
            .unwrap_or(now.mono + self.settings.timing.dispatch);
        self.answer_calls(&id, &frame);
        if self.inbox.posted.came_by_link(&id) {
            self.enqueue(now, id, frame, waits_until);
        }
        if ended.ran {
            self.start_waiting(now);
        }
        self.status_may_have_changed(now);
        self.drain_step(now);
    }

    pub(super) fn enqueue(
        &mut self,
        now: Now,
        id: DispatchId,
        frame: FrameText,
        waits_until: Duration,
    ) {
        if !self.settings.protections.outbox && self.ready_connection().is_none() {
            return;
        }
        let expires = waits_until + LATE_GRACE;
        self.outbox.push(id, frame, expires);
        self.timers.set_earlier(Timer::Outbox, expires);
        self.flush_outbox(now);
    }

    pub(super) fn flush_outbox(&mut self, now: Now) {
        if let Some(conn) = self.ready_connection() {
            let actions = &mut self.actions;
            self.outbox.flush(conn, now.mono, |write| {
                actions.push_back(written(conn, write));
            });
            self.watch_fence(now);
        }
    }

    /// The mesh's patience has ended: it gets its one answer, and the handler's will find nothing.
    pub(super) fn dispatches_overdue(&mut self, now: Now) {
        while let Some(id) = self.inbox.pop_overdue(now.mono) {
            if self.overdue_in_queue(now, &id) {
                continue;
            }
            let Some((id, capability)) = self.inbox.awaiting(&id) else {
                continue;
            };
            self.inbox.consecutive_failures += 1;
            self.counters.failed += 1;
            self.cancelled(&id, "deadline");
            let limit = self.settings.timing.dispatch.as_millis();
            let text = format!("no answer within {limit} ms");
            let text = self.failure_text(&capability, "HANDLER_ERROR", &text);
            self.send_error(now, id, "HANDLER_ERROR", &text);
        }
        if let Some(next) = self.inbox.next_deadline() {
            self.timers.set(Timer::Dispatch, next);
        }
    }

    pub(super) fn cancelled(&mut self, id: &str, reason: &str) {
        self.emit(
            EventKind::DispatchCancelled,
            json!({"dispatch_id": id, "reason": reason}),
        );
    }

    pub(super) fn outbox_expired(&mut self, now: Now) {
        while let Some(id) = self.outbox.pop_expired(now.mono) {
            self.counters.results_dropped.expired += 1;
            self.emit(
                EventKind::ResultDropped,
                json!({"dispatch_id": &*id, "reason": "expired"}),
            );
        }
        if let Some(next) = self.outbox.next_expiry() {
            self.timers.set(Timer::Outbox, next);
        }
        // It may have been what the others waited for.
        self.flush_outbox(now);
        self.drain_step(now);
    }
}

pub(super) fn written(conn: ConnectionNo, write: Write) -> Action {
    match write {
        Write::Frame(text) => Action::Send(conn, text),
        Write::Fence(fence) => Action::Ping(conn, fence.to_be_bytes()),
    }
}

/// What an answer to an unknown or ended dispatch gets.
pub(super) fn dispatch_ended() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "DISPATCH_ENDED",
        "no such dispatch waits for an answer: it was answered, its deadline has passed, or it was cancelled",
    )
}
