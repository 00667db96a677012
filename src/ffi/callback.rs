//! Delivery threads: the library's own threads, on which the caller's functions run. Never a runtime thread.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::delivery::{DeliveryQueue, Worker};
use super::inside;
use super::lanes::{Control, Done, Notify, Reply, UserData, Work};
use super::serve::part_json;
use super::signals;
use super::status::svantic_status;
use crate::error::Error;
use crate::machine::action::{Dispatch, Output};
use crate::machine::event::Event;
use crate::protocol::limits::MAX_ID_BYTES;

/// Runs a capability. `dispatch_id` and `request_json` are valid until the function returns.
///
/// `request_json`: {"dispatch_id","skill_id","args","deadline_ms"} and, where the mesh sent them,
/// "session_id", "tenant_id", "traceparent", "parent_trace_id", "parent_span_id", "baggage",
/// "propagation_headers". "args" is an object that satisfies the capability's schema.
///
/// Answer with svantic_resolve() or svantic_reject(), here or later, from any thread, within deadline_ms.
/// Runs on a delivery thread; with "delivery":"inline" on the I/O thread, and must not block. Must not throw, longjmp or
/// end its thread.
pub type svantic_handler_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        dispatch_id: *const c_char,
        request_json: *const c_char,
        request_len: usize,
    ),
>;

/// Reports an event: an svantic_event value (ignore those you do not know) and its fields as a JSON object,
/// valid until the function returns. Runs on a delivery thread, one event at a time, in order.
pub type svantic_event_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        event: i32,
        event_json: *const c_char,
        event_len: usize,
    ),
>;

/// Ends an asynchronous operation: called exactly once if starting it returned OK, otherwise never.
///
/// `status` is an svantic_status value. `result_json` is the result ("null", or the mesh's reply to
/// create_session or request), or on failure {"status","code","message","hint","http_status","retryable"}.
/// Valid until the function returns. Runs on a delivery thread.
pub type svantic_done_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: i32,
        result_json: *const c_char,
        result_len: usize,
    ),
>;

/// Takes a part of the response to a request, as svantic_serve_async() says. `response_json` is valid until the function
/// returns. Runs on a delivery thread, one at a time and in order.
pub type svantic_response_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, response_json: *const c_char)>;

/// Releases user_data. Called exactly once, after the last callback that received it has returned, on a
/// delivery thread or inside svantic_free().
pub type svantic_free_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A `user_data` and how it is released: once, when the last reference goes.
pub(super) struct Owned {
    data: UserData,
    free: svantic_free_fn,
}

impl Owned {
    pub(super) fn new(data: *mut c_void, free: svantic_free_fn) -> Self {
        Self {
            data: UserData(data),
            free,
        }
    }

    /// Forgets the caller's pointer: the call that gave it has failed, so it stays the caller's.
    pub(super) fn disown(mut self) {
        self.free = None;
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the caller gave the function together with this pointer, to be called once, and no
            // callback that got the pointer is running: it would hold a reference.
            unsafe { free(self.data.0) };
        }
    }
}

/// A capability's function and what it is called with. What owns the `user_data` outlives every call.
#[derive(Clone, Copy)]
pub(super) struct Run {
    run: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, usize),
    data: UserData,
}

impl Run {
    /// `None` without a function.
    pub(super) fn new(run: svantic_handler_fn, owned: &Owned) -> Option<Self> {
        let data = owned.data;
        run.map(|run| Self { run, data })
    }
}

/// The function that receives events.
pub(super) struct EventHandler {
    pub(super) run: svantic_event_fn,
    pub(super) owned: Owned,
}

/// An event handler whose release waits for its place in the queue, behind the calls that got it.
pub(super) struct Release(
    #[allow(dead_code, reason = "held for its drop")] pub(super) Arc<EventHandler>,
);

/// Starts one delivery thread. `false` if the system has none to give.
pub(super) fn start_worker(queue: Arc<DeliveryQueue>) -> bool {
    thread::Builder::new()
        .name("svantic-call".to_owned())
        .spawn(move || {
            signals::block();
            inside::become_delivery_thread(&queue);
            let mut worker = Worker::new(queue);
            loop {
                let work = match worker.try_next() {
                    None => {
                        inside::flush();
                        worker.next()
                    }
                    work => work,
                };
                match work {
                    // A bug of ours costs this item and not the thread, whose end whoever frees the agent waits for.
                    Some(work) => {
                        let _ = catch_unwind(AssertUnwindSafe(|| run(worker.queue(), work)));
                    }
                    None if worker.queue().end_worker() => break,
                    None => {}
                }
            }
        })
        .is_ok()
}

fn run(queue: &DeliveryQueue, work: Work) {
    match work {
        Work::Control(control) => run_control(queue, control),
        Work::Dispatch {
            dispatch,
            handler,
            more,
        } => inside::dispatch(more, || run_dispatch(&dispatch, handler)),
    }
}

pub(super) fn run_dispatch(dispatch: &Dispatch, handler: Run) {
    let mut id = [0_u8; MAX_ID_BYTES + 1];
    id[..dispatch.id.len()].copy_from_slice(dispatch.id.as_bytes());
    let length = dispatch.request.len();
    // SAFETY: the caller gave the function and the pointer together. Both texts are NUL-terminated (the id is
    // at most MAX_ID_BYTES long and the array one longer) and outlive the call; no lock is held.
    unsafe {
        (handler.run)(
            handler.data.0,
            id.as_ptr().cast(),
            dispatch.request.with_nul().as_ptr().cast(),
            length,
        );
    }
}

fn run_control(queue: &DeliveryQueue, control: Control) {
    match control {
        Control::Event(event) => run_event(queue, &event),
        Control::Done(done) => run_done(&done),
        Control::Response(reply) => run_response(&reply),
        Control::Release(release) => drop(release),
        // A transport delivers by pull only.
        Control::Frame(_) | Control::Socket(_) => {}
    }
}

fn run_event(queue: &DeliveryQueue, event: &Event) {
    let Some(handler) = queue.event_handler() else {
        return;
    };
    let Some(run) = handler.run else {
        return;
    };
    let mut json = event.data.to_string();
    let length = json.len();
    json.push('\0');
    // SAFETY: as in `run_dispatch`.
    unsafe {
        run(
            handler.owned.data.0,
            event.kind as i32,
            json.as_ptr().cast(),
            length,
        );
    }
}

fn run_done(done: &Done) {
    let Notify::Callback(Some(run), data) = &done.notify else {
        return;
    };
    let (status, mut json) = outcome(&done.result);
    let length = json.len();
    json.push('\0');
    // SAFETY: as in `run_dispatch`.
    unsafe { run(data.0, status as i32, json.as_ptr().cast(), length) };
}

fn run_response(reply: &Reply) {
    let Notify::Callback(Some(run), data) = &reply.notify else {
        return;
    };
    let mut json = part_json(&reply.part, "{");
    json.push('\0');
    // SAFETY: as in `run_dispatch`.
    unsafe { run(data.0, json.as_ptr().cast()) };
}

/// The status and the JSON of an operation's outcome.
pub(super) fn outcome(result: &Result<Output, Error>) -> (svantic_status, String) {
    match result {
        Ok(Output::Nothing) => (svantic_status::Ok, "null".to_owned()),
        Ok(Output::Session { reply, .. } | Output::Reply(reply)) => {
            (svantic_status::Ok, reply.clone())
        }
        Err(error) => (error.kind().into(), error.to_json().to_string()),
    }
}
