//! What comes in over a connection: life, frames, pongs (`protocol.md` 4).

use serde_json::json;

use super::action::{Action, ConnectionNo};
use super::answers::written;
use super::event::EventKind;
use super::time::{Now, Timer};
use super::{LinkState, Machine, Transition};
use crate::protocol::frame::{self, Envelope, FrameText, Kind, Welcome};
use crate::protocol::limits::{MAX_EARLY_BYTES, MAX_EARLY_FRAMES};

impl Machine {
    /// Bytes came in on a connection: it lives.
    pub fn handle_inbound(&mut self, now: Now, conn: ConnectionNo) {
        if let Some(connection) = self.connection.as_mut().filter(|c| c.no == conn) {
            let answered = connection.liveness.inbound(now.mono);
            let suspect = self.link == LinkState::Suspect;
            if suspect {
                self.timers.stop(Timer::Probe);
                self.go(Transition::T28, LinkState::Ready);
            }
            // A peer that was asked while nothing else went on is left alone until it is to be asked again. Fences come and
            // go much faster than timers can be set.
            if suspect || answered && self.outbox.awaited(conn).is_none() {
                self.timers.stop(Timer::Watch);
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
        let taken_in = matches!(
            self.link,
            LinkState::Handshaking | LinkState::Ready | LinkState::Suspect
        );
        if taken_in && self.has_external_socket() && text.len() > self.settings.max_frame_bytes {
            return self.message_too_large(now, conn, text.len());
        }
        match self.link {
            LinkState::Handshaking if self.is_transport() => self.raw_before_welcome(now, text),
            LinkState::Handshaking => self.before_welcome(now, text),
            LinkState::Ready | LinkState::Suspect if self.is_transport() => self.raw(text),
            LinkState::Ready | LinkState::Suspect => self.while_ready(now, &text),
            // Between our close and the peer's nothing is taken on; the mesh will ask another.
            _ => self.counters.frames_rejected.closing += 1,
        }
    }

    /// A pong came in. `payload` is that of a ping of ours, or the peer's own idea.
    pub fn handle_pong(&mut self, now: Now, conn: ConnectionNo, payload: &[u8]) {
        self.handle_inbound(now, conn);
        let Ok(fence) = payload.try_into() else {
            return;
        };
        let fence = u64::from_be_bytes(fence);
        if self.link == LinkState::Closing {
            // It counts still, but nothing is written behind a close frame.
            return self.outbox.proven_at_the_end(conn, fence);
        }
        let Some(ready) = self.ready_connection() else {
            return;
        };
        if ready == conn {
            let (outbox, actions) = (&mut self.outbox, &mut self.actions);
            outbox.proven(conn, fence, now.mono, |write| {
                actions.push_back(written(conn, write));
            });
            self.watch_fence(now);
            self.status_may_have_changed(now);
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
                self.welcomed(now, resumed, None);
            }
            Ok(Envelope {
                kind: Kind::Dispatch,
                ..
            }) => self.hold(now, text),
            read => self.ignore_frame(&text, read.is_ok()),
        }
    }

    /// Keeps a dispatch that came before the welcome, within limits.
    pub(super) fn hold(&mut self, now: Now, text: FrameText) {
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

    /// `raw`: the welcome itself, for whoever is handed every frame.
    pub(super) fn welcomed(&mut self, now: Now, resumed: bool, raw: Option<FrameText>) {
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
        self.actions.extend(raw.map(Action::Frame));
        self.attempt_succeeded(now);
        // An agent that drains says so before anything else, so that no new work is sent here.
        if self.draining() {
            self.send_heartbeat(now);
        }
        self.flush_outbox(now);
        self.start_heartbeats(now);
        self.watch_silence(now);
        for text in early {
            if self.is_transport() {
                // Looked at before it was kept.
                self.actions.push_back(Action::Frame(text));
            } else {
                self.while_ready(now, &text);
            }
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
    pub(super) fn ignore_frame(&mut self, text: &str, well_formed: bool) {
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
}
