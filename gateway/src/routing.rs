//! Sends dispatches to agents, again when their socket went away, and ends those that nobody answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    dispatch::{Answer, DispatchError, DispatchRequest, PendingDispatch, Slot},
    envelope,
    ledger::SentDispatch,
    state::State,
};

/// A dispatch without an answer.
pub(crate) struct OpenDispatch {
    id: String,
    payload: Value,
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
        let deadline = Instant::now() + request.timeout.unwrap_or(default_timeout);
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
        self.ledger
            .open(&id, request.skill_id.as_deref(), self.started.elapsed());
        if let Some(seq) = self.open_by_id.get(&id).copied() {
            // The same id while it is open: one more sending, and one more who waits for the one answer.
            if let Some(open) = self.open.get_mut(&seq) {
                open.waiting.push(slot);
            }
            self.send_dispatch(seq);
            return pending;
        }
        let seq = self.next_key();
        self.open_by_id.insert(id.clone(), seq);
        self.expiries.insert((deadline, seq));
        let dispatch = OpenDispatch {
            id,
            payload: request.payload(),
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
        let text = envelope::write("dispatch", &dispatch.id, None, &dispatch.payload);
        let at = self.started.elapsed();
        if let Some(entry) = self.ledger.entry_mut(&dispatch.id) {
            entry.sent.push(SentDispatch {
                at,
                instance_id: link.instance_id.clone(),
                connection: link.connection,
            });
        }
        self.send_text(&link, text);
    }

    /// The next registered instance with a welcomed socket.
    fn next_in_turn(&mut self) -> Option<String> {
        let able = |agent: &&crate::AgentRecord| agent.ready && agent.registered;
        let count = self.agents.values().filter(able).count();
        self.turn = self.turn.wrapping_add(1);
        let at = self.turn.checked_rem(count)?;
        let mut able_agents = self.agents.values().filter(able);
        able_agents.nth(at).map(|agent| agent.instance_id.clone())
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
            for slot in dispatch.waiting {
                slot.fill(outcome.clone());
            }
        }
    }
}
