//! Dispatches that found every slot taken and wait for one (`reliability.md` 6.1, R-28).
//!
//! They are the machine's own: the application hears of one when its turn has come. So one that waits too long, or that a
//! farewell overtakes, is answered without anybody having started it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;

use super::Machine;
use super::action::{Action, Dispatch, DispatchId};
use super::event::EventKind;
use super::time::{Now, Timer};

/// What the requests that wait may hold together.
const MAX_BYTES: usize = 64 << 20;

/// First in, first out.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Dispatch>,
    bytes: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a request of this size may wait too, where `limit` may.
    pub(super) fn has_room(&self, bytes: usize, limit: usize) -> bool {
        self.waiting.len() < limit && self.bytes.saturating_add(bytes) <= MAX_BYTES
    }

    pub(super) fn push(&mut self, dispatch: Dispatch) {
        self.bytes += dispatch.request.len();
        self.waiting.push_back(dispatch);
    }

    pub(super) fn pop(&mut self) -> Option<Dispatch> {
        let dispatch = self.waiting.pop_front()?;
        self.bytes -= dispatch.request.len();
        Some(dispatch)
    }

    /// Takes out the first one if it is this one.
    fn pop_if(&mut self, id: &str) -> Option<Dispatch> {
        if *self.waiting.front()?.id == *id {
            self.pop()
        } else {
            None
        }
    }
}

impl Machine {
    /// Keeps an admitted dispatch until a slot is free.
    pub(super) fn wait_for_slot(&mut self, now: Now, dispatch: Dispatch) {
        let deadline = now.mono + self.settings.timing.dispatch;
        let (id, capability) = (Arc::clone(&dispatch.id), Arc::clone(&dispatch.capability));
        self.inbox.enter_waiting(id, capability, deadline);
        self.timers.set_earlier(Timer::Dispatch, deadline);
        self.queue.push(dispatch);
    }

    /// Slots are free: whoever has waited longest gets them.
    pub(super) fn start_waiting(&mut self, now: Now) {
        while self.inbox.running() < self.dispatch_limit() {
            let Some(dispatch) = self.queue.pop() else {
                return;
            };
            // The timer may be late, and the mesh no longer waits for this one.
            if self.inbox.is_overdue(&dispatch.id, now.mono) {
                self.never_started(now, dispatch.id);
                continue;
            }
            self.inbox.begin(&dispatch.id);
            self.deliver(now, dispatch);
        }
    }

    /// Hands a dispatch to the application.
    pub(super) fn deliver(&mut self, now: Now, dispatch: Dispatch) {
        self.expect_pick_up(now);
        self.actions.push_back(Action::Deliver(dispatch));
    }

    /// The deadline of a dispatch has passed. Whether it was still waiting, and has now been answered.
    pub(super) fn overdue_in_queue(&mut self, now: Now, id: &DispatchId) -> bool {
        // Deadlines come in the order of receipt, and so does the queue.
        let waited = self.queue.pop_if(id).is_some();
        if waited {
            self.never_started(now, Arc::clone(id));
        }
        waited
    }

    fn never_started(&mut self, now: Now, id: DispatchId) {
        let limit = self.settings.timing.dispatch.as_millis();
        let text = format!("no slot became free within {limit} ms: the dispatch never started");
        self.refuse_dispatch(now, id, "AGENT_OVERLOADED", &text);
    }

    /// Answers everything that waits: nothing is started any more.
    pub(super) fn refuse_waiting(&mut self, now: Now) {
        while let Some(dispatch) = self.queue.pop() {
            let text = "the agent is shutting down: the dispatch never started";
            self.refuse_dispatch(now, dispatch.id, "AGENT_SHUTDOWN", text);
        }
    }

    /// Forgets everything that waits: nobody can be told but the application.
    pub(super) fn drop_waiting(&mut self) {
        while let Some(dispatch) = self.queue.pop() {
            self.counters.refused += 1;
            self.emit(
                EventKind::DispatchRefused,
                json!({"dispatch_id": &*dispatch.id, "code": "AGENT_SHUTDOWN"}),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Capability;
    use crate::protocol::request::RequestText;

    fn dispatch(id: &str, bytes: usize) -> Dispatch {
        let spec = r#"{"name":"a","description":"d"}"#;
        Dispatch {
            id: id.into(),
            capability: Arc::new(Capability::parse(spec).unwrap()),
            request: RequestText::from("x".repeat(bytes)),
        }
    }

    #[test]
    fn the_number_and_the_bytes_that_wait_are_bounded() {
        let mut queue = Queue::default();
        assert!(queue.has_room(MAX_BYTES, 1) && !queue.has_room(MAX_BYTES + 1, 1));
        assert!(!queue.has_room(0, 0), "switched off");
        queue.push(dispatch("a", 1 << 20));
        assert!(!queue.has_room(0, 1) && queue.has_room(63 << 20, 2));
        assert!(!queue.has_room((63 << 20) + 1, 2));
        assert_eq!((queue.len(), queue.bytes()), (1, 1 << 20));
        assert!(queue.pop_if("b").is_none());
        assert!(queue.pop_if("a").is_some() && queue.pop().is_none());
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
