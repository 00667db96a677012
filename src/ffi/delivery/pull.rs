//! What the application takes by itself, and the descriptors that tell it when.

use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::super::lanes::Item;
use super::super::wakeup::Wakeup;
use super::DeliveryQueue;
use crate::error::{Error, ErrorKind};

impl DeliveryQueue {
    /// Up to `max` items, waiting for the first until `timeout` has passed.
    pub(in crate::ffi) fn pull(&self, max: usize, timeout: Duration) -> Result<Vec<Item>, Error> {
        let deadline = Instant::now() + timeout;
        let mut queue = self.lock();
        if let Some(wakeup) = &mut queue.wakeup {
            wakeup.clear();
        }
        loop {
            let items = queue.take_items(max);
            if !items.is_empty() {
                self.note(&queue);
                self.count_off(&items);
                if queue.has_items() {
                    if let Some(wakeup) = &mut queue.wakeup {
                        wakeup.signal();
                    }
                    if queue.sleepers > 0 {
                        self.changed.notify_one();
                    }
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
            queue.sleepers += 1;
            let (again, _) = self
                .changed
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner);
            queue = again;
        }
    }

    /// A descriptor for the host that is readable while items wait.
    pub(in crate::ffi) fn notify_fd(&self) -> Result<RawFd, Error> {
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
    pub(in crate::ffi) fn lifeline_fd(
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
