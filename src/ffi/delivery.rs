//! The queue between the I/O thread and the application, one per mesh (`abi.md` 7.3): who takes from the
//! lanes, who is woken, and how it ends.

mod inline;
mod pull;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::callback::{self, EventHandler, Owned, Release, Run, svantic_handler_fn};
use super::lanes::{Control, Item, Lanes};
use crate::agent::room_for_one;
use crate::config::DeliveryMode;
use crate::connector::{Delivery, Sink, SocketRequest};
use crate::error::Error;
pub(super) use worker::Worker;

/// A delivery thread without work ends so late: a thousand agents that have something to do now and then are not to keep
/// a thousand threads.
const IDLE_THREAD_ENDS: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(10)
};

/// See the [module documentation](self).
pub(super) struct DeliveryQueue {
    queue: Mutex<Lanes>,
    changed: Condvar,
    /// The number of delivery threads; 0 is pull.
    workers: usize,
    /// Whether dispatches run on the I/O thread.
    inline: bool,
    /// Whether dispatches that have not begun on the I/O thread are not to begin any more.
    ending: AtomicBool,
    born: Instant,
    /// Since when the dispatch in front has waited, in ms of this queue's life and 1; 0 when none waits. Written with the
    /// lock held, and read without: the I/O thread must not wait for whoever holds it.
    front_since: AtomicU64,
    /// The same of those that the only delivery thread has taken, which writes it without the lock.
    taken_since: AtomicU64,
    /// Whether there is something that goes before the dispatches that a delivery thread has taken.
    urgent: AtomicBool,
    /// Frames of a transport that came in, and those that the application is to send.
    came_in: Backlog,
    to_send: Backlog,
}

impl DeliveryQueue {
    pub(super) fn new(mode: DeliveryMode) -> Self {
        let (workers, inline) = match mode {
            DeliveryMode::Callbacks { workers } => (workers, false),
            DeliveryMode::Inline => (1, true),
            DeliveryMode::Pull => (0, false),
        };
        Self {
            queue: Mutex::new(Lanes::new()),
            changed: Condvar::new(),
            workers,
            inline,
            ending: AtomicBool::new(false),
            born: Instant::now(),
            front_since: AtomicU64::new(0),
            taken_since: AtomicU64::new(0),
            urgent: AtomicBool::new(false),
            came_in: Backlog::default(),
            to_send: Backlog::default(),
        }
    }

    pub(super) fn pulls(&self) -> bool {
        self.workers == 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is asked for without the lock; whoever has added or taken something does.
    fn note(&self, queue: &Lanes) {
        // Released behind what a worker has noted of what it took.
        self.front_since.store(queue.oldest(), Ordering::Release);
        let urgent = !queue.control.is_empty() || queue.is_closed();
        self.urgent.store(urgent, Ordering::Release);
    }

    /// A time of this queue's life as it is noted: in ms and 1.
    fn stamp(&self) -> u64 {
        let millis = u64::try_from(self.born.elapsed().as_millis());
        millis.map_or(u64::MAX, |millis| millis.saturating_add(1))
    }

    /// How long the dispatch that is next has waited to be picked up.
    fn oldest_waiting(&self) -> Option<Duration> {
        // In the order in which dispatches go, so that none passes by between the two looks.
        let in_front = self.front_since.load(Ordering::Acquire);
        let taken = self.taken_since.load(Ordering::Relaxed);
        let oldest = [in_front, taken].into_iter().filter(|at| *at > 0).min()?;
        Some(Duration::from_millis(self.stamp().saturating_sub(oldest)))
    }

    /// Adds a frame of a transport, or something to be done with its socket.
    fn push_counted(&self, queue: &mut Lanes, control: Control) {
        if let Some((backlog, bytes)) = self.backlog_of(&control) {
            backlog.add(bytes);
        }
        queue.push_control(control, self.pulls());
    }

    /// Counts off what was taken.
    fn count_off(&self, items: &[Item]) {
        for item in items {
            if let Item::Control(control) = item
                && let Some((backlog, bytes)) = self.backlog_of(control)
            {
                backlog.remove(bytes);
            }
        }
    }

    /// Where a frame is counted, and how many bytes it has.
    fn backlog_of(&self, control: &Control) -> Option<(&Backlog, usize)> {
        match control {
            Control::Frame(text) => Some((&self.came_in, text.len())),
            Control::Socket(SocketRequest::Send(_, text)) => Some((&self.to_send, text.len())),
            _ => None,
        }
    }

    /// Adds a control item.
    pub(super) fn push(self: &Arc<Self>, control: Control) {
        let mut queue = self.lock();
        queue.push_control(control, self.pulls());
        self.announce(queue);
    }

    /// Wakes whoever takes items, starting the delivery threads with the first one.
    fn announce(self: &Arc<Self>, mut queue: MutexGuard<'_, Lanes>) {
        if self.pulls() {
            if queue.has_items()
                && let Some(wakeup) = &mut queue.wakeup
            {
                wakeup.signal();
            }
        } else if queue.has_work() {
            while queue.workers < self.workers && callback::start_worker(Arc::clone(self)) {
                queue.workers += 1;
            }
        }
        self.note(&queue);
        let asleep = std::mem::take(&mut queue.sleepers) > 0;
        drop(queue);
        if asleep {
            self.changed.notify_all();
        }
    }

    /// Sets who receives events, and releases whoever did before once its last call is over.
    pub(super) fn set_event_handler(self: &Arc<Self>, handler: Option<EventHandler>) {
        let mut queue = self.lock();
        let old = std::mem::replace(&mut queue.on_event, handler.map(Arc::new));
        if let Some(old) = old {
            queue.control.push(Control::Release(Release(old)));
        }
        self.announce(queue);
    }

    /// Keeps the handler of the capability that `define` adds. The lock is held meanwhile, so that no dispatch
    /// finds the capability without its handler; if `define` fails the caller keeps what is its own.
    pub(super) fn add_handler(
        &self,
        run: svantic_handler_fn,
        owned: Owned,
        define: impl FnOnce() -> Result<usize, Error>,
    ) -> Result<(), Error> {
        let mut queue = self.lock();
        let index = match define() {
            Ok(index) => index,
            Err(error) => {
                owned.disown();
                return Err(error);
            }
        };
        let handlers = Arc::make_mut(&mut queue.handlers);
        while handlers.len() <= index {
            room_for_one(handlers);
            handlers.push(None);
        }
        handlers[index] = Run::new(run, &owned);
        room_for_one(&mut queue.owned);
        queue.owned.push(owned);
        Ok(())
    }

    pub(super) fn event_handler(&self) -> Option<Arc<EventHandler>> {
        self.lock().on_event.clone()
    }

    // ---- callbacks ----

    /// A worker that has nothing to do ends; `false` if something has come meanwhile, for which nobody else was woken. The
    /// last one does what a deferred free left to it.
    pub(super) fn end_worker(&self) -> bool {
        let mut queue = self.lock();
        let comes_to_release = queue.release_at_exit && !queue.is_closed();
        if queue.has_work() || comes_to_release {
            return false;
        }
        queue.workers -= 1;
        let release = !queue.runs() && queue.release_at_exit;
        let owned = release.then(|| {
            queue.wakeup = None;
            queue.take_owned()
        });
        drop(queue);
        self.changed.notify_all();
        drop(owned);
        true
    }

    /// Leaves the release of everything to the last worker, starting one if there is none. `false` if the
    /// system has no thread to give.
    pub(super) fn release_at_exit(self: &Arc<Self>) -> bool {
        let mut queue = self.lock();
        self.ending.store(true, Ordering::Relaxed);
        if queue.workers == 0 {
            if !callback::start_worker(Arc::clone(self)) {
                return false;
            }
            queue.workers = 1;
        }
        queue.release_at_exit = true;
        true
    }

    // ---- the end ----

    /// Sends waiters away and waits until no callback runs, until `deadline` at the latest (`None`: however
    /// long a callback takes). Then releases everything. `false` when time ran out. Without a deadline whoever waited may
    /// rely on it: what comes later is dropped. That is only if the connector could not end in time.
    pub(super) fn free(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let mut queue = self.lock();
        self.ending.store(true, Ordering::Relaxed);
        queue.close();
        // Completions that came before there was a worker are delivered by one.
        self.announce(queue);
        queue = self.lock();
        while queue.runs() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                queue.release_at_exit = true;
                return false;
            }
            let (again, _) = self
                .changed
                .wait_timeout(queue, left.unwrap_or(Duration::from_mins(1)))
                .unwrap_or_else(PoisonError::into_inner);
            queue = again;
        }
        if deadline.is_none() && !self.pulls() {
            queue.seal();
        }
        let owned = queue.take_owned();
        queue.wakeup = None;
        drop(queue);
        drop(owned);
        true
    }
}

/// The face that the connector sees.
pub(super) struct QueueSink(pub(super) Arc<DeliveryQueue>);

impl Sink for QueueSink {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        if batch.is_empty() {
            return;
        }
        if self.0.inline {
            let queued = |delivery: &mut Delivery| !matches!(delivery, Delivery::Dispatch(_));
            let others: Vec<_> = batch.extract_if(.., queued).collect();
            if !others.is_empty() {
                self.queue(others.into_iter());
            }
            if !batch.is_empty() {
                inline::run(&self.0, batch);
            }
            return;
        }
        self.queue(batch.drain(..));
    }

    fn runs_at_once(&self) -> bool {
        self.0.inline
    }

    fn oldest_waiting(&self) -> Option<Duration> {
        self.0.oldest_waiting()
    }

    fn has_room(&self) -> bool {
        self.0.came_in.has_room()
    }

    fn may_send(&self) -> bool {
        self.0.to_send.has_room()
    }

    fn closed(&self) {
        let mut queue = self.0.lock();
        self.0.ending.store(true, Ordering::Relaxed);
        queue.close();
        self.0.announce(queue);
    }
}

impl QueueSink {
    fn queue(&self, deliveries: impl Iterator<Item = Delivery>) {
        let mut queue = self.0.lock();
        let pulls = self.0.pulls();
        let since = self.0.stamp();
        for delivery in deliveries {
            match delivery {
                Delivery::Dispatch(dispatch) => queue.push_dispatch(since, dispatch),
                Delivery::Event(event) => queue.push_control(Control::Event(event), pulls),
                Delivery::Frame(text) => self.0.push_counted(&mut queue, Control::Frame(text)),
                Delivery::Socket(request) => {
                    self.0.push_counted(&mut queue, Control::Socket(request));
                }
            }
        }
        self.0.announce(queue);
    }
}

#[cfg(test)]
mod tests;
