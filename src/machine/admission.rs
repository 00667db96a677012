//! Frames that come in, and answers that go out (`protocol.md` 4 and 7; `reliability.md` 6.1).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::action::{Action, Answer, ConnectionNo, Dispatch, DispatchId};
use super::event::EventKind;
use super::inbox::Known;
use super::outbox::Write;
use super::time::{Now, Timer};
use super::{LinkState, Machine, Transition};
use crate::agent::Capability;
use crate::error::{Error, ErrorKind};
use crate::protocol::frame::{self, Envelope, FrameText, Kind, Welcome};
use crate::protocol::limits::{MAX_EARLY_BYTES, MAX_EARLY_FRAMES};
use crate::protocol::request;

/// How long past a dispatch's deadline its answer is still worth sending.
const LATE_GRACE: Duration = Duration::from_secs(5);

/// The longest error message that goes on the wire.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

impl Machine {
    /// Bytes came in on a connection: it lives.
    pub fn handle_inbound(&mut self, now: Now, conn: ConnectionNo) {
        if let Some(connection) = self.connection.as_mut().filter(|c| c.no == conn) {
            connection.liveness.inbound(now.mono);
            if self.link == LinkState::Suspect {
                self.timers.stop(Timer::Probe);
                self.go(Transition::T28, LinkState::Ready);
                self.watch_silence(now);
            }
            self.lived(now);
        }
    }

    /// A text message came in.
    pub fn handle_text(&mut self, now: Now, conn: ConnectionNo, text: FrameText) {
        if !self.is_current(conn) {
            return;
        }
        match self.link {
            LinkState::Handshaking => self.before_welcome(now, text),
            LinkState::Ready | LinkState::Suspect => self.while_ready(now, &text),
            // Between our close and the peer's nothing is taken on; the mesh will ask another.
            _ => self.counters.frames_rejected.closing += 1,
        }
    }

    /// A pong came in. `payload` is that of a ping of ours, or the peer's own idea.
    pub fn handle_pong(&mut self, now: Now, conn: ConnectionNo, payload: &[u8]) {
        self.handle_inbound(now, conn);
        let (Some(ready), Ok(fence)) = (self.ready_connection(), payload.try_into()) else {
            return;
        };
        if ready == conn {
            let (outbox, actions) = (&mut self.outbox, &mut self.actions);
            outbox.proven(conn, u64::from_be_bytes(fence), now.mono, |write| {
                actions.push_back(written(conn, write));
            });
            self.watch_fence(now);
            self.drain_step(now);
        }
    }

    fn before_welcome(&mut self, now: Now, text: FrameText) {
        match frame::parse(&text) {
            Ok(Envelope {
                kind: Kind::Welcome,
                payload,
                ..
            }) => {
                let resumed = Welcome::read(payload).resumed;
                self.welcomed(now, resumed);
            }
            Ok(Envelope {
                kind: Kind::Dispatch,
                ..
            }) => self.hold(now, text),
            read => self.ignore_frame(&text, read.is_ok()),
        }
    }

    /// Keeps a dispatch that came before the welcome, within limits.
    fn hold(&mut self, now: Now, text: FrameText) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        self.counters.taken(Transition::T23);
        connection.early_bytes += text.len();
        connection.early.push(text);
        if connection.early.len() > MAX_EARLY_FRAMES || connection.early_bytes > MAX_EARLY_BYTES {
            let conn = connection.no;
            self.actions.push_back(Action::Abort(conn));
            let end =
                super::action::LinkEnd::Broken("too many dispatches before the welcome".to_owned());
            self.handle_closed(now, conn, &end);
        }
    }

    fn welcomed(&mut self, now: Now, resumed: bool) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let conn = connection.no;
        let early = std::mem::take(&mut connection.early);
        self.timers.stop(Timer::Welcome);
        // In this order, or the state before the first welcome would be told as a reconnecting.
        self.go(Transition::T22, LinkState::Ready);
        self.was_ready = true;
        self.emit(
            EventKind::Connected,
            json!({"connection": conn, "resumed": resumed}),
        );
        self.attempt_succeeded(now);
        // An agent that drains says so before anything else, so that no new work is sent here.
        if self.draining() {
            self.send_heartbeat(now);
        }
        self.flush_outbox(now);
        self.start_heartbeats(now);
        self.watch_silence(now);
        for text in early {
            self.while_ready(now, &text);
        }
        self.drain_step(now);
    }

    fn while_ready(&mut self, now: Now, text: &str) {
        match frame::parse(text) {
            Ok(envelope) if envelope.kind == Kind::Dispatch => {
                self.counters.taken(Transition::T25);
                self.admit(now, &envelope);
            }
            read => {
                let well_formed = read.is_ok();
                self.ignore_frame(text, well_formed);
            }
        }
    }

    /// T48: what is unknown, malformed or out of place never costs the connection. The log hears once of each kind.
    fn ignore_frame(&mut self, text: &str, well_formed: bool) {
        self.counters.taken(Transition::T48);
        self.counters.frames_rejected.count(well_formed);
        if !self.told.hears_of_frames() {
            return;
        }
        let kind = self.auth.redact(&frame::described(text));
        if self.told.frame(&kind) {
            self.log("warn", format!("frames are ignored that are {kind}"));
        }
    }

    /// The one decision about a dispatch. Every branch ends in exactly one answer, now or later.
    fn admit(&mut self, now: Now, envelope: &Envelope<'_>) {
        if envelope.id.is_empty() {
            // There is nothing that an answer could refer to.
            self.counters.frames_rejected.without_id += 1;
            return;
        }
        self.counters.dispatches += 1;
        let id: DispatchId = match self.inbox.look_up(&envelope.id) {
            Known::New => envelope.id.as_ref().into(),
            Known::Answered(_) if !self.settings.protections.dedupe => {
                self.inbox.forget(&envelope.id);
                envelope.id.as_ref().into()
            }
            known => return self.duplicate(now, &envelope.id, known),
        };
        match self.admissible(&id, envelope) {
            Ok((dispatch, Place::Slot)) => {
                let deadline = now.mono + self.settings.timing.dispatch;
                self.inbox
                    .start(id, Arc::clone(&dispatch.capability), deadline);
                self.timers.set_earlier(Timer::Dispatch, deadline);
                self.deliver(now, dispatch);
                self.status_may_have_changed(now);
            }
            Ok((dispatch, Place::Queue)) => self.wait_for_slot(now, dispatch),
            Err((code, message)) => self.refuse_dispatch(now, id, code, &message),
        }
    }

    /// Answers a dispatch that no handler has seen, nor will.
    pub(super) fn refuse_dispatch(
        &mut self,
        now: Now,
        id: DispatchId,
        code: &'static str,
        message: &str,
    ) {
        self.counters.refused += 1;
        self.emit(
            EventKind::DispatchRefused,
            json!({"dispatch_id": &*id, "code": code}),
        );
        self.send_error(now, id, code, message);
    }

    fn duplicate(&mut self, now: Now, id: &str, known: Known) {
        self.counters.duplicates.count(&known);
        let waits_until = now.mono + self.settings.timing.dispatch;
        match known {
            // Its one answer goes to whatever connection there is when it is done.
            Known::New | Known::Queued | Known::Running => {}
            // It is on its way already.
            Known::Answered(_) if self.outbox.holds(id) => {}
            Known::Answered(Some(frame)) => self.enqueue(now, id.into(), frame, waits_until),
            Known::Answered(None) => {
                let stamp = self.stamp(now);
                let text = "the dispatch was answered before, and the answer is no longer kept";
                let frame = frame::error(stamp, id, "DUPLICATE_DISPATCH", text);
                self.enqueue(now, id.into(), frame.into(), waits_until);
            }
        }
    }

    fn admissible(
        &self,
        id: &DispatchId,
        envelope: &Envelope<'_>,
    ) -> Result<(Dispatch, Place), (&'static str, String)> {
        let dispatch = frame::Dispatch::read(envelope.payload);
        if self.draining() {
            return Err(("AGENT_SHUTDOWN", "the agent is shutting down".to_owned()));
        }
        let Some(skill_id) = frame::text_in(dispatch.skill_id) else {
            let text = "the dispatch has no skill_id".to_owned();
            return Err(("INVALID_DISPATCH", text));
        };
        let Some(capability) = self.agent.capability(&skill_id) else {
            let shown: String = skill_id.chars().take(128).collect();
            return Err((
                "UNKNOWN_SKILL",
                format!("the agent has no capability \"{shown}\""),
            ));
        };
        // Absent arguments, or arguments that are not an object, are none (section 7, rule 2).
        let args = dispatch.args.map_or("{}", |raw| raw.get());
        let args = if args.starts_with('{') { args } else { "{}" };
        capability
            .check_args(args)
            .map_err(|violation| ("INVALID_ARGS", violation))?;
        let (running, waiting) = (self.inbox.running(), self.queue.len());
        let slot = running < self.dispatch_limit() && waiting == 0;
        let may_wait = self.settings.max_queued;
        let overloaded = || {
            let text = format!("{running} dispatches are running and {waiting} wait");
            Err(("AGENT_OVERLOADED", text))
        };
        // Asked before the request is written, which is what a flood would cost most.
        if self.outbox_is_full() || !(slot || self.queue.has_room(0, may_wait)) {
            return overloaded();
        }
        let deadline = self.settings.timing.dispatch;
        let request = request::write(
            self.settings.request_lead,
            id,
            &skill_id,
            args,
            deadline,
            &dispatch,
        );
        let place = if slot {
            Place::Slot
        } else if self.queue.has_room(request.len(), may_wait) {
            Place::Queue
        } else {
            return overloaded();
        };
        let dispatch = Dispatch {
            id: Arc::clone(id),
            request,
            capability: Arc::clone(capability),
        };
        Ok((dispatch, place))
    }

    /// The application's answer. `NOT_FOUND` if the dispatch has ended already.
    pub fn answer(&mut self, now: Now, id: &str, answer: Answer<'_>) -> Result<(), Error> {
        let Some((id, capability)) = self.inbox.awaiting(id) else {
            return Err(dispatch_ended());
        };
        match answer {
            Answer::Result(json) => self.answer_result(now, id, json),
            Answer::Error { code, message } => {
                self.inbox.consecutive_failures += 1;
                self.counters.failed += 1;
                let text = self.failure_text(&capability, code, message);
                self.send_error(now, id, code, &text);
                Ok(())
            }
        }
    }

    fn answer_result(&mut self, now: Now, id: DispatchId, json: &str) -> Result<(), Error> {
        let stamp = self.stamp(now);
        let frame = frame::dispatch_result(stamp, &id, json);
        let limit = self.settings.max_frame_bytes;
        if frame.len() > limit {
            let text = format!(
                "the result makes a frame of {} bytes, and the limit is {limit}",
                frame.len()
            );
            self.send_error(now, id, "RESULT_TOO_LARGE", &text);
            return Err(Error::new(ErrorKind::InvalidArgument, "RESULT_TOO_LARGE", text)
                .hint("the dispatch has been answered with this error; `max_frame_bytes` sets the limit"));
        }
        self.inbox.consecutive_failures = 0;
        self.counters.answered += 1;
        self.answered(now, id, frame.into());
        Ok(())
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
        let mut frame = frame::error(stamp, &id, code, message);
        let mut message = message;
        while frame.len() > self.settings.max_frame_bytes && !message.is_empty() {
            message = &message[..message.floor_char_boundary(message.len() / 2)];
            frame = frame::error(stamp, &id, code, message);
        }
        self.answered(now, id, frame.into());
    }

    fn answered(&mut self, now: Now, id: DispatchId, frame: FrameText) {
        // The mesh waits from the receipt on, however late the answer is; a refusal is as old as its dispatch.
        let deadline = self.inbox.deadline(&id);
        let waits_until = deadline.unwrap_or(now.mono + self.settings.timing.dispatch);
        let freed = self.inbox.answer(now.mono, Arc::clone(&id), frame.clone());
        self.enqueue(now, id, frame, waits_until);
        if freed {
            self.start_waiting(now);
        }
        self.status_may_have_changed(now);
        self.drain_step(now);
    }

    fn enqueue(&mut self, now: Now, id: DispatchId, frame: FrameText, waits_until: Duration) {
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

/// Where an admitted dispatch goes.
enum Place {
    Slot,
    Queue,
}

fn written(conn: ConnectionNo, write: Write) -> Action {
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
