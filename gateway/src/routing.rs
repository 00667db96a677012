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
    records::{Direction, FrameKind},
    state::{Link, State},
};

/// A dispatch without an answer.
pub(crate) struct OpenDispatch {
    id: String,
    /// Every sending is of these bytes, `ts` included.
    text: Arc<str>,
    /// Whom it is for: named by the caller, or given by the first sending.
    instance_id: Option<String>,
    /// The socket that it was sent on and that is still open.
    pub(crate) sent_on: Option<u64>,
    ever_sent: bool,
    expires: Instant,
    waiting: Vec<Arc<Slot>>,
}

impl State {
    pub(crate) fn begin_dispatch(
        &mut self,
        request: &DispatchRequest,
        default_timeout: Duration,
    ) -> PendingDispatch {
        let id = request
            .id
            .clone()
            .unwrap_or_else(|| format!("d-{}", uuid::Uuid::new_v4().simple()));
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
            text: envelope::write("dispatch", &id, None, &request.payload()).into(),
            id,
            instance_id: request.instance_id.clone(),
            sent_on: None,
            ever_sent: false,
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
        let link = target.and_then(|target| self.ready_link(&target).cloned());
        let (Some(link), Some(dispatch)) = (link, self.open.get_mut(&seq)) else {
            return;
        };
        dispatch.instance_id = Some(link.instance_id.clone());
        dispatch.sent_on = Some(link.key);
        dispatch.ever_sent = true;
        let (id, text) = (dispatch.id.clone(), Arc::clone(&dispatch.text));
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
            });
        }
        self.record_frame(link, Direction::ToAgent, FrameKind::Text, &text);
        // An error means that the socket's task has ended; its end is recorded by itself.
        let _ = link.commands.send(Command::Dispatch(Arc::clone(&text)));
        self.presence_mut(&link.instance_id).last_dispatch = Some((id, text));
    }

    /// Sends the last dispatch of an instance once more, answered or not; false if it has none or no socket.
    pub(crate) fn repeat_last_dispatch(&mut self, instance_id: &str) -> bool {
        let last = self.presence.get(instance_id);
        let last = last.and_then(|presence| presence.last_dispatch.clone());
        let (Some((id, text)), Some(link)) = (last, self.ready_link(instance_id).cloned()) else {
            return false;
        };
        self.send_dispatch_text(&link, id, text);
        true
    }

    /// The next registered instance with a welcomed socket, by name.
    fn next_in_turn(&mut self) -> Option<String> {
        let able = |agent: &&crate::AgentRecord| agent.ready && agent.registered;
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

    /// Gives a newly welcomed instance what waits for it, oldest first.
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

    fn end_dispatch(&mut self, seq: u64, outcome: &Result<Answer, DispatchError>) {
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
