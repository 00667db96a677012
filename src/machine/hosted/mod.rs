//! Calls that came by POST: one table, one admission and one set of limits with what comes over a connection, since the
//! mesh may fall back from one to the other (`reliability.md` 6.1).

mod posted;
pub mod refusals;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub use posted::Fingerprint;
pub(super) use posted::Posted;
use posted::{Entry, Waiter};
pub(super) use refusals::AuthRefusals;

use super::Machine;
use super::action::{Action, CallAnswer, CallId, DispatchId, Response};
use super::inbox::Known;
use super::time::{Now, Timer};
use crate::protocol::a2a::ReplyTo;
use crate::protocol::dispatch_auth::{Code, Verified};
use crate::protocol::frame::{self, Dispatch, FrameText};
use crate::protocol::json_scan::Raw;
use crate::protocol::request::Beside;
use crate::replay::{Admission, DispatchKey};

/// How often a stream shows that its handler is still at work.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A call, verified as far as that needs no memory.
pub struct Call<'a> {
    /// How its answer is written.
    pub to: ReplyTo,
    /// What is called.
    pub dispatch: Dispatch<'a>,
    /// What the caller calls it.
    pub dispatch_id: Option<Cow<'a, str>>,
    /// On whose behalf, as its token or else its session says: an id that tells tenants apart, or a hash of a longer one.
    pub tenant: Option<Cow<'a, str>>,
    /// What tells it from another of the same id.
    pub fingerprint: Fingerprint,
    /// What is believed of it; `None` where nothing is verified.
    pub verified: Option<Verified>,
    /// The headers that say where it belongs.
    pub beside: Beside<'a>,
}

impl Machine {
    /// A call came in. It gets exactly one last [`Action::Respond`], now or later.
    pub fn handle_call(&mut self, now: Now, id: CallId, call: Call<'_>) {
        // One that is connected is called by POST too when it has a URL.
        self.tell_unguarded();
        if self.link.is_final() {
            let text = "the agent has ended";
            return self.refuse_call(now, id, call.to, "AGENT_SHUTDOWN", text);
        }
        if let Some(cause) = self.not_ours(&call) {
            return self.unauthenticated(now, id, cause.as_str());
        }
        let wire_id: Arc<str> = match &call.dispatch_id {
            Some(id) => id.as_ref().into(),
            None => self.stamp(now).id.to_string().into(),
        };
        let tenant = call.tenant.as_deref();
        let key = self.key_of(&wire_id, tenant);
        let verified = call.verified.as_ref();
        let shown = verified.and_then(|verified| self.shown_before(now, verified));
        match shown {
            Some((_, Admission::Outdated)) => {
                return self.unauthenticated(now, id, Code::Expired.as_str());
            }
            Some((_, Admission::Full)) => {
                self.call_refused(now, Code::ReplayTableFull.as_str());
                return self.respond(id, Response::Busy);
            }
            _ => {}
        }
        let known = self.inbox.look_up(&key);
        let waiter = Waiter {
            call: id,
            to: call.to,
            begun: false,
        };
        if !matches!(known, Known::New) {
            let entry = self.inbox.posted.get(&key);
            let same = entry.is_none_or(|entry| entry.is(tenant, &call.fingerprint));
            let verified = call.verified.is_some();
            return self.called_again(now, &key, &wire_id, known, (same, verified), waiter);
        }
        if matches!(shown, Some((_, Admission::Known))) {
            return self.unauthenticated(now, id, Code::Replayed.as_str());
        }
        self.counters.dispatches += 1;
        let owned = tenant.map(str::to_owned);
        let replay = shown.map(|(key, _)| key);
        let entry = Entry::new(Arc::clone(&wire_id), owned, Some(call.fingerprint), replay);
        self.inbox.posted.enter(Arc::clone(&key), entry);
        self.wait(now, &key, &wire_id, waiter);
        let beside = Beside {
            tenant_id: call.verified.as_ref().and_then(|v| v.tenant_id.as_deref()),
            ..call.beside
        };
        self.take_on(now, Arc::clone(&key), &call.dispatch, beside);
        self.begin_stream(now, id);
    }

    /// Nobody waits for the response to a call any more. The dispatch runs on, and a retry gets its answer.
    pub fn cancel_call(&mut self, call: CallId) -> bool {
        let posted = self.inbox.posted.touched();
        let any = posted.is_some_and(|posted| posted.cancel(call));
        if any {
            self.respond(call, Response::Cancelled);
        }
        any
    }

    /// What a good signature does not make ours.
    fn not_ours(&self, call: &Call<'_>) -> Option<Code> {
        let claimed = call.verified.as_ref()?.tenant_id.as_deref()?;
        let said = tenant_of(&call.dispatch);
        let other = |tenant: &str| tenant != claimed;
        let foreign =
            self.tenant.as_deref().is_some_and(other) || said.as_deref().is_some_and(other);
        foreign.then_some(Code::WrongAudience)
    }

    /// The id under which a dispatch is known here: its own, unless another tenant's has it.
    fn key_of(&self, wire_id: &Arc<str>, tenant: Option<&str>) -> DispatchId {
        let posted = &self.inbox.posted;
        let apart = Posted::apart(wire_id, tenant);
        let known_apart = !matches!(self.inbox.look_up(&apart), Known::New);
        if known_apart || posted.is_foreign(wire_id, tenant) {
            return apart.into();
        }
        Arc::clone(wire_id)
    }

    /// Whether a token has been accepted before, and under what that is remembered. A shared secret names no life, so
    /// nothing is.
    pub(super) fn shown_before(
        &mut self,
        now: Now,
        verified: &Verified,
    ) -> Option<(DispatchKey, Admission)> {
        let (life, dispatch_id) = (verified.life?, verified.dispatch_id.as_deref()?);
        // Of nothing but what is signed: or a token would be good once for every tenant that its body makes up.
        let key = self.replay_key(verified.tenant_id.as_deref(), dispatch_id);
        Some((key, self.replay.admit(key, life, now.mono)))
    }

    fn replay_key(&self, tenant: Option<&str>, dispatch_id: &str) -> DispatchKey {
        // No instance id has a NUL in it.
        let instance_id = &self.agent.identity().instance_id;
        let whose = match tenant {
            Some(tenant) => format!("{instance_id}\0{tenant}"),
            None => instance_id.clone(),
        };
        DispatchKey::new(&whose, dispatch_id)
    }

    /// A call for a dispatch that is known. `same`: it says the same thing.
    fn called_again(
        &mut self,
        now: Now,
        key: &DispatchId,
        wire_id: &Arc<str>,
        known: Known,
        (same, verified): (bool, bool),
        waiter: Waiter,
    ) {
        match (same, verified) {
            (false, true) => {
                return self.unauthenticated(now, waiter.call, Code::Replayed.as_str());
            }
            (false, false) => {
                let text = "another dispatch has this id already";
                return self.refuse_call(now, waiter.call, waiter.to, "INVALID_DISPATCH", text);
            }
            (true, _) => {}
        }
        self.counters.dispatches += 1;
        self.counters.duplicates.count(&known);
        match known {
            Known::New | Known::Queued | Known::Running => {
                let call = waiter.call;
                self.wait(now, key, wire_id, waiter);
                self.begin_stream(now, call);
            }
            Known::Answered(Some(frame)) => self.answer_call(waiter, wire_id, &frame),
            Known::Answered(None) => {
                let text = "the dispatch was answered before, and the answer is no longer kept";
                self.refuse_call(now, waiter.call, waiter.to, "DUPLICATE_DISPATCH", text);
            }
        }
    }

    fn wait(&mut self, now: Now, key: &DispatchId, wire_id: &Arc<str>, waiter: Waiter) {
        if let Err(waiter) = self.inbox.posted.wait(key, wire_id, waiter) {
            let text = "too many calls wait for this dispatch already";
            self.refuse_call(now, waiter.call, waiter.to, "AGENT_OVERLOADED", text);
        }
    }

    /// Answers a call that has not come as far as being a dispatch.
    fn refuse_call(&mut self, now: Now, call: CallId, to: ReplyTo, code: &str, message: &str) {
        let stamp = self.stamp(now);
        let frame = self.frame_writer.error(stamp, "", code, message);
        let waiter = Waiter {
            call,
            to,
            begun: false,
        };
        self.answer_call(waiter, &"".into(), &frame);
    }

    /// The answer to a dispatch is there: everybody who waits gets it.
    pub(super) fn answer_calls(&mut self, id: &str, frame: &FrameText) {
        let posted = self.inbox.posted.touched();
        if let Some((wire_id, waiters)) = posted.and_then(|posted| posted.take_waiters(id)) {
            for waiter in waiters {
                self.answer_call(waiter, &wire_id, frame);
            }
        }
    }

    fn answer_call(&mut self, waiter: Waiter, wire_id: &Arc<str>, frame: &FrameText) {
        let answer = CallAnswer {
            to: waiter.to,
            begun: waiter.begun,
            dispatch_id: Arc::clone(wire_id),
            frame: frame.clone(),
        };
        self.respond(waiter.call, Response::Answer(Box::new(answer)));
    }

    /// Nobody will answer these any more.
    pub(super) fn abandon_calls(&mut self, now: Now) {
        for id in self.inbox.posted.awaited() {
            let text = "the agent has ended";
            let stamp = self.stamp(now);
            let frame = self.frame_writer.error(stamp, &id, "AGENT_SHUTDOWN", text);
            self.answer_calls(&id, &frame);
        }
    }

    /// Takes a dispatch that came by POST, and that no handler has seen, for one that never came: a retry may do better.
    pub(super) fn release(&mut self, id: &str) {
        if self.inbox.posted.came_by_link(id) {
            return;
        }
        let key = self.inbox.posted.get(id).and_then(|entry| entry.replay);
        if let Some(key) = key {
            self.replay.release(key);
        }
        self.inbox.forget(id);
    }

    fn begin_stream(&mut self, now: Now, call: CallId) {
        if self.inbox.posted.begin(call) {
            self.respond(call, Response::Begin);
            self.timers
                .set_earlier(Timer::KeepAlive, now.mono + KEEP_ALIVE);
        }
    }

    /// Every stream that has begun shows a sign of life.
    pub(super) fn keep_streams_alive(&mut self, now: Now) {
        let streams: Vec<_> = self.inbox.posted.streams().collect();
        if streams.is_empty() {
            return;
        }
        for call in streams {
            self.respond(call, Response::KeepAlive);
        }
        self.timers.set(Timer::KeepAlive, now.mono + KEEP_ALIVE);
    }

    fn respond(&mut self, call: CallId, response: Response) {
        self.actions.push_back(Action::Respond(call, response));
    }
}

/// On whose behalf a dispatch says it is: `session_context.tenant_id`.
pub fn tenant_of<'a>(dispatch: &Dispatch<'a>) -> Option<Cow<'a, str>> {
    // No other member is looked at, since one that is there twice would hide what is said.
    #[derive(serde::Deserialize)]
    struct Session<'a> {
        #[serde(borrow, default)]
        tenant_id: Option<Raw<'a>>,
    }
    let session: Session<'_> = frame::object_in(dispatch.session_context)?;
    frame::text_in(session.tenant_id)
}
