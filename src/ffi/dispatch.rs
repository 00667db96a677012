//! Work: taking items in pull delivery, one or many at a time, and answering dispatches in either delivery.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use super::batch_answers;
use super::boundary::{
    check_optional, check_out, guard, optional_text, sized_text, text, write, write_optional,
};
use super::callback::outcome;
use super::handles::{self, Mesh, svantic_mesh};
use super::inside::{self, haste};
use super::lanes::{Control, Item};
use super::serve::part_json;
use super::status::svantic_status;
use super::text::{CText, into_c};
use super::transport::socket_item;
use crate::error::{Error, ErrorKind};

/// The most items that one call hands out.
const MAX_BATCH: usize = 4096;

/// The code of a failure that the handler did not name.
pub(super) const HANDLER_ERROR: &str = "HANDLER_ERROR";

/// Hands out the next item as JSON ("delivery":"pull" only).
///
/// {"type":"dispatch","dispatch_id",...}: the request as in svantic_handler_fn;
/// {"type":"event","event":1,"name":"state","data":{...}}: see svantic_event;
/// {"type":"done","tag":7,"status":0,"result":...} or {"type":"done","tag":7,"status":24,"error":{...}}: the
/// outcome of an _async call, with its `user_data` as "tag"; {"type":"response","tag":7,...}: a part of a response, see
/// svantic_serve_async(); {"type":"frame","frame":{...}} and {"type":"socket",...} of
/// a transport only, see svantic_create_transport(); and last, once, {"type":"closed"}, whether the agent was
/// disconnected or has failed.
/// Ignore types that you do not know.
///
/// `out_item_json`: receives the item, which the caller frees with svantic_string_free(). Written only on OK.
///
/// Any number of threads; each item is handed out once. Blocks until there is an item, for at most `timeout_ms`
/// (0: not at all). Woken by svantic_disconnect(), svantic_free() and svantic_shutdown(); the latter two discard what
/// was not taken yet.
///
/// Returns OK; TIMEOUT if there is none; CANCELLED after the last item; INVALID_STATE unless
/// "delivery" is "pull"; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_next(
    mesh: *mut svantic_mesh,
    timeout_ms: u32,
    out_item_json: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let mesh = pulling(mesh)?;
        check_out(out_item_json, "out_item_json")?;
        let limit = patience(timeout_ms, "svantic_next")?;
        let item = mesh.queue.pull(1, limit)?.pop();
        let json = item.map(item_json).unwrap_or_default();
        // SAFETY: checked above; the header asks for room for a pointer.
        unsafe { write(out_item_json, "out_item_json", into_c(&json)) }
    })
}

/// Hands out up to `max_items` items in one call, as a JSON array of what svantic_next() hands out. For
/// languages whose border is dear: one crossing and one parse for many dispatches.
///
/// `max_items`: 1 to 4096; fewer are handed out where they are larger than 16 MiB together.
/// `out_items_json`: receives the array, which the caller frees with
/// svantic_string_free(); `out_len`: receives its length in bytes (may be NULL). Written only on OK.
///
/// Blocks until there is at least one item. Otherwise as svantic_next().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_next_batch(
    mesh: *mut svantic_mesh,
    max_items: u32,
    timeout_ms: u32,
    out_items_json: *mut *mut c_char,
    out_len: *mut usize,
) -> svantic_status {
    guard(|| {
        let mesh = pulling(mesh)?;
        check_out(out_items_json, "out_items_json")?;
        // Checked before items are taken: they would be lost.
        check_optional(out_len, "out_len")?;
        let max = check_max_items(max_items)?;
        let limit = patience(timeout_ms, "svantic_next_batch")?;
        let items = mesh.queue.pull(max, limit)?;
        let bytes: usize = items.iter().map(bytes_of).sum();
        let mut json = CText::with_capacity(bytes + 2);
        json.push_str("[");
        for item in items {
            if json.len() > 1 {
                json.push_str(",");
            }
            match item {
                Item::Dispatch(dispatch) => json.push_str(dispatch.request.text()),
                other => json.push_str(&item_json(other)),
            }
        }
        json.push_str("]");
        // SAFETY: checked above; the header asks for room for a size_t, or NULL, and for a pointer.
        unsafe {
            write_optional(out_len, "out_len", json.len())?;
            write(out_items_json, "out_items_json", json.into_c())
        }
    })
}

/// About how many bytes an item takes in an array of them.
pub(super) fn bytes_of(item: &Item) -> usize {
    match item {
        Item::Dispatch(dispatch) => dispatch.request.len() + 1,
        Item::Control(Control::Frame(text)) => text.len() + FRAME_LEAD.len() + 2,
        _ => 256,
    }
}

pub(super) fn check_max_items(max_items: u32) -> Result<usize, Error> {
    let max = max_items as usize;
    if (1..=MAX_BATCH).contains(&max) {
        return Ok(max);
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        "OUT_OF_RANGE",
        format!("`max_items` is {max_items}, and must be 1 to {MAX_BATCH}"),
    ))
}

/// Writes a descriptor that is readable while items wait ("delivery":"pull" only), for poll, epoll, libuv and
/// their like.
///
/// When it is readable, call svantic_next() with timeout 0 until it returns TIMEOUT, or some 64 times: the
/// descriptor stays readable while items are left. Its bytes mean nothing and may be left, or read before (not
/// after) svantic_next() is called. It shows the end of the stream when the agent is freed.
///
/// The descriptor is the caller's: close it when done, before or after svantic_free(). POSIX only.
///
/// Any thread; never blocks. Returns OK; INVALID_STATE unless "delivery" is "pull", and after svantic_lifeline_fd();
/// INVALID_ARGUMENT; INVALID_HANDLE; INTERNAL when the process has no descriptors left; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_notify_fd(
    mesh: *mut svantic_mesh,
    out_fd: *mut c_int,
) -> svantic_status {
    guard(|| {
        let mesh = pulling(mesh)?;
        check_out(out_fd, "out_fd")?;
        let fd = mesh.queue.notify_fd()?;
        // SAFETY: checked above; the header asks for room for an int.
        unsafe { write(out_fd, "out_fd", fd) }
    })
}

/// Ends a dispatch with its result: any JSON value. Copied.
///
/// Any thread, inside the handler or later; never blocks. Where the I/O thread sleeps, the calling thread writes the answer to
/// the socket, which saves a wake-up. Answers that are given one by one outside of a handler then leave one by one: whoever
/// has several ready gives them with svantic_answer_batch(), and they leave together.
///
/// Returns OK; NOT_FOUND if the dispatch has ended already (answered, past its deadline, cancelled);
/// INVALID_JSON if the result is not JSON, nested deeper than 64 levels, escapes a lone surrogate or holds a number
/// that no double does (such as 1e999), and INVALID_ARGUMENT if it exceeds "max_frame_bytes": in both cases the
/// dispatch has ended, and the mesh has been given the error INVALID_RESULT or RESULT_TOO_LARGE; INVALID_ARGUMENT also
/// for NULL, which answers nothing; INVALID_STATE for a transport; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_resolve(
    mesh: *mut svantic_mesh,
    dispatch_id: *const c_char,
    result_json: *const c_char,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_resolve")?;
        // SAFETY: the header asks for NULL or NUL-terminated strings that outlive the call.
        let (id, result) = unsafe {
            (
                text(dispatch_id, "dispatch_id")?,
                text(result_json, "result_json"),
            )
        };
        match result {
            Ok(result) => mesh.connector.resolve(id, result, haste(&mesh)),
            // No more JSON than any other broken text: the mesh is told, and the dispatch has ended.
            Err(error) if error.kind() == ErrorKind::InvalidJson => {
                let (flaw, detail) = ("is not JSON", "is not UTF-8");
                mesh.connector.refuse_result(id, flaw, detail, haste(&mesh))
            }
            Err(error) => Err(error),
        }
    })
}

/// Ends a dispatch with an error that the mesh can show. Copied.
///
/// `code`: the code on the wire; NULL is "HANDLER_ERROR", the handler's own failure, to whose message the mesh
/// is told which capability failed. `message`: what went wrong, for people; keep secrets and paths out of it.
///
/// Any thread, inside the handler or later; never blocks.
///
/// Returns OK; NOT_FOUND if the dispatch has ended already; INVALID_ARGUMENT; INVALID_JSON for text that is not
/// UTF-8; INVALID_STATE for a transport; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_reject(
    mesh: *mut svantic_mesh,
    dispatch_id: *const c_char,
    code: *const c_char,
    message: *const c_char,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_reject")?;
        // SAFETY: the header asks for NULL or NUL-terminated strings that outlive the call.
        let (id, code, message) = unsafe {
            (
                text(dispatch_id, "dispatch_id")?,
                optional_text(code, "code")?.unwrap_or(HANDLER_ERROR),
                text(message, "message")?,
            )
        };
        check_code(code)?;
        mesh.connector.reject(id, code, message, haste(&mesh))
    })
}

/// What the mesh can show as a code.
pub(super) fn check_code(code: &str) -> Result<(), Error> {
    if code.is_empty() || code.len() > 128 || code.chars().any(char::is_control) {
        let text = "`code` must have 1 to 128 characters and no control characters";
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_ARGUMENT",
            text,
        ));
    }
    Ok(())
}

/// Ends many dispatches in one call.
///
/// `answers_json`: an array of {"dispatch_id":"...","result":any} and
/// {"dispatch_id":"...","error":{"code":"...","message":"..."}}, `answers_len` bytes. A missing "result" is
/// null, a missing "code" is "HANDLER_ERROR". Or, where there are results only, what costs less to write: an array of
/// a dispatch_id, its result, the next dispatch_id, and so on. `out_refused`: receives how many of them had ended already, or
/// had a result that was too deep or too large, or was refused by svantic_resolve() for a text or a number in it (may be
/// NULL); a warning among the log events names each of the latter.
///
/// Any thread; never blocks. All or nothing: if the text is not such an array, no dispatch is answered.
///
/// Returns OK; INVALID_JSON; INVALID_ARGUMENT; INVALID_STATE for a transport; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_answer_batch(
    mesh: *mut svantic_mesh,
    answers_json: *const c_char,
    answers_len: usize,
    out_refused: *mut u32,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_answer_batch")?;
        check_optional(out_refused, "out_refused")?;
        // SAFETY: the header asks for NULL or answers_len bytes that outlive the call.
        let json = unsafe { sized_text(answers_json, answers_len, "answers_json") }?;
        let refused = batch_answers::give(&mesh, json)?;
        // SAFETY: checked above; the header asks for room for a uint32_t, or NULL.
        unsafe { write_optional(out_refused, "out_refused", refused) }
    })
}

/// How long a pull may wait, if it may at all where it is called.
pub(super) fn patience(timeout_ms: u32, function: &str) -> Result<Duration, Error> {
    if timeout_ms > 0 {
        inside::may_wait(function)?;
    }
    Ok(Duration::from_millis(timeout_ms.into()))
}

pub(super) fn pulling(mesh: *mut svantic_mesh) -> Result<std::sync::Arc<Mesh>, Error> {
    let mesh = handles::get(mesh)?;
    if mesh.queue.pulls() {
        return Ok(mesh);
    }
    Err(Error::new(
        ErrorKind::InvalidState,
        "NOT_PULLING",
        "this agent calls back, and hands nothing out",
    )
    .hint("create it with \"delivery\":\"pull\""))
}

/// What stands in front of a frame's own text: what that says is nobody's business here.
const FRAME_LEAD: &str = "{\"type\":\"frame\",\"frame\":";

pub(super) fn item_json(item: Item) -> String {
    match item {
        Item::Dispatch(dispatch) => dispatch.request.text().to_owned(),
        Item::Closed => "{\"type\":\"closed\"}".to_owned(),
        Item::Control(Control::Event(event)) => format!(
            "{{\"type\":\"event\",\"event\":{},\"name\":\"{}\",\"data\":{}}}",
            event.kind as i32,
            event.kind.name(),
            event.data
        ),
        Item::Control(Control::Done(done)) => {
            let tag = done.notify.tag();
            let (status, json) = outcome(&done.result);
            let field = if done.result.is_ok() {
                "result"
            } else {
                "error"
            };
            let status = status as i32;
            format!("{{\"type\":\"done\",\"tag\":{tag},\"status\":{status},\"{field}\":{json}}}")
        }
        Item::Control(Control::Response(reply)) => {
            let tag = reply.notify.tag();
            part_json(
                &reply.part,
                &format!("{{\"type\":\"response\",\"tag\":{tag},"),
            )
        }
        Item::Control(Control::Frame(text)) => [FRAME_LEAD, &text, "}"].concat(),
        Item::Control(Control::Socket(request)) => socket_item(&request),
        Item::Control(Control::Release(_)) => "{\"type\":\"none\"}".to_owned(),
    }
}
