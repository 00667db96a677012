//! The queue between the I/O thread and the application, one per mesh (`abi.md` 7.3).
//!
//! Two lanes: control (events, completions, releases), which is never refused, and dispatches, which the
//! machine has bounded. Control goes first, so that a completion never waits behind work.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::callback::{self, EventHandler, Handler, Release, svantic_done_fn};
use super::wakeup::Wakeup;
use crate::connector::{Delivery, Sink};
use crate::error::{Error, ErrorKind};
use crate::machine::action::{Dispatch, Output};
use crate::machine::event::{Event, EventKind};

/// Events that nobody takes are dropped past this, log lines first.
const MAX_EVENTS: usize = 1024;

/// Something for the application besides dispatches.
pub(super) enum Control {
    Event(Event),
    Done(Done),
    /// A `user_data` that was replaced.
    Release(Release),
}

/// The outcome of an asynchronous operation.
pub(super) struct Done {
    pub(super) notify: Notify,
    pub(super) result: Result<Output, Error>,
}

/// Whom to tell.
pub(super) enum Notify {
    Callback(svantic_done_fn, UserData),
    Tag(usize),
}

/// A pointer of the caller's: carried, never looked at.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub(super) *mut c_void);

// SAFETY: the library only hands the pointer back; the header says on which threads.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more will come in; what is there is still delivered.
    Closed,
    /// Freed: waiters are sent away.
    Freed,
}

pub(super) struct Queue {
    control: VecDeque<Control>,
    events: usize,
    missed: u64,
    /// Whether a worker is running a control item: those run one at a time, in order.
    control_busy: bool,
    dispatches: VecDeque<Dispatch>,
    phase: Phase,
    closed_item_given: bool,
    wakeup: Option<Wakeup>,
    workers: usize,
    /// Set when free was called from a callback: the last worker releases everything.
    release_at_exit: bool,
    on_event: Option<Arc<EventHandler>>,
    handlers: Vec<Option<Arc<Handler>>>,
}

/// See the [module documentation](self).
pub(super) struct DeliveryQueue {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The number of delivery threads; 0 is pull.
    workers: usize,
}

/// What a worker does next.
pub(super) enum Work {
    Control(Control),
    Dispatch(Dispatch),
}

/// What a pull hands out next.
pub(super) enum Item {
    Control(Control),
    Dispatch(Dispatch),
    Closed,
}

impl DeliveryQueue {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            queue: Mutex::new(Queue {
                control: VecDeque::new(),
                events: 0,
                missed: 0,
                control_busy: false,
                dispatches: VecDeque::new(),
                phase: Phase::Open,
                closed_item_given: false,
                wakeup: None,
                workers: 0,
                release_at_exit: false,
                on_event: None,
                handlers: Vec::new(),
            }),
            changed: Condvar::new(),
            workers,
        }
    }

    pub(super) fn pulls(&self) -> bool {
        self.workers == 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a control item.
    pub(super) fn push(self: &Arc<Self>, control: Control) {
        let mut queue = self.lock();
        queue.push_control(control, self.pulls());
        self.announce(queue);
    }

    /// Wakes whoever takes items, starting the delivery threads with the first one.
    fn announce(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if self.pulls() {
            if queue.has_items() && let Some(wakeup) = &mut queue.wakeup {
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
            queue.control.push_back(Control::Release(Release(old)));
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

    pub(super) fn handler(&self, index: usize) -> Option<Arc<Handler>> {
        self.lock().handlers.get(index).cloned().flatten()
    }

    pub(super) fn event_handler(&self) -> Option<Arc<EventHandler>> {
        self.lock().on_event.clone()
    }

    // ---- callbacks ----

    /// What a worker does next; `None` when it is to end. `control_done`: its last item was a control item.
    pub(super) fn next_work(&self, control_done: bool) -> Option<Work> {
        let mut queue = self.lock();
        if control_done {
            queue.control_busy = false;
            if !queue.control.is_empty() {
                self.changed.notify_one();
            }
        }
        loop {
            if !queue.control_busy && let Some(control) = queue.pop_control() {
                queue.control_busy = true;
                return Some(Work::Control(control));
            }
            if queue.phase != Phase::Open {
                // What was not started has been answered by the machine.
                queue.dispatches.clear();
                if queue.control.is_empty() {
                    return None;
                }
            } else if let Some(dispatch) = queue.dispatches.pop_front() {
                return Some(Work::Dispatch(dispatch));
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker ends. The last one does what a deferred free left to it.
    pub(super) fn worker_ended(&self) {
        let mut queue = self.lock();
        queue.workers -= 1;
        let release = queue.workers == 0 && queue.release_at_exit;
        let owned = release.then(|| queue.take_owned());
        drop(queue);
        self.changed.notify_all();
        drop(owned);
    }

    /// Leaves the release of everything to the last worker. `false` if there is none any more.
    pub(super) fn release_at_exit(&self) -> bool {
        let mut queue = self.lock();
        queue.release_at_exit = queue.workers > 0;
        queue.release_at_exit
    }

    // ---- the end ----

    /// Sends waiters away and waits until no callback runs, until `deadline` at the latest (`None`: however
    /// long a callback takes). Then releases everything. `false` when time ran out.
    pub(super) fn free(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let mut queue = self.lock();
        queue.phase = Phase::Freed;
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
                if queue.has_items() {
                    if let Some(wakeup) = &mut queue.wakeup {
                        wakeup.signal();
                    }
                    self.changed.notify_one();
                }
                return Ok(items);
            }
            if queue.phase != Phase::Open {
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
    pub(super) fn notify_fd(&self) -> std::io::Result<std::os::fd::RawFd> {
        let mut queue = self.lock();
        let waiting = queue.has_items();
        let wakeup = match &mut queue.wakeup {
            Some(wakeup) => wakeup,
            none => none.insert(Wakeup::new()?),
        };
        if waiting {
            wakeup.signal();
        }
        wakeup.duplicate()
    }
}

impl Queue {
    /// Whether a delivery thread has something to run.
    fn has_work(&self) -> bool {
        !self.control.is_empty() || (!self.dispatches.is_empty() && self.phase == Phase::Open)
    }

    /// Whether a pull has something to hand out.
    fn has_items(&self) -> bool {
        !self.control.is_empty()
            || !self.dispatches.is_empty()
            || (self.phase != Phase::Open && !self.closed_item_given)
    }

    fn push_control(&mut self, control: Control, pulls: bool) {
        if let Control::Event(_) = &control {
            if !pulls && self.on_event.is_none() {
                return;
            }
            if self.events >= MAX_EVENTS && !self.drop_one_event() {
                return;
            }
            self.events += 1;
        }
        self.control.push_back(control);
    }

    /// Makes room: the oldest log line goes first, then the oldest event. The reader is told how many.
    fn drop_one_event(&mut self) -> bool {
        let is_log = |item: &Control| {
            matches!(item, Control::Event(event) if event.kind == EventKind::Log)
        };
        let is_event = |item: &Control| matches!(item, Control::Event(_));
        let at = self
            .control
            .iter()
            .position(is_log)
            .or_else(|| self.control.iter().position(is_event));
        self.missed += 1;
        match at {
            Some(at) => {
                self.control.remove(at);
                self.events -= 1;
                true
            }
            None => false,
        }
    }

    fn pop_control(&mut self) -> Option<Control> {
        if self.missed > 0 {
            let count = std::mem::take(&mut self.missed);
            let missed = Event::new(EventKind::Missed, json!({"count": count}));
            return Some(Control::Event(missed));
        }
        let control = self.control.pop_front()?;
        if let Control::Event(_) = &control {
            self.events -= 1;
        }
        Some(control)
    }

    fn take_items(&mut self, max: usize) -> Vec<Item> {
        let mut items = Vec::new();
        while items.len() < max {
            if let Some(control) = self.pop_control() {
                items.push(Item::Control(control));
            } else if let Some(dispatch) = self.dispatches.pop_front() {
                if self.phase == Phase::Open {
                    items.push(Item::Dispatch(dispatch));
                }
            } else if self.phase != Phase::Open && !self.closed_item_given {
                self.closed_item_given = true;
                items.push(Item::Closed);
            } else {
                break;
            }
        }
        items
    }

    /// Everything that was given to the library to release. Dropping it calls the caller's functions, so it
    /// is dropped outside the lock.
    fn take_owned(&mut self) -> Possessions {
        (
            std::mem::take(&mut self.handlers),
            self.on_event.take(),
            std::mem::take(&mut self.control),
        )
    }
}

type Possessions = (
    Vec<Option<Arc<Handler>>>,
    Option<Arc<EventHandler>>,
    VecDeque<Control>,
);

/// The face that the connector sees.
pub(super) struct QueueSink(pub(super) Arc<DeliveryQueue>);

impl Sink for QueueSink {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        if batch.is_empty() {
            return;
        }
        let mut queue = self.0.lock();
        let pulls = self.0.pulls();
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Dispatch(dispatch) => queue.dispatches.push_back(dispatch),
                Delivery::Event(event) => queue.push_control(Control::Event(event), pulls),
            }
        }
        self.0.announce(queue);
    }

    fn closed(&self) {
        let mut queue = self.0.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Closed;
        }
        self.0.announce(queue);
    }
}
