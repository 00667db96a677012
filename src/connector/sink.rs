//! What the connector hands over to the application, and to whom.

use std::time::Duration;

use super::SocketRequest;
use crate::machine::action::Dispatch;
use crate::machine::event::Event;
use crate::protocol::frame::FrameText;

/// What reaches the application.
pub enum Delivery {
    /// A capability call.
    Dispatch(Dispatch),
    /// Something that happened.
    Event(Event),
    /// A frame of a transport, a JSON object, as it came.
    Frame(FrameText),
    /// Something that is to be done with a socket that the application carries.
    Socket(SocketRequest),
}

/// The application's side. Called on the I/O thread (and, for what needs no I/O, on the caller's), so it
/// must hand over and return.
pub trait Sink: Send + Sync {
    /// Takes everything out of `batch`, in order.
    fn deliver(&self, batch: &mut Vec<Delivery>);

    /// Whether dispatches have run when [`Sink::deliver`] returns, on its thread. Answers that they gave with
    /// [`Haste::NextRound`](super::Haste::NextRound) are then taken up at once.
    fn runs_at_once(&self) -> bool {
        false
    }

    /// How long the dispatch that is next has waited to be picked up; `None` when none waits. Asked with the machine locked, so
    /// it must not wait for a lock.
    fn oldest_waiting(&self) -> Option<Duration> {
        None
    }

    /// Whether more frames of a transport may come in. Asked as the above is.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether more may be sent over a socket that the application carries. Asked likewise.
    fn may_send(&self) -> bool {
        true
    }

    /// Nothing more will be delivered.
    fn closed(&self);
}
