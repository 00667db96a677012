//! The queue between the I/O thread and the application, one per mesh (`abi.md` 7.3): who takes from the
//! lanes, who is woken, and how it ends.

use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::callback::{self, EventHandler, Handler, Release};
use super::lanes::{Control, Item, Lanes, Work};
use super::wakeup::Wakeup;
use crate::connector::{Delivery, Sink, SocketRequest};
use crate::error::{Error, ErrorKind};

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
    born: Instant,
    /// Since when the dispatch in front has waited, in ms of this queue's life and 1; 0 when none waits. Written with the
    /// lock held, and read without: the I/O thread must not wait for whoever holds it.
    front_since: AtomicU64,
    /// Frames of a transport that came in, and those that the application is to send.
    came_in: Backlog,
    to_send: Backlog,
}

impl DeliveryQueue {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            queue: Mutex::new(Lanes::new()),
            changed: Condvar::new(),
            workers,
            born: Instant::now(),
            front_since: AtomicU64::new(0),
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

    /// Notes which dispatch is in front now; whoever has added or taken one does.
    fn note_front(&self, queue: &Lanes) {
        let millis = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1);
        let front = queue.oldest().map_or(0, |since| millis(since) + 1);
        self.front_since.store(front, Ordering::Relaxed);
    }

    /// How long the dispatch in front has waited to be picked up.
    fn oldest_waiting(&self) -> Option<Duration> {
        let since = self.front_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.born
                .elapsed()
                .saturating_sub(Duration::from_millis(since)),
        )
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
        drop(queue);
        self.changed.notify_all();
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
        handler: Handler,
        define: impl FnOnce() -> Result<usize, Error>,
    ) -> Result<(), Error> {
        let mut queue = self.lock();
        let index = match define() {
            Ok(index) => index,
            Err(error) => {
                handler.owned.disown();
                return Err(error);
            }
        };
        if queue.handlers.len() <= index {
            queue.handlers.resize_with(index + 1, || None);
        }
        queue.handlers[index] = Some(Arc::new(handler));
        Ok(())
    }

    pub(super) fn event_handler(&self) -> Option<Arc<EventHandler>> {
        self.lock().on_event.clone()
    }

    // ---- callbacks ----

    /// What a worker does next without waiting for it; `None` if there is nothing, or the end has come.
    /// `control_done`: its last item was a control item.
    pub(super) fn try_next_work(&self, control_done: bool) -> Option<Work> {
        let mut queue = self.lock();
        if control_done {
            queue.control_busy = false;
            if !queue.control.is_empty() {
                self.changed.notify_one();
            }
        }
        let work = queue.next_work();
        self.note_front(&queue);
        work
    }

    /// What a worker does next; `None` when it is to end, or has had nothing to do for long.
    pub(super) fn next_work(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            let work = queue.next_work();
            self.note_front(&queue);
            if work.is_some() {
                return work;
            }
            if queue.is_closed() && queue.control.is_empty() {
                return None;
            }
            let (again, waited) = self
                .changed
                .wait_timeout(queue, IDLE_THREAD_ENDS)
                .unwrap_or_else(PoisonError::into_inner);
            queue = again;
            // One that is to release everything waits for the end.
            if waited.timed_out() && !queue.has_work() && !queue.release_at_exit {
                return None;
            }
        }
    }

    /// A worker that has nothing to do ends; `false` if something has come meanwhile, for which nobody else was woken. The
    /// last one does what a deferred free left to it.
    pub(super) fn end_worker(&self) -> bool {
        let mut queue = self.lock();
        let comes_to_release = queue.release_at_exit && !queue.is_closed();
        if queue.has_work() || comes_to_release {
            return false;
        }
        queue.workers -= 1;
        let release = queue.workers == 0 && queue.release_at_exit;
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
    /// long a callback takes). Then releases everything. `false` when time ran out.
    pub(super) fn free(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let mut queue = self.lock();
        queue.close();
        // Completions that came before there was a worker are delivered by one.
        self.announce(queue);
        queue = self.lock();
        while queue.workers > 0 {
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
        let owned = queue.take_owned();
        queue.wakeup = None;
        drop(queue);
        drop(owned);
        true
    }

    // ---- pull ----

    /// Up to `max` items, waiting for the first until `timeout` has passed.
    pub(super) fn pull(&self, max: usize, timeout: Duration) -> Result<Vec<Item>, Error> {
        let deadline = Instant::now() + timeout;
        let mut queue = self.lock();
        if let Some(wakeup) = &mut queue.wakeup {
            wakeup.clear();
        }
        loop {
            let items = queue.take_items(max);
            if !items.is_empty() {
                self.note_front(&queue);
                self.count_off(&items);
                if queue.has_items() {
                    if let Some(wakeup) = &mut queue.wakeup {
                        wakeup.signal();
                    }
                    self.changed.notify_one();
                }
                return Ok(items);
            }
            if queue.is_closed() {
                let text = "the agent has ended, and every item has been handed out";
                return Err(Error::new(ErrorKind::Cancelled, "CLOSED", text));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = "there is no item";
                return Err(Error::new(ErrorKind::Timeout, "NO_ITEM", text).retryable(true));
            }
            let (again, _) = self
                .changed
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner);
            queue = again;
        }
    }

    /// A descriptor for the host that is readable while items wait.
    pub(super) fn notify_fd(&self) -> Result<RawFd, Error> {
        let failed = |error| no_descriptor("svantic_notify_fd", &error);
        let mut queue = self.lock();
        let waiting = queue.has_items();
        let wakeup = match &mut queue.wakeup {
            Some(wakeup) => wakeup,
            none => none.insert(Wakeup::new().map_err(failed)?),
        };
        if wakeup.is_lifeline() {
            let text =
                "svantic_notify_fd: this agent has a lifeline, whose descriptor tells of items too";
            return Err(Error::new(ErrorKind::InvalidState, "HAS_LIFELINE", text)
                .hint("use the descriptor that svantic_lifeline_fd wrote"));
        }
        if waiting {
            wakeup.signal();
        }
        wakeup.duplicate().map_err(failed)
    }

    /// The same, and the library has no copy of it: what is returned beside it shows when the host has none any more.
    /// `watch` is called with the queue locked, and nothing has happened if it fails.
    pub(super) fn lifeline_fd(
        &self,
        watch: impl FnOnce(UnixStream) -> Result<(), Error>,
    ) -> Result<OwnedFd, Error> {
        let mut queue = self.lock();
        if let Some(wakeup) = &queue.wakeup {
            let (code, text, hint) = if wakeup.is_lifeline() {
                (
                    "HAS_LIFELINE",
                    "svantic_lifeline_fd: this agent has its lifeline already",
                    "one is enough: duplicate the descriptor that the first call wrote",
                )
            } else {
                (
                    "HAS_NOTIFY_FD",
                    "svantic_lifeline_fd: this agent has a descriptor of svantic_notify_fd",
                    "ask for one of the two only",
                )
            };
            return Err(Error::new(ErrorKind::InvalidState, code, text).hint(hint));
        }
        let (mut wakeup, hosts, ours) =
            Wakeup::lifeline().map_err(|error| no_descriptor("svantic_lifeline_fd", &error))?;
        watch(ours)?;
        if queue.has_items() {
            wakeup.signal();
        }
        queue.wakeup = Some(wakeup);
        Ok(hosts)
    }
}

fn no_descriptor(function: &str, error: &std::io::Error) -> Error {
    let text = format!("{function}: no descriptor: {error}");
    Error::new(ErrorKind::Internal, "NO_DESCRIPTOR", text)
}

/// The face that the connector sees.
pub(super) struct QueueSink(pub(super) Arc<DeliveryQueue>);

impl Sink for QueueSink {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        if batch.is_empty() {
            return;
        }
        let mut queue = self.0.lock();
        let pulls = self.0.pulls();
        let since = self.0.born.elapsed();
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Dispatch(dispatch) => queue.push_dispatch(since, dispatch),
                Delivery::Event(event) => queue.push_control(Control::Event(event), pulls),
                Delivery::Frame(text) => self.0.push_counted(&mut queue, Control::Frame(text)),
                Delivery::Socket(request) => {
                    self.0.push_counted(&mut queue, Control::Socket(request));
                }
            }
        }
        self.0.note_front(&queue);
        self.0.announce(queue);
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
        queue.close();
        self.0.announce(queue);
    }
}

#[cfg(test)]
mod tests;
