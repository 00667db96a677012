//! What waits for the mesh: each operation in a blocking form and an `_async` twin.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::boundary::{
    check_out, guard, optional_text, pull_has_no_callbacks, text, timeout, write,
};
use super::callback::svantic_done_fn;
use super::handles::{self, Mesh, svantic_mesh};
use super::inside::{may_wait, may_wait_for};
use super::lanes::{Control, Done, Notify, UserData};
use super::status::svantic_status;
use super::text::into_c;
use crate::connector::{Completion, MeshConnector};
use crate::error::{Error, ErrorKind};
use crate::machine::action::Output;

/// Every operation ends by a deadline of its own. This is what is waited beyond it before a bug is assumed.
const GRACE: Duration = Duration::from_secs(30);

/// The longest `timeout_ms`, for the same purpose, when the caller sets no limit.
pub(super) const LONGEST: Duration = Duration::from_hours(2);

/// Starts an operation and waits for its outcome; `function` is who asks.
pub(super) fn block(
    mesh: &Mesh,
    function: &str,
    timeout_ms: u32,
    start: impl FnOnce(&MeshConnector, Option<Duration>, Completion) -> Result<(), Error>,
) -> Result<Output, Error> {
    may_wait(function)?;
    let (sender, receiver) = sync_channel(1);
    let limit = timeout(timeout_ms);
    let done = Completion::new(move |result| {
        // Nobody waits any more if the sender outlives the wait.
        let _ = sender.send(result);
    });
    start(&mesh.connector, limit, done)?;
    match receiver.recv_timeout(limit.unwrap_or(LONGEST) + GRACE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Error::new(
            ErrorKind::Internal,
            "NO_OUTCOME",
            "a bug in libsvantic: the operation did not end",
        )),
    }
}

/// Starts an operation whose outcome goes to `done`, or into the pull queue with a tag.
pub(super) fn begin(
    mesh: &Mesh,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
    start: impl FnOnce(&MeshConnector, Option<Duration>, Completion) -> Result<(), Error>,
) -> Result<(), Error> {
    let notify = if mesh.queue.pulls() {
        if done.is_some() {
            let hint = "the outcome comes from svantic_next, with `user_data` as its \"tag\"";
            return Err(pull_has_no_callbacks("done", hint));
        }
        Notify::Tag(user_data.addr())
    } else {
        Notify::Callback(done, UserData(user_data))
    };
    let queue = Arc::clone(&mesh.queue);
    let completion = Completion::tagged(user_data.addr(), move |result| {
        queue.push(Control::Done(Done { notify, result }));
    });
    start(&mesh.connector, timeout(timeout_ms), completion)
}

/// Starts an operation that nothing keeps from being started: what is wrong is its outcome.
fn always(
    start: impl FnOnce(&MeshConnector, Option<Duration>, Completion),
) -> impl FnOnce(&MeshConnector, Option<Duration>, Completion) -> Result<(), Error> {
    |mesh, limit, done| {
        start(mesh, limit, done);
        Ok(())
    }
}

/// Gets a token, registers the agent, and opens the WebSocket. Afterwards a lost connection is made again by
/// itself, for ever, except for final causes (state SVANTIC_STATE_FAILED).
///
/// `timeout_ms`: how long to try; 0 means the configured "timeout_ms". Passing failures (network, 5xx, 429)
/// are retried within it, unless "fail_fast" is set. After a failure the agent is IDLE as before and
/// svantic_connect() may be called again, except when the mesh refused it for good (FAILED).
///
/// Any thread; blocks until connected or failed, for at most `timeout_ms`.
///
/// Returns OK; AUTH when the credentials are refused; REMOTE when the mesh refuses the agent; NETWORK or TLS;
/// TIMEOUT when a step was never answered; PROTOCOL for a reply that makes no sense (such as a connect_url on
/// a foreign host, which is never dialed); INVALID_STATE when already connected or closed; CANCELLED;
/// INVALID_HANDLE; FORKED. svantic_last_error() says which step failed, on which URL, with which status and
/// code, and what to do.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_connect(mesh: *mut svantic_mesh, timeout_ms: u32) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        let start = always(MeshConnector::connect);
        block(&mesh, "svantic_connect", timeout_ms, start).map(drop)
    })
}

/// svantic_connect() that returns at once.
///
/// `done` is called exactly once with the outcome if this returns OK, otherwise never. It may be NULL. With
/// "delivery":"pull" it must be NULL, and the outcome comes from svantic_next() with `user_data` as an integer
/// in "tag". svantic_cancel() with the same `user_data` ends it early. This holds for every _async function with a `done`.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_connect_async(
    mesh: *mut svantic_mesh,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        let start = always(MeshConnector::connect);
        begin(&mesh, timeout_ms, done, user_data, start)
    })
}

/// Ends the pending _async operations of this agent that were started with this `user_data` (its "tag" with
/// "delivery":"pull"), each with CANCELLED. Their completions come as always, exactly once, on a delivery thread or from
/// svantic_next(). NULL matches those that were started with NULL.
///
/// connect: the attempt is over and nothing of it goes on; the agent is IDLE, and svantic_connect() may be called again.
/// If the mesh may have taken its registration, svantic_disconnect() and svantic_free() deregister.
/// disconnect: is not taken back, but running dispatches are no longer waited for: they are answered with
/// AGENT_SHUTDOWN, and the rest of the farewell takes place in the background until the agent is CLOSED.
/// create_session: a session that the mesh opens all the same is closed again in the background.
/// svantic_serve_async: only the wait for the response ends, see there.
/// close_session: the session is closed in the background. re_register and refresh_token: only the wait ends; what the
/// mesh was told stands, and a token that comes is used. request: it is dropped and not tried again; whether the mesh has
/// taken it, only the mesh knows.
///
/// An operation whose outcome is on its way is not pending any more, and ends with that outcome. The blocking forms
/// cannot be cancelled: they end by `timeout_ms`, svantic_free() and svantic_shutdown().
///
/// Any thread, inside callbacks too; never blocks.
///
/// Returns OK if at least one was pending, otherwise NOT_FOUND; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_cancel(
    mesh: *mut svantic_mesh,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        if mesh.connector.cancel(user_data.addr()) {
            return Ok(());
        }
        let text = "no operation that was started with this user_data is pending";
        Err(Error::new(ErrorKind::NotFound, "NOT_PENDING", text)
            .hint("its outcome has been delivered or is on its way"))
    })
}

/// Leaves the mesh: takes no new dispatches (they are answered with AGENT_SHUTDOWN), lets running ones finish
/// for `timeout_ms` (0: the configured "drain_timeout_ms"), answers the rest with AGENT_SHUTDOWN, closes the
/// WebSocket and deregisters. A second call while one is under way does not wait for the running dispatches.
///
/// An agent that was never connected is closed at once. Afterwards the agent is CLOSED, which is final: free it.
///
/// Any thread but one that runs callbacks of this agent; blocks for at most `timeout_ms` plus 6 seconds for the
/// close handshake and the farewell. With "delivery":"pull" a thread that answers dispatches must not block
/// here: use the _async form and go on pulling.
///
/// Returns OK; WOULD_DEADLOCK from inside a callback of this agent; INVALID_STATE when closed or failed;
/// CANCELLED; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_disconnect(mesh: *mut svantic_mesh, timeout_ms: u32) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        may_wait_for(&mesh, "svantic_disconnect")?;
        let start = always(MeshConnector::disconnect);
        block(&mesh, "svantic_disconnect", timeout_ms, start).map(drop)
    })
}

/// svantic_disconnect() that returns at once; may be called from a callback. See svantic_connect_async().
#[unsafe(no_mangle)]
pub extern "C" fn svantic_disconnect_async(
    mesh: *mut svantic_mesh,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        let start = always(MeshConnector::disconnect);
        begin(&mesh, timeout_ms, done, user_data, start)
    })
}

/// Replaces the token without a reconnect.
///
/// `jwt`: the token to use from now on; NULL exchanges the credentials for a new one now (the library also does
/// so by itself at 70 to 80 % of a token's life). Copied.
///
/// With "token_provider" in the configuration this answers SVANTIC_EVENT_TOKEN_WANTED, within
/// "token_provider_timeout_ms" of it; NULL asks for that event. It may also be called without being asked.
///
/// A `jwt` that is known to be of no use is turned away with AUTH and nothing is dialed with it: one whose "exp" is not
/// after its "iat", one that the mesh has refused, and the one in use once it has expired. The time of day is not
/// looked at, since a wrong clock would turn good tokens away; a life counts from the call that supplied the token, the
/// first one if there are several.
///
/// Any thread, also inside a callback of this agent; with a `jwt` it does not wait for the mesh or for a callback, with NULL
/// it waits for at most `timeout_ms`. Inside a callback of an agent with "token_provider", use the _async form with
/// NULL, as for every call that may need a token: the event is not delivered before that callback has returned.
///
/// Returns OK; INVALID_ARGUMENT for a `jwt` that cannot be a token, or NULL when the agent was created with a
/// token of its own; AUTH; NETWORK; TLS; REMOTE; TIMEOUT; INVALID_STATE when closed; CANCELLED;
/// INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_refresh_token(
    mesh: *mut svantic_mesh,
    jwt: *const c_char,
    timeout_ms: u32,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let jwt = unsafe { optional_text(jwt, "jwt") }?;
        block(
            &mesh,
            "svantic_refresh_token",
            timeout_ms,
            |mesh, limit, done| mesh.refresh_token(jwt.map(str::to_owned), limit, done),
        )
        .map(drop)
    })
}

/// svantic_refresh_token() that returns at once. See svantic_connect_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_refresh_token_async(
    mesh: *mut svantic_mesh,
    jwt: *const c_char,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let jwt = unsafe { optional_text(jwt, "jwt") }?;
        begin(&mesh, timeout_ms, done, user_data, |mesh, limit, done| {
            mesh.refresh_token(jwt.map(str::to_owned), limit, done)
        })
    })
}

/// Announces today's capabilities to the mesh; the WebSocket stays open. During an outage it is done with the
/// next connection.
///
/// Any thread; blocks until the mesh has the list, for at most `timeout_ms` (0: the configured default).
///
/// Returns OK; INVALID_STATE when not connected; AUTH; REMOTE; NETWORK; TLS; TIMEOUT; CANCELLED;
/// INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_re_register(mesh: *mut svantic_mesh, timeout_ms: u32) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_re_register")?;
        let start = always(MeshConnector::re_register);
        block(&mesh, "svantic_re_register", timeout_ms, start).map(drop)
    })
}

/// svantic_re_register() that returns at once. See svantic_connect_async().
#[unsafe(no_mangle)]
pub extern "C" fn svantic_re_register_async(
    mesh: *mut svantic_mesh,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_re_register")?;
        let start = always(MeshConnector::re_register);
        begin(&mesh, timeout_ms, done, user_data, start)
    })
}

/// Opens a session with the mesh.
///
/// `options_json`: an object sent along with the instance id, such as {"user_id":"u1"}; NULL is {}.
/// `out_session_id`: receives the session's id, which the caller frees with svantic_string_free(). Written
/// only on OK.
///
/// Any thread; blocks for at most `timeout_ms` (0: the configured default).
///
/// Returns OK; INVALID_STATE when not connected; INVALID_JSON; INVALID_ARGUMENT; AUTH; REMOTE; NETWORK; TLS;
/// TIMEOUT; PROTOCOL; CANCELLED; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_create_session(
    mesh: *mut svantic_mesh,
    options_json: *const c_char,
    timeout_ms: u32,
    out_session_id: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_create_session")?;
        check_out(out_session_id, "out_session_id")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let options = unsafe { optional_text(options_json, "options_json") }?.unwrap_or("{}");
        let output = block(
            &mesh,
            "svantic_create_session",
            timeout_ms,
            |mesh, limit, done| mesh.create_session(options, limit, done),
        )?;
        let Output::Session { session_id, .. } = output else {
            let text = "a bug in libsvantic: the session has no id";
            return Err(Error::new(ErrorKind::Internal, "NO_SESSION", text));
        };
        // SAFETY: checked above; the header asks for room for a pointer.
        unsafe { write(out_session_id, "out_session_id", into_c(&session_id)) }
    })
}

/// svantic_create_session() that returns at once; the result is the mesh's reply, with "session_id" in it. See
/// svantic_connect_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_create_session_async(
    mesh: *mut svantic_mesh,
    options_json: *const c_char,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_create_session")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let options = unsafe { optional_text(options_json, "options_json") }?.unwrap_or("{}");
        begin(&mesh, timeout_ms, done, user_data, |mesh, limit, done| {
            mesh.create_session(options, limit, done)
        })
    })
}

/// Closes a session.
///
/// Any thread; blocks for at most `timeout_ms` (0: the configured default).
///
/// Returns OK; NOT_FOUND when the mesh knows no such session; INVALID_STATE when not connected;
/// AUTH; REMOTE; NETWORK; TLS; TIMEOUT; CANCELLED; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_close_session(
    mesh: *mut svantic_mesh,
    session_id: *const c_char,
    timeout_ms: u32,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_close_session")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let session_id = unsafe { text(session_id, "session_id") }?;
        let start = always(|mesh, limit, done| mesh.close_session(session_id, limit, done));
        block(&mesh, "svantic_close_session", timeout_ms, start).map(drop)
    })
}

/// svantic_close_session() that returns at once. See svantic_connect_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_close_session_async(
    mesh: *mut svantic_mesh,
    session_id: *const c_char,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_close_session")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let session_id = unsafe { text(session_id, "session_id") }?;
        let start = always(|mesh, limit, done| mesh.close_session(session_id, limit, done));
        begin(&mesh, timeout_ms, done, user_data, start)
    })
}
