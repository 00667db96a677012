//! Where the open link is while the driver is not being polled, and how answers leave without the driver: by the thread that
//! gives them. So an answer costs no wake-up of the I/O thread, which may sleep on.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_tungstenite::tungstenite::Message;

use super::link::Link;
use super::outgoing::FRAGMENT_BYTES;
use super::shared::{Core, Shared};
use crate::machine::action::Action;

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct Berth(Mutex<Place>);

#[derive(Default)]
enum Place {
    /// There is no link, or the driver has it.
    #[default]
    Empty,
    Link(Box<Link>),
    /// It has been given back to the driver, which is on its way: however many threads answer, it comes to read.
    Kept(Box<Link>),
    /// A thread that answers has it; `wanted`: the driver has come for it meanwhile.
    Lent {
        wanted: bool,
    },
    /// The driver has ended.
    Closed,
}

/// Another thread has the link, and wakes the driver when it is back.
pub(super) struct IsLent;

impl Berth {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver takes the link, if there is one.
    pub(super) fn take(&self) -> Result<Option<Box<Link>>, IsLent> {
        let mut place = self.lock();
        match mem::take(&mut *place) {
            Place::Link(link) | Place::Kept(link) => Ok(Some(link)),
            Place::Empty | Place::Closed => Ok(None),
            Place::Lent { .. } => {
                *place = Place::Lent { wanted: true };
                Err(IsLent)
            }
        }
    }

    /// The driver leaves the link.
    pub(super) fn put(&self, link: Box<Link>) {
        *self.lock() = Place::Link(link);
    }

    /// The driver has ended, and with it the link.
    pub(super) fn close(&self) {
        let link = mem::replace(&mut *self.lock(), Place::Closed);
        drop(link);
    }

    fn borrow(&self) -> Option<Box<Link>> {
        let mut place = self.lock();
        if !matches!(*place, Place::Link(_)) {
            return None;
        }
        match mem::replace(&mut *place, Place::Lent { wanted: false }) {
            Place::Link(link) => Some(link),
            _ => None,
        }
    }

    /// Whether the driver has come for it meanwhile.
    fn give_back(&self, link: Box<Link>) -> bool {
        let mut place = self.lock();
        let Place::Lent { wanted } = *place else {
            // The driver has ended. Whatever is left of the socket is closed without the lock.
            drop(place);
            return false;
        };
        *place = if wanted {
            Place::Kept(link)
        } else {
            Place::Link(link)
        };
        wanted
    }
}

/// The link in the hands of a thread that answers; given back whatever becomes of that thread.
struct Borrowed<'a> {
    shared: &'a Shared,
    link: Option<Box<Link>>,
    /// Whether anything is left to the driver.
    left: bool,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let link = self.link.take();
        let wanted = link.is_some_and(|link| self.shared.berth.give_back(link));
        if wanted || self.left {
            self.shared.waker.wake();
        }
    }
}

impl Shared {
    /// Lets answers leave: by this thread if the driver sleeps, by the driver otherwise. Never blocks.
    pub(super) fn let_go(&self) {
        let Some(link) = self.berth.borrow() else {
            return self.waker.wake();
        };
        let mut borrowed = Borrowed {
            shared: self,
            link: Some(link),
            left: true,
        };
        if let Some(link) = &mut borrowed.link {
            borrowed.left = self.write(link);
        }
    }

    /// Writes what the machine has for this link. `true` if anything is left to the driver.
    fn write(&self, link: &mut Link) -> bool {
        let mut core = self.lock();
        let now = self.now();
        let Core {
            machine, observed, ..
        } = &mut *core;
        // What is large takes its time, and that is the I/O thread's.
        let mut room = FRAGMENT_BYTES;
        while let Some(action) = machine.poll_write(link.no, room) {
            observed.note(now, &action);
            match action {
                Action::Send(_, text) => {
                    room -= text.len();
                    link.push(Message::Text(text));
                }
                Action::Ping(_, payload) => link.ping(payload),
                _ => {}
            }
        }
        let armed = core.armed;
        let next = core.machine.poll_timeout();
        let sooner = next.is_some_and(|next| armed.is_none_or(|armed| next < armed));
        let left = core.machine.has_actions() || sooner;
        drop(core);
        link.flush_elsewhere() || left
    }
}

#[cfg(test)]
mod tests;
