//! The end of a driver: whoever still waits for something hears of it.

use std::sync::Arc;

use super::Delivery;
use super::shared::{DriverState, Shared};
use crate::error::{Error, ErrorKind};
use crate::machine::event::{Event, EventKind};

/// However the driver ends, also by the runtime's: nobody is left waiting.
pub(super) struct Ending(pub(super) Arc<Shared>);

impl Ending {
    /// Tells that it ends by a bug of ours.
    pub(super) fn panicked(&self) {
        let text = "a bug in libsvantic: the connector's driver panicked and was ended";
        let error = Error::new(ErrorKind::Internal, "PANIC", text)
            .hint("free this connector, create another, and report the bug");
        let event = Event::new(EventKind::Failed, error.to_json());
        self.0.sink.deliver(&mut vec![Delivery::Event(event)]);
        self.0.abandon(&error);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let shared = &self.0;
        let text = "the library was shut down";
        shared.abandon(&Error::new(ErrorKind::Cancelled, "CANCELLED", text));
        shared.sink.closed();
        shared.berth.close();
        shared.lock().driver = DriverState::Ended;
        shared.ended.notify_all();
    }
}

impl Shared {
    /// Fails every operation that is still waited for; later ones find no driver.
    fn abandon(&self, error: &Error) {
        self.lock().driver = DriverState::Ending;
        // What was commanded behind the driver's back has its own answer, such as that the connector is closed.
        self.pump();
        let completions = std::mem::take(&mut self.lock().completions);
        for done in completions.into_values() {
            done.call(Err(error.clone()));
        }
        self.abandon_calls();
    }
}
