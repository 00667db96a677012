//! The one decision about a dispatch that came in (`protocol.md` 7; `reliability.md` 6.1).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Machine;
use super::action::{Dispatch, DispatchId};
use super::event::EventKind;
use super::inbox::Known;
use super::time::{Now, Timer};
use crate::protocol::dispatch_auth::Code;
use crate::protocol::frame::{self, Envelope};
use crate::protocol::json_scan::Raw;
use crate::protocol::request::Beside;
use crate::replay::{Admission, DispatchKey};

impl Machine {
    /// The one decision about a dispatch. Every branch ends in exactly one answer, now or later.
    pub(super) fn admit(&mut self, now: Now, envelope: &Envelope<'_>) {
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
            Known::Running if !self.settings.protections.dedupe => {
                return self.run_beside(now, envelope);
            }
            known => return self.duplicate(now, &envelope.id, known),
        };
        let replay = match self.verify_frame(now, envelope) {
            Ok(replay) => replay,
            Err(cause) => {
                self.call_refused(now, cause.as_str());
                let text = "the dispatch is not authenticated";
                return self.refuse_dispatch(now, id, "DISPATCH_AUTH_FAILED", text);
            }
        };
        let refused = self.take_on(now, id, &envelope.dispatch, Beside::default());
        if let (true, Some(key)) = (refused.is_some_and(may_do_better), replay) {
            self.replay.release(key);
        }
    }

    /// Starts a dispatch that is not known, makes it wait, or refuses it; the code if it did.
    pub(super) fn take_on(
        &mut self,
        now: Now,
        id: DispatchId,
        asked: &frame::Dispatch<'_>,
        beside: Beside<'_>,
    ) -> Option<&'static str> {
        match self.admissible(&id, asked, beside) {
            Ok((dispatch, Place::Slot)) => {
                let deadline = now.mono + self.settings.timing.dispatch;
                self.inbox
                    .start(id, Arc::clone(&dispatch.capability), deadline);
                self.timers.set_earlier(Timer::Dispatch, deadline);
                self.deliver(now, dispatch);
                self.status_may_have_changed(now);
            }
            Ok((dispatch, Place::Queue)) => self.wait_for_slot(now, dispatch),
            Err((code, message)) => {
                self.refuse_dispatch(now, id, code, &message);
                return Some(code);
            }
        }
        None
    }

    /// Whether a frame is the mesh's, if it says so and there is a secret (`protocol.md` 8): the connection is trusted
    /// without. Under what it is remembered as accepted.
    fn verify_frame(
        &mut self,
        now: Now,
        envelope: &Envelope<'_>,
    ) -> Result<Option<DispatchKey>, Code> {
        let (Some(verification), Some(payload), true) = (
            &self.settings.verification,
            envelope.payload,
            envelope.is_signed,
        ) else {
            return Ok(None);
        };
        let unix_time = Duration::from_millis(now.unix_ms);
        let verified = verification
            .verify(payload.get(), unix_time)
            .map_err(|refusal| refusal.code)?;
        if let (Some(ours), Some(claimed)) = (&self.tenant, &verified.tenant_id)
            && ours != claimed
        {
            return Err(Code::WrongAudience);
        }
        match self.shown_before(now, &verified) {
            None => Ok(None),
            Some((key, Admission::New)) => Ok(Some(key)),
            Some((_, Admission::Known)) => Err(Code::Replayed),
            Some((_, Admission::Outdated)) => Err(Code::Expired),
            Some((_, Admission::Full)) => Err(Code::ReplayTableFull),
        }
    }

    /// Starts a dispatch that runs already once more, which only happens without the protection against it. The slot and
    /// the answer stay those of the first run.
    fn run_beside(&mut self, now: Now, envelope: &Envelope<'_>) {
        let id = envelope.id.as_ref().into();
        if let Ok((dispatch, _)) = self.admissible(&id, &envelope.dispatch, Beside::default()) {
            self.deliver(now, dispatch);
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
        let unseen = may_do_better(code).then(|| Arc::clone(&id));
        self.send_error(now, id, code, message);
        if let Some(id) = unseen {
            self.release(&id);
        }
    }

    fn duplicate(&mut self, now: Now, id: &str, known: Known) {
        self.counters.duplicates.count(&known);
        let waits_until = now.mono + self.settings.timing.dispatch;
        match known {
            // Its one answer goes to whatever connection there is when it is done.
            Known::New | Known::Queued | Known::Running => {
                if let Some(posted) = self.inbox.posted.touched() {
                    posted.asked_by_link(id);
                }
            }
            // It is on its way already.
            Known::Answered(_) if self.outbox.holds(id) => {}
            Known::Answered(Some(frame)) => self.enqueue(now, id.into(), frame, waits_until),
            Known::Answered(None) => {
                let stamp = self.stamp(now);
                let text = "the dispatch was answered before, and the answer is no longer kept";
                let frame = self
                    .frame_writer
                    .error(stamp, id, "DUPLICATE_DISPATCH", text);
                self.enqueue(now, id.into(), frame, waits_until);
            }
        }
    }

    fn admissible(
        &mut self,
        id: &DispatchId,
        dispatch: &frame::Dispatch<'_>,
        beside: Beside<'_>,
    ) -> Result<(Dispatch, Place), (&'static str, String)> {
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
        let args = dispatch.args.map_or("{}", Raw::get);
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
        let request = self.request_writer.write(
            self.settings.request_lead,
            id,
            &skill_id,
            args,
            deadline,
            dispatch,
            beside,
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
}

/// Whether the same dispatch may be taken on at another time.
fn may_do_better(code: &str) -> bool {
    matches!(code, "AGENT_OVERLOADED" | "AGENT_SHUTDOWN")
}

/// Where an admitted dispatch goes.
enum Place {
    Slot,
    Queue,
}
