//! How a driver starts, and what is left to do when it has ended, however that came.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::future::FutureExt as _;

use super::super::Delivery;
use super::super::shared::{DriverState, Shared};
use super::super::transport::Transport;
use super::Driver;
use crate::error::{Error, ErrorKind};
use crate::machine::event::{Event, EventKind};
use crate::runtime;

/// Makes the driver of a connector; what is returned starts it. To be called, or dropped, without the machine's lock: a
/// runtime that is just being shut down drops the driver there and then, and its end takes that lock.
pub(in crate::connector) fn prepare(shared: &Arc<Shared>) -> Result<impl FnOnce() + use<>, Error> {
    let runtime = runtime::get()?;
    let transport = Transport::new(Arc::clone(shared), Arc::clone(&runtime))?;
    let handle = runtime.handle().clone();
    let (mut server, mut warning) = (None, None);
    if let Some(listening) = &shared.listening {
        server = listening.start(shared, &handle)?;
        warning = server.is_some().then(|| listening.warning()).flatten();
    }
    // Made here: the runtime may end without having polled the driver once.
    let ending = Ending(Arc::clone(shared));
    Ok(move || {
        handle.spawn(async move {
            if let Some(event) = warning {
                ending.0.sink.deliver(&mut vec![Delivery::Event(event)]);
            }
            // On the I/O thread, which the watch for suspensions belongs to.
            let driver = Driver::new(Arc::clone(&ending.0), &runtime, transport);
            drop(runtime);
            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                let error = panicked();
                let event = Event::new(EventKind::Failed, error.to_json());
                ending.0.sink.deliver(&mut vec![Delivery::Event(event)]);
                ending.0.abandon(&error);
            }
            // What was answered last has still to leave.
            if let Some(server) = server {
                server.end().await;
            }
        });
    })
}

fn panicked() -> Error {
    Error::new(
        ErrorKind::Internal,
        "PANIC",
        "a bug in libsvantic: the connector's driver panicked and was ended",
    )
    .hint("free this connector, create another, and report the bug")
}

/// However the driver ends, also by the runtime's: nobody is left waiting.
struct Ending(Arc<Shared>);

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
