//! What the application asks the mesh by itself, in a blocking form and an `_async` twin.

use std::ffi::{c_char, c_void};

use super::boundary::{check_out, guard, optional_text, text, write};
use super::callback::svantic_done_fn;
use super::handles::{self, svantic_mesh};
use super::operations::{begin, block};
use super::status::svantic_status;
use super::text::into_c;
use crate::error::{Error, ErrorKind};
use crate::machine::action::Output;

/// POSTs JSON to the mesh, for endpoints that have no function of their own, or for programs that register an agent by
/// themselves. Works with and without svantic_connect(), which it does not replace: what an answer means is up to you.
///
/// `path`: below "svantic_url", such as "/agents/register"; it may have a query, which no error shows. `body_json`: what
/// is sent, at most 1 MiB. `headers_json`: an object of texts, such as {"X-Tenant":"t1"}, sent along; NULL is none. No
/// log and no error shows their values. "Authorization", "Proxy-Authorization", "Host", "Content-*", "Accept-Encoding",
/// "Expect", "Cookie" and what belongs to the connection (RFC 9110, 7.6.1) are refused. At most 2048 bytes of path, 64
/// headers and 16 KiB of them.
///
/// The token in use is shown; if there is none it is got first, as by svantic_refresh_token() with NULL. A 401 gets
/// another token, once, and repeats the request with it. Failures that pass (network, TLS, 408, 425, 429, 5xx) are
/// repeated within `timeout_ms` after the waits of svantic_connect(), "Retry-After" among them, unless "fail_fast" is
/// set; so the mesh may get a request more than once. Every other answer stands: redirects are not followed.
///
/// `out_reply_json`: receives the body of the reply, JSON of at most 1 MiB, null if it is empty; the caller frees it with
/// svantic_string_free(). Written only on OK, which is every status from 200 to 299.
///
/// Any thread; blocks for at most `timeout_ms` (0: the configured default). Inside a callback of an agent with
/// "token_provider", use the _async form. While the agent drains it goes on as usual, and ends with the draining.
///
/// Returns OK; INVALID_ARGUMENT for a path that leads elsewhere, a header that is refused, or what is too large;
/// INVALID_JSON; AUTH; REMOTE when the mesh refuses, with its code and HTTP status; NETWORK; TLS; TIMEOUT; PROTOCOL for a
/// reply that is not JSON; INVALID_STATE when closed, or for a transport; CANCELLED; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_request(
    mesh: *mut svantic_mesh,
    path: *const c_char,
    body_json: *const c_char,
    headers_json: *const c_char,
    timeout_ms: u32,
    out_reply_json: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_request")?;
        check_out(out_reply_json, "out_reply_json")?;
        // SAFETY: passed on from the caller.
        let (path, body, headers) = unsafe { arguments(path, body_json, headers_json) }?;
        let output = block(&mesh, "svantic_request", timeout_ms, |mesh, limit, done| {
            mesh.request(path, body, headers, limit, done)
        })?;
        let Output::Reply(reply) = output else {
            let text = "a bug in libsvantic: the request has no reply";
            return Err(Error::new(ErrorKind::Internal, "NO_REPLY", text));
        };
        // SAFETY: checked above; the header asks for room for a pointer.
        unsafe { write(out_reply_json, "out_reply_json", into_c(&reply)) }
    })
}

/// svantic_request() that returns at once; the result is the mesh's reply. See svantic_connect_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_request_async(
    mesh: *mut svantic_mesh,
    path: *const c_char,
    body_json: *const c_char,
    headers_json: *const c_char,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_request")?;
        // SAFETY: passed on from the caller.
        let (path, body, headers) = unsafe { arguments(path, body_json, headers_json) }?;
        begin(&mesh, timeout_ms, done, user_data, |mesh, limit, done| {
            mesh.request(path, body, headers, limit, done)
        })
    })
}

/// # Safety
/// Each is NULL or points to a NUL-terminated string that lives and does not change for `'a`.
unsafe fn arguments<'a>(
    path: *const c_char,
    body_json: *const c_char,
    headers_json: *const c_char,
) -> Result<(&'a str, &'a str, Option<&'a str>), Error> {
    // SAFETY: the caller's promise.
    unsafe {
        Ok((
            text(path, "path")?,
            text(body_json, "body_json")?,
            optional_text(headers_json, "headers_json")?,
        ))
    }
}
