//! What a delivery thread takes from the queue, and in which order it runs it.
//!
//! Control items go first. One delivery thread alone takes all dispatches that wait with one lock, and runs them one after
//! the other; where there are several each takes one, so that none waits behind a slow handler while another thread is idle.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::super::callback::Run;
use super::super::lanes::{Lanes, Waiting, Work};
use super::{DeliveryQueue, IDLE_THREAD_ENDS};

/// How much room for dispatches an idle delivery thread keeps.
const IDLE_ROOM: usize = 64;

/// See the [module documentation](self).
pub(in crate::ffi) struct Worker {
    queue: Arc<DeliveryQueue>,
    /// What it has taken and not begun.
    taken: VecDeque<Waiting>,
    handlers: Arc<Vec<Option<Run>>>,
    /// Its last item was a control item.
    control_done: bool,
}

impl Worker {
    pub(in crate::ffi) fn new(queue: Arc<DeliveryQueue>) -> Self {
        Self {
            queue,
            taken: VecDeque::new(),
            handlers: Arc::default(),
            control_done: false,
        }
    }

    pub(in crate::ffi) fn queue(&self) -> &Arc<DeliveryQueue> {
        &self.queue
    }

    /// What to do next, without waiting for it; `None` if there is nothing, or the end has come.
    pub(in crate::ffi) fn try_next(&mut self) -> Option<Work> {
        let undisturbed = !self.control_done && !self.queue.urgent.load(Ordering::Acquire);
        if undisturbed && let Some(work) = self.begin() {
            return Some(work);
        }
        let queue = Arc::clone(&self.queue);
        self.next_of(&mut queue.lock())
    }

    /// What to do next; `None` when the thread is to end, or has had nothing to do for long.
    pub(in crate::ffi) fn next(&mut self) -> Option<Work> {
        let queue = Arc::clone(&self.queue);
        let mut lanes = queue.lock();
        loop {
            let work = self.next_of(&mut lanes);
            if work.is_some() {
                return work;
            }
            if lanes.is_closed() && lanes.control.is_empty() {
                return None;
            }
            self.taken.shrink_to(IDLE_ROOM);
            lanes.sleepers += 1;
            let waited;
            (lanes, waited) = queue
                .changed
                .wait_timeout(lanes, IDLE_THREAD_ENDS)
                .unwrap_or_else(PoisonError::into_inner);
            // One that is to release everything waits for the end.
            if waited.timed_out() && !lanes.has_work() && !lanes.release_at_exit {
                return None;
            }
        }
    }

    /// What to do next, of what was taken or is to be taken.
    fn next_of(&mut self, lanes: &mut Lanes) -> Option<Work> {
        if std::mem::take(&mut self.control_done) {
            // Nobody is woken for what waits behind it: this thread goes on with that itself.
            lanes.control_busy = false;
        }
        if !lanes.control_busy
            && let Some(control) = lanes.control.pop()
        {
            lanes.control_busy = true;
            self.control_done = true;
            self.queue.note(lanes);
            return Some(Work::Control(control));
        }
        if lanes.is_closed() {
            // What was not begun has been answered by the machine.
            self.taken.clear();
            self.note_taken();
            lanes.drop_dispatches();
        } else if self.taken.is_empty() {
            lanes.take_dispatches(&mut self.taken, self.queue.workers == 1);
            // Before it is noted that they have left the lanes: whoever looks meanwhile must not think that none waits.
            self.note_taken();
            if !Arc::ptr_eq(&self.handlers, &lanes.handlers) {
                self.handlers = Arc::clone(&lanes.handlers);
            }
        }
        self.queue.note(lanes);
        self.begin()
    }

    /// Begins the next of what was taken.
    fn begin(&mut self) -> Option<Work> {
        while let Some(Waiting { dispatch, .. }) = self.taken.pop_front() {
            let next = self.note_taken();
            // A capability and its handler are added as one, so there always is a handler.
            let handler = self.handlers.get(dispatch.capability.index);
            if let Some(handler) = handler.copied().flatten() {
                return Some(Work::Dispatch {
                    dispatch,
                    handler,
                    more: next > 0 || self.queue.front_since.load(Ordering::Relaxed) > 0,
                });
            }
        }
        None
    }

    /// Notes, and returns, since when the next of what was taken has waited; 0 when there is none.
    fn note_taken(&self) -> u64 {
        let next = self.taken.front().map_or(0, |next| next.since);
        self.queue.taken_since.store(next, Ordering::Relaxed);
        next
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_char, c_void};
    use std::sync::atomic::AtomicUsize;

    use super::super::super::callback::Owned;
    use super::super::super::lanes::Control;
    use super::*;
    use crate::agent::Capability;
    use crate::config::DeliveryMode;
    use crate::machine::action::Dispatch;
    use crate::machine::event::{Event, EventKind};

    unsafe extern "C" fn run(_: *mut c_void, _: *const c_char, _: *const c_char, _: usize) {}

    /// A queue in which these dispatches wait, and which starts no threads.
    fn queue(workers: usize, ids: &[&str]) -> Arc<DeliveryQueue> {
        let queue = DeliveryQueue::new(DeliveryMode::Callbacks { workers });
        let owned = Owned::new(std::ptr::null_mut(), None);
        queue.add_handler(Some(run), owned, || Ok(0)).unwrap();
        add(&queue, ids);
        Arc::new(queue)
    }

    fn add(queue: &DeliveryQueue, ids: &[&str]) {
        let capability = Capability::parse(r#"{"name":"a","description":"d"}"#).unwrap();
        let capability = Arc::new(capability);
        let mut lanes = queue.lock();
        for id in ids {
            let dispatch = Dispatch {
                id: (*id).into(),
                capability: Arc::clone(&capability),
                request: String::new().into(),
            };
            lanes.push_dispatch(1, dispatch);
        }
        queue.note(&lanes);
    }

    fn control(queue: &DeliveryQueue) {
        let event = Event::new(EventKind::State, serde_json::json!({}));
        let mut lanes = queue.lock();
        lanes.push_control(Control::Event(event), true);
        queue.note(&lanes);
    }

    /// What the worker is given: an id and whether others wait, or a word.
    fn given(worker: &mut Worker) -> (String, bool) {
        match worker.try_next() {
            Some(Work::Dispatch { dispatch, more, .. }) => (dispatch.id.to_string(), more),
            Some(Work::Control(_)) => ("control".to_owned(), false),
            None => ("nothing".to_owned(), false),
        }
    }

    fn item(what: &str, more: bool) -> (String, bool) {
        (what.to_owned(), more)
    }

    #[test]
    fn what_the_only_worker_has_taken_still_waits_until_it_begins() {
        let queue = queue(1, &["a", "b"]);
        let mut worker = Worker::new(Arc::clone(&queue));
        assert_eq!(given(&mut worker), item("a", true));
        assert_eq!(queue.lock().oldest(), 0, "it has taken both");
        assert!(queue.oldest_waiting().is_some());
        assert_eq!(given(&mut worker), item("b", false));
        assert_eq!(queue.oldest_waiting(), None);
        assert_eq!(given(&mut worker), item("nothing", false));
    }

    /// The I/O thread may look at any moment, and would not look again for a dispatch that it did not see.
    #[test]
    fn what_waits_is_seen_at_every_moment_while_it_is_taken() {
        const ROUNDS: usize = 5_000;
        let queue = queue(1, &[]);
        let mut worker = Worker::new(Arc::clone(&queue));
        // Odd while a dispatch waits for certain.
        let step = AtomicUsize::new(0);
        let missed = std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                let mut missed = 0;
                loop {
                    let before = step.load(Ordering::SeqCst);
                    let seen = queue.oldest_waiting();
                    let after = step.load(Ordering::SeqCst);
                    if before == 2 * ROUNDS {
                        return missed;
                    }
                    let waited = before == after && before % 2 == 1;
                    missed += usize::from(waited && seen.is_none());
                }
            });
            for _ in 0..ROUNDS {
                add(&queue, &["a", "b"]);
                step.fetch_add(1, Ordering::SeqCst);
                assert_eq!(given(&mut worker), item("a", true));
                step.fetch_add(1, Ordering::SeqCst);
                assert_eq!(given(&mut worker), item("b", false));
            }
            looker.join().unwrap()
        });
        assert_eq!(missed, 0);
    }

    #[test]
    fn a_control_item_goes_before_what_was_taken() {
        let queue = queue(1, &["a", "b", "c"]);
        let mut worker = Worker::new(Arc::clone(&queue));
        assert_eq!(given(&mut worker), item("a", true));
        control(&queue);
        control(&queue);
        assert_eq!(given(&mut worker), item("control", false));
        assert_eq!(given(&mut worker), item("control", false));
        assert_eq!(given(&mut worker), item("b", true));
        assert_eq!(given(&mut worker), item("c", false));
    }

    #[test]
    fn what_was_taken_does_not_begin_behind_the_end() {
        let queue = queue(1, &["a", "b", "c"]);
        let mut worker = Worker::new(Arc::clone(&queue));
        assert_eq!(given(&mut worker), item("a", true));
        let mut lanes = queue.lock();
        lanes.close();
        queue.note(&lanes);
        drop(lanes);
        assert_eq!(given(&mut worker), item("nothing", false));
        assert_eq!(queue.oldest_waiting(), None);
        assert!(worker.next().is_none());
    }

    #[test]
    fn with_several_workers_none_takes_what_another_could_run() {
        let queue = queue(2, &["a", "b", "c"]);
        let [mut one, mut other] = [(); 2].map(|()| Worker::new(Arc::clone(&queue)));
        assert_eq!(given(&mut one), item("a", true));
        assert_eq!(given(&mut other), item("b", true));
        assert_eq!(given(&mut other), item("c", false));
        assert_eq!(given(&mut one), item("nothing", false));
    }
}
