//! How a driver starts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::future::FutureExt as _;

use super::super::Delivery;
use super::super::ending::Ending;
use super::super::shared::Shared;
use super::super::transport::Transport;
use super::Driver;
use crate::error::Error;
use crate::machine::event::Event;
use crate::runtime::{self, Runtime};

/// Makes the driver of a connector; what is returned starts it. To be called, or dropped, without the machine's lock: a
/// runtime that is just being shut down drops the driver there and then, and its end takes that lock.
pub(in crate::connector) fn prepare(shared: &Arc<Shared>) -> Result<impl FnOnce() + use<>, Error> {
    let runtime = runtime::get()?;
    let transport = Transport::new(shared, Arc::clone(&runtime))?;
    let handle = runtime.handle().clone();
    let (mut server, mut warning) = (None, None);
    if let Some(listening) = &shared.listening {
        server = listening.start(shared, &handle)?;
        warning = server.is_some().then(|| listening.warning()).flatten();
    }
    // Made here: the runtime may end without having polled the driver once.
    let ending = Ending(Arc::clone(shared));
    let beginning = Box::new(Beginning {
        warning,
        runtime,
        transport,
    });
    Ok(move || {
        handle.spawn(async move {
            // On the I/O thread, which the watch for suspensions belongs to.
            let driver = beginning.begin(&ending.0);
            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                ending.panicked();
            }
            // What was answered last has still to leave.
            if let Some(server) = server {
                server.end().await;
            }
        });
    })
}

/// What the driver is made of, where its task does not have to have the room for it to the end.
struct Beginning {
    warning: Option<Event>,
    runtime: Arc<Runtime>,
    transport: Transport,
}

impl Beginning {
    #[allow(
        clippy::boxed_local,
        reason = "the box is to end here, and not with the task"
    )]
    fn begin(self: Box<Self>, shared: &Arc<Shared>) -> Driver {
        if let Some(event) = self.warning {
            shared.sink.deliver(&mut vec![Delivery::Event(event)]);
        }
        Driver::new(Arc::clone(shared), &self.runtime, self.transport)
    }
}
