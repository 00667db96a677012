//! Inline delivery: handlers that have promised not to block, run on the I/O thread as soon as their dispatches are
//! admitted. No queue, no other thread, no wake-up; the answers that they give are in the driver's next round.

use std::sync::Arc;
use std::sync::atomic::Ordering;

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
    queue.end_inline();
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

    /// The I/O thread has run them.
    fn end_inline(self: &Arc<Self>) {
        let mut queue = self.lock();
        queue.inline_busy = false;
        if !queue.is_closed() {
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
