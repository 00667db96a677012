//! What runs on this thread at the moment: a callback, and whose, or none. Some functions must not wait there, and answers
//! given there leave together.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::delivery::DeliveryQueue;
use super::handles::Mesh;
use crate::connector::Haste;
use crate::error::{Error, ErrorKind};

thread_local! {
    static QUEUE: Cell<*const DeliveryQueue> = const { Cell::new(std::ptr::null()) };
    /// Whether this is the I/O thread, in a handler of an agent with inline delivery.
    static INLINE: Cell<bool> = const { Cell::new(false) };
    /// Whether more dispatches wait behind the one that runs.
    static MORE_WAIT: Cell<bool> = const { Cell::new(false) };
    /// The mesh whose answers this thread has yet to let go.
    static UNFLUSHED: RefCell<Option<Arc<Mesh>>> = const { RefCell::new(None) };
}

/// This thread is a delivery thread of the mesh with this queue, from now on.
pub(super) fn become_delivery_thread(queue: &Arc<DeliveryQueue>) {
    QUEUE.set(Arc::as_ptr(queue));
}

/// Runs handlers on the I/O thread.
pub(super) fn inline<T>(queue: &Arc<DeliveryQueue>, run: impl FnOnce() -> T) -> T {
    struct Outside;
    impl Drop for Outside {
        fn drop(&mut self) {
            QUEUE.set(std::ptr::null());
            INLINE.set(false);
        }
    }
    QUEUE.set(Arc::as_ptr(queue));
    INLINE.set(true);
    let _outside = Outside;
    run()
}

/// Runs a dispatch on a delivery thread. `more`: others wait behind it.
pub(super) fn dispatch(more: bool, run: impl FnOnce()) {
    MORE_WAIT.set(more);
    run();
    MORE_WAIT.set(false);
}

/// How soon an answer given on this thread leaves: with those of the dispatches beside it, if this is a thread that runs
/// the handlers of that mesh and there are any.
pub(super) fn haste(mesh: &Arc<Mesh>) -> Haste {
    if !callback_of(&mesh.queue) {
        return Haste::Now;
    }
    if INLINE.get() {
        return Haste::NextRound;
    }
    if !MORE_WAIT.get() {
        return Haste::Now;
    }
    UNFLUSHED.with_borrow_mut(|unflushed| {
        unflushed.get_or_insert_with(|| Arc::clone(mesh));
    });
    Haste::Batch
}

/// Lets go the answers of the batch that this thread has run.
pub(super) fn flush() {
    if let Some(mesh) = UNFLUSHED.take() {
        mesh.connector.flush();
    }
}

/// Whether this thread runs callbacks, of any mesh.
pub(super) fn callback() -> bool {
    !QUEUE.get().is_null()
}

/// Whether this is the I/O thread, in a handler.
pub(super) fn inline_handler() -> bool {
    INLINE.get()
}

/// Whether this thread runs callbacks of the mesh with this queue.
fn callback_of(queue: &Arc<DeliveryQueue>) -> bool {
    std::ptr::eq(QUEUE.get(), Arc::as_ptr(queue))
}

/// An error where nothing may be waited for: in an inline handler, whose thread does what would be waited for.
pub(super) fn may_wait(function: &str) -> Result<(), Error> {
    if !INLINE.get() {
        return Ok(());
    }
    let text = format!(
        "{function} was called from inside an inline handler, on the thread that serves every agent, and would wait for it"
    );
    let hint = if function.starts_with("svantic_next") {
        "call it with a `timeout_ms` of 0, or from another thread".to_owned()
    } else {
        instead(function)
    };
    Err(Error::new(ErrorKind::WouldDeadlock, "WOULD_DEADLOCK", text).hint(hint))
}

/// An error where waiting would be waiting for oneself.
pub(super) fn may_wait_for(mesh: &Mesh, function: &str) -> Result<(), Error> {
    may_wait(function)?;
    if !callback_of(&mesh.queue) {
        return Ok(());
    }
    let text = format!(
        "{function} was called from inside a callback of the same agent, and would wait for it"
    );
    Err(Error::new(ErrorKind::WouldDeadlock, "WOULD_DEADLOCK", text).hint(instead(function)))
}

fn instead(function: &str) -> String {
    format!("use {function}_async, or call it from another thread")
}
