//! Inline delivery: handlers that have promised not to block, run on the I/O thread as soon as their dispatches are
//! admitted. No queue, no other thread, no wake-up; the answers that they give are in the driver's next round.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::super::callback::{self, Run, run_dispatch};
use super::super::inside;
use super::DeliveryQueue;
use crate::connector::Delivery;

/// Runs the dispatches of a batch, and takes them out of it; whatever else there was has been queued.
pub(super) fn run(queue: &Arc<DeliveryQueue>, batch: &mut Vec<Delivery>) {
    let Some(handlers) = queue.begin_inline() else {
        // They have been answered by the machine.
        return batch.clear();
    };
    let _turn = Turn(queue);
    inside::inline(queue, || {
        for delivery in batch.drain(..) {
            // A handler may have freed its agent, or another thread be about to: what has not begun does not begin.
            if queue.is_ending() {
                break;
            }
            if let Delivery::Dispatch(dispatch) = delivery
                // A capability and its handler are added as one, so there always is a handler.
                && let Some(handler) = handlers.get(dispatch.capability.index).copied().flatten()
            {
                run_dispatch(&dispatch, handler);
            }
        }
    });
}

/// The turn of the I/O thread. A panic ends it too, and leaves nobody waiting.
struct Turn<'a>(&'a Arc<DeliveryQueue>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end_inline();
    }
}

impl DeliveryQueue {
    /// The I/O thread is about to run dispatches, with these handlers. `None` when none are to run any more.
    fn begin_inline(&self) -> Option<Arc<Vec<Option<Run>>>> {
        let mut queue = self.lock();
        if queue.is_closed() {
            return None;
        }
        queue.inline_busy = true;
        Some(Arc::clone(&queue.handlers))
    }

    /// Whether what has not begun on the I/O thread is not to begin any more.
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Lets no dispatch begin on the I/O thread any more, and waits until the one that runs there has ended, however long
    /// that takes.
    pub(in crate::ffi) fn await_inline(&self) {
        let mut queue = self.lock();
        self.ending.store(true, Ordering::Relaxed);
        while queue.inline_busy {
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The I/O thread has run them.
    fn end_inline(self: &Arc<Self>) {
        let mut queue = self.lock();
        queue.inline_busy = false;
        if !self.is_ending() {
            return;
        }
        // Whoever frees the agent waits for this; and if nobody had the time, a worker does what is left.
        let left_over = !queue.runs() && queue.release_at_exit;
        if left_over && callback::start_worker(Arc::clone(self)) {
            queue.workers = 1;
        }
        drop(queue);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_char, c_void};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::super::callback::Owned;
    use super::*;
    use crate::agent::Capability;
    use crate::config::DeliveryMode;
    use crate::machine::action::Dispatch;

    /// What a handler tells, and waits for before it returns.
    struct Talk {
        entered: Sender<()>,
        go_on: Receiver<()>,
        returning: AtomicBool,
    }

    unsafe extern "C" fn talk(talk: *mut c_void, _: *const c_char, _: *const c_char, _: usize) {
        // SAFETY: the tests give a `Talk`, which outlives the queue.
        let talk = unsafe { &*talk.cast::<Talk>() };
        talk.entered.send(()).unwrap();
        talk.go_on.recv().unwrap();
        talk.returning.store(true, Ordering::SeqCst);
    }

    fn queue(talk_of: *const Talk) -> Arc<DeliveryQueue> {
        let queue = DeliveryQueue::new(DeliveryMode::Inline);
        let owned = Owned::new(talk_of.cast_mut().cast(), None);
        queue.add_handler(Some(talk), owned, || Ok(0)).unwrap();
        Arc::new(queue)
    }

    fn dispatch(id: &str) -> Vec<Delivery> {
        let capability = Capability::parse(r#"{"name":"a","description":"d"}"#).unwrap();
        vec![Delivery::Dispatch(Dispatch {
            id: id.into(),
            capability: Arc::new(capability),
            request: String::new().into(),
        })]
    }

    #[test]
    fn who_waits_for_a_handler_waits_until_it_has_returned() {
        let (entered, is_inside) = channel();
        let (lets_go, go_on) = channel();
        let returning = AtomicBool::new(false);
        let talk = Talk {
            entered,
            go_on,
            returning,
        };
        let queue = queue(&raw const talk);
        thread::scope(|scope| {
            scope.spawn(|| run(&queue, &mut dispatch("d")));
            is_inside.recv().unwrap();
            let (tell, waited) = channel();
            let (queue, returning) = (&queue, &talk.returning);
            scope.spawn(move || {
                queue.await_inline();
                tell.send(returning.load(Ordering::SeqCst)).unwrap();
            });
            while !queue.is_ending() {
                thread::yield_now();
            }
            lets_go.send(()).unwrap();
            assert_eq!(waited.recv_timeout(Duration::from_mins(1)), Ok(true));
        });
        run(&queue, &mut dispatch("none begins any more"));
        assert!(is_inside.try_recv().is_err());
    }

    #[test]
    fn nobody_waits_for_a_turn_that_has_ended_in_a_panic() {
        let queue = queue(std::ptr::null());
        let mut batch = dispatch(&"an id that nobody lets in".repeat(8));
        let ended = catch_unwind(AssertUnwindSafe(|| run(&queue, &mut batch)));
        assert!(ended.is_err());
        assert!(queue.free(Some(Instant::now())));
    }
}
