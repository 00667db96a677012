//! Sends dispatches to agents, again when their socket went away, and ends those that nobody answers.

use std::{
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    connection::Command,
    dispatch::{Answer, DispatchError, DispatchRequest, PendingDispatch, Slot},
    envelope,
    ledger::SentDispatch,
    records::{AgentRecord, Direction, FrameKind},
    state::{Link, State},
};

/// Where a dispatch was sent on that went out as a POST; no socket has this key.
pub(crate) const POSTED: u64 = 0;

/// A dispatch without an answer.
pub(crate) struct OpenDispatch {
    pub(crate) id: String,
    pub(crate) request: Arc<DispatchRequest>,
    /// Written at the first sending, which knows for whom it is; every other is of the same bytes, `ts` included.
    pub(crate) text: Option<Arc<str>>,
    /// Whom it is for: named by the caller, or given by the first sending.
    pub(crate) instance_id: Option<String>,
    /// The socket that it was sent on and that is still open, or [`POSTED`].
    pub(crate) sent_on: Option<u64>,
    pub(crate) ever_sent: bool,
    /// POSTs on their way.
    pub(crate) posts: u32,
    pub(crate) expires: Instant,
    waiting: Vec<Arc<Slot>>,
}

impl State {
    pub(crate) fn begin_dispatch(
        &mut self,
        request: &DispatchRequest,
        default_timeout: Duration,
    ) -> PendingDispatch {
        let unused = |kind: &str| format!("{kind}-{}", uuid::Uuid::new_v4().simple());
        let id = match (&request.id, request.forge) {
            // What a forged dispatch gets is no answer to the dispatch whose id it bears.
            (Some(id), Some(forgery)) => format!("{}-{id}", forgery.name()),
            (None, Some(_)) => unused("forged"),
            (Some(id), None) => id.clone(),
            (None, None) => unused("d"),
        };
        let timeout = request.timeout.unwrap_or(default_timeout);
        let deadline = Instant::now() + timeout;
        let slot = Arc::new(Slot::default());
        let pending = PendingDispatch {
            id: id.clone(),
            deadline,
            slot: Arc::clone(&slot),
        };
        if self.stopped {
            slot.fill(Err(DispatchError::Stopped));
            return pending;
        }
        if let Some(seq) = self.open_by_id.get(&id).copied() {
            // The same id while it is open: one more sending, and one more who waits for the one answer.
            if let Some(open) = self.open.get_mut(&seq) {
                open.waiting.push(slot);
            }
            self.send_dispatch(seq);
            return pending;
        }
        let at = self.started.elapsed();
        self.totals.dispatched += 1;
        self.ledger
            .open(&id, request.skill_id.as_deref(), at, at + timeout);
        let seq = self.next_key();
        self.open_by_id.insert(id.clone(), seq);
        self.expiries.insert((deadline, seq));
        let dispatch = OpenDispatch {
            id,
            request: Arc::new(request.clone()),
            text: None,
            instance_id: request.instance_id.clone(),
            sent_on: None,
            ever_sent: false,
            posts: 0,
            expires: deadline,
            waiting: vec![slot],
        };
        self.open.insert(seq, dispatch);
        self.send_dispatch(seq);
        pending
    }

    /// Sends an open dispatch if somebody is ready to take it.
    fn send_dispatch(&mut self, seq: u64) {
        let Some(dispatch) = self.open.get(&seq) else {
            return;
        };
        // The sweep that ends it may be a moment late.
        if dispatch.expires <= Instant::now() {
            return;
        }
        let target = match &dispatch.instance_id {
            Some(named) => Some(named.clone()),
            None => self.next_in_turn(),
        };
        let Some(target) = target else { return };
        if self.agents.get(&target).is_some_and(AgentRecord::is_hosted) {
            return self.post_dispatch(seq, &target);
        }
        let (Some(link), Some(dispatch)) = (self.ready_link(&target).cloned(), self.open.get(&seq))
        else {
            return;
        };
        let (id, request) = (dispatch.id.clone(), Arc::clone(&dispatch.request));
        let text = dispatch.text.clone().unwrap_or_else(|| {
            let mut payload = request.payload();
            if let Some(auth) = self.dispatch_auth(&request, &target, &id) {
                payload["svantic_auth"] = auth;
            }
            envelope::write("dispatch", &id, None, &payload).into()
        });
        if let Some(dispatch) = self.open.get_mut(&seq) {
            dispatch.text = Some(Arc::clone(&text));
            dispatch.instance_id = Some(target);
            dispatch.sent_on = Some(link.key);
            dispatch.ever_sent = true;
        }
        self.send_dispatch_text(&link, id, text);
    }

    /// Puts the frame of a dispatch on a socket and into the ledger.
    fn send_dispatch_text(&mut self, link: &Link, id: String, text: Arc<str>) {
        let at = self.started.elapsed();
        self.totals.sent += 1;
        if let Some(entry) = self.ledger.entry_mut(&id) {
            entry.record_sending(SentDispatch {
                at,
                instance_id: link.instance_id.clone(),
                connection: link.connection,
                url: None,
            });
        }
        self.record_frame(link, Direction::ToAgent, FrameKind::Text, &text);
        // An error means that the socket's task has ended; its end is recorded by itself.
        let _ = link.commands.send(Command::Dispatch(Arc::clone(&text)));
        self.presence_mut(&link.instance_id).last_dispatch = Some((id, text));
    }

    /// Sends the last dispatch of an instance once more, answered or not; false if it has none or no socket.
    pub(crate) fn repeat_last_dispatch(&mut self, instance_id: &str) -> bool {
        let agent = self.agents.get(instance_id);
        if agent.is_some_and(AgentRecord::is_hosted) {
            return self.repeat_last_post(instance_id);
        }
        let last = self.presence.get(instance_id);
        let last = last.and_then(|presence| presence.last_dispatch.clone());
        let (Some((id, text)), Some(link)) = (last, self.ready_link(instance_id).cloned()) else {
            return false;
        };
        self.send_dispatch_text(&link, id, text);
        true
    }

    /// The next registered instance that takes dispatches, by name.
    fn next_in_turn(&mut self) -> Option<String> {
        let able = |agent: &&AgentRecord| agent.ready && agent.registered;
        let last = self.last_in_turn.as_str();
        let mut after = self
            .agents
            .range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let next = after
            .find_map(|(_, agent)| Some(agent).filter(able))
            .or_else(|| self.agents.values().find(able))?;
        self.last_in_turn.clone_from(&next.instance_id);
        Some(self.last_in_turn.clone())
    }

    /// Gives an instance that has become ready what waits for it, oldest first.
    pub(crate) fn send_waiting(&mut self, instance_id: &str) {
        let resend = self.resend_unanswered;
        let waiting: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, dispatch)| {
                let for_it = dispatch.instance_id.as_deref();
                dispatch.sent_on.is_none()
                    && for_it.is_none_or(|target| target == instance_id)
                    && (resend || !dispatch.ever_sent)
            })
            .map(|(seq, _)| *seq)
            .collect();
        for seq in waiting {
            self.send_dispatch(seq);
        }
    }

    /// Ends an open dispatch with the agent's answer.
    pub(crate) fn answer_dispatch(&mut self, id: &str, answer: &Answer) {
        if let Some(seq) = self.open_by_id.get(id).copied() {
            self.end_dispatch(seq, &Ok(answer.clone()));
        }
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expiries.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Ends what has been open for too long.
    pub(crate) fn expire_dispatches(&mut self, now: Instant) {
        while let Some((expires, seq)) = self.expiries.first().copied() {
            if expires > now {
                break;
            }
            self.expiries.remove(&(expires, seq));
            let Some(dispatch) = self.open.get(&seq) else {
                continue;
            };
            let error = if dispatch.ever_sent {
                DispatchError::Timeout
            } else {
                DispatchError::NoAgent
            };
            if let Some(entry) = self.ledger.entry_mut(&dispatch.id) {
                entry.timed_out = true;
            }
            self.totals.timed_out += 1;
            self.end_dispatch(seq, &Err(error));
        }
    }

    /// Ends everything that is open, when the gateway stops.
    pub(crate) fn stop_dispatches(&mut self) {
        self.stopped = true;
        let open: Vec<u64> = self.open.keys().copied().collect();
        for seq in open {
            self.end_dispatch(seq, &Err(DispatchError::Stopped));
        }
    }

    pub(crate) fn end_dispatch(&mut self, seq: u64, outcome: &Result<Answer, DispatchError>) {
        if let Some(dispatch) = self.open.remove(&seq) {
            self.open_by_id.remove(&dispatch.id);
            self.expiries.remove(&(dispatch.expires, seq));
            self.ledger.settle(&dispatch.id);
            for slot in dispatch.waiting {
                slot.fill(outcome.clone());
            }
        }
    }
}
