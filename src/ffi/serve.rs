//! Requests that the application's server takes in, for an agent with a URL of its own.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::boundary::{
    bytes, check_out, check_size, guard, pull_has_no_callbacks, text, timeout, write,
};
use super::callback::svantic_response_fn;
use super::handles::{self, Mesh, svantic_mesh};
use super::inside::may_wait_for;
use super::lanes::{Control, Notify, Reply, UserData};
use super::operations::LONGEST;
use super::status::svantic_status;
use super::text::into_c;
use crate::config::Fields;
use crate::error::{Error, ErrorKind};
use crate::hosted::{Head, ResponsePart};
use crate::protocol::frame_writer::push_json_string;

/// Answers an HTTP request that a server of your own has taken in, for an agent with "public_url", "listen" or "local": the
/// agent's card (GET /.well-known/agent-card.json) and the calls of the mesh and of A2A clients (POST "endpoint_path"). Hand
/// it every request below the agent's path as it came: paths and methods that mean nothing get their 404 and 405.
///
/// `request_json`: {"method":"POST","path":"/send","headers":{"content-type":"application/json"},"peer":"127.0.0.1:5000"}.
/// Names of headers in any case, values text or arrays of texts; those that matter are Content-Type, If-None-Match,
/// A2A-Version, traceparent, baggage and Host. "path" with or without the path of "public_url", and a query is not looked at.
/// "peer" is the address of whoever sent it (as it may be forged, not the one that a header names); if it is missing, those
/// who send forged tokens are not slowed down. `body`, `body_len`: the body, at most 4 MiB; NULL with 0 is none. Copied.
///
/// `out_response_json`: receives {"status":200,"headers":{"content-type":"application/json"},"body":"...","more":false},
/// whole even if it is a stream of events; the caller frees it with svantic_string_free(). Written only on OK. "body" is UTF-8.
///
/// Dispatches run and are limited, counted, drained and answered once as those over the WebSocket; both share one table. With
/// a secret configured ("signing_secret", "shared_secret" or SVANTIC_DISPATCH_SECRET) each call is verified as by
/// svantic_verify_dispatch_auth() before anything is made of its arguments; what fails gets 401, the same for every cause, and
/// the cause is counted in svantic_get_snapshot() and logged now and then. A retry with the same id and the same data gets
/// the same answer and runs nothing. 503 and 429 come with Retry-After.
///
/// Works before svantic_connect(), during svantic_disconnect() (calls that run are finished, new ones get 503) and after it
/// (503).
///
/// Any thread but one that runs callbacks of this agent; blocks until the response is there, for at most `timeout_ms` (0: for as
/// long as the dispatch may take, "dispatch_timeout_ms"), after which the response is a 504 and the dispatch runs on. With
/// "delivery":"pull" another thread must pull and answer meanwhile.
///
/// Returns OK whatever the HTTP status is; INVALID_ARGUMENT or INVALID_JSON for a `request_json` that is no such object or
/// larger than 1 MiB; INVALID_STATE for a transport and for a connected agent without "public_url"; WOULD_DEADLOCK inside a
/// callback of this agent; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_serve(
    mesh: *mut svantic_mesh,
    request_json: *const c_char,
    body: *const c_void,
    body_len: usize,
    timeout_ms: u32,
    out_response_json: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        mesh.connector.require_hosted("svantic_serve")?;
        check_out(out_response_json, "out_response_json")?;
        may_wait_for(&mesh, "svantic_serve")?;
        // SAFETY: passed on from the caller.
        let (head, body) = unsafe { request(request_json, body, body_len) }?;
        let response = serve_whole(&mesh, &head, body, timeout(timeout_ms).unwrap_or(LONGEST));
        let json = part_json(&response, "{");
        // SAFETY: checked above; the header asks for room for a pointer.
        unsafe { write(out_response_json, "out_response_json", into_c(&json)) }
    })
}

/// svantic_serve() that returns at once; the response comes in parts.
///
/// `on_response` is called one or more times if this returns OK, otherwise never: first with
/// {"status":200,"headers":{...},"body":"...","more":true}, then for a stream of events with {"body":"...","more":true} as often
/// as there is something to be sent, and the last one has "more":false. "more" stands at the very end of each. Most responses
/// are one part. Send each part at once.
/// With "delivery":"pull" `on_response` is NULL, and the parts come from svantic_next() as
/// {"type":"response","tag":7,"status":200,"headers":{...},"body":"...","more":false}, with `user_data` as "tag".
///
/// When the client has gone, svantic_cancel() with the same `user_data` ends it: the last part is then
/// {"cancelled":true,"more":false}. Nothing of the dispatch is cancelled: it runs on, and a retry gets its answer.
///
/// When the agent is freed, responses that are not there yet are a 503 (a stream that has begun just ends); with
/// "delivery":"pull" they are discarded.
///
/// Any thread, inside callbacks too; never blocks.
///
/// Returns as svantic_serve(), without WOULD_DEADLOCK; INVALID_ARGUMENT also for an `on_response` that does not fit
/// "delivery".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_serve_async(
    mesh: *mut svantic_mesh,
    request_json: *const c_char,
    body: *const c_void,
    body_len: usize,
    on_response: svantic_response_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        mesh.connector.require_hosted("svantic_serve_async")?;
        let notify = match (mesh.queue.pulls(), on_response) {
            (true, None) => Notify::Tag(user_data.addr()),
            (true, Some(_)) => {
                let hint = "the response comes from svantic_next, with `user_data` as its \"tag\"";
                return Err(pull_has_no_callbacks("on_response", hint));
            }
            (false, None) => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "NULL_ARGUMENT",
                    "`on_response` is NULL: unless \"delivery\" is \"pull\" nobody would get the response",
                ));
            }
            (false, Some(_)) => Notify::Callback(on_response, UserData(user_data)),
        };
        // SAFETY: passed on from the caller.
        let (head, body) = unsafe { request(request_json, body, body_len) }?;
        let queue = Arc::clone(&mesh.queue);
        let respond = move |part| queue.push(Control::Response(Reply { notify, part }));
        let tag = Some(user_data.addr());
        mesh.connector.serve(&head, body, tag, Box::new(respond));
        Ok(())
    })
}

/// Waits for all parts of a response.
fn serve_whole(mesh: &Mesh, head: &Head, body: &[u8], limit: Duration) -> ResponsePart {
    let (sender, receiver) = channel();
    let deadline = Instant::now() + limit;
    let respond = move |part| {
        // Nobody waits any more if the sender outlives the wait.
        let _ = sender.send(part);
    };
    mesh.connector.serve(head, body, None, Box::new(respond));
    let mut whole = ResponsePart::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(part) => {
                whole.head = whole.head.or(part.head);
                whole.body.push_str(&part.body);
                if !part.more {
                    return whole;
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let headers = vec![("content-type", "application/json".to_owned())];
                let body = "{\"error\":\"the dispatch has not been answered in time\"}";
                return ResponsePart::whole(504, headers, body.to_owned());
            }
        }
    }
}

/// # Safety
/// `request_json` is NULL or points to a NUL-terminated string, and `body` is NULL or points to `body_len` bytes; both live
/// and do not change for `'a`.
unsafe fn request<'a>(
    request_json: *const c_char,
    body: *const c_void,
    body_len: usize,
) -> Result<(Head, &'a [u8]), Error> {
    // SAFETY: the caller's promise.
    let json = unsafe { text(request_json, "request_json") }?;
    check_size(json, "the request")?;
    let head = head(json)?;
    // SAFETY: the caller's promise.
    Ok((head, unsafe { bytes(body, body_len, "body") }?))
}

fn head(json: &str) -> Result<Head, Error> {
    let known = ["method", "path", "headers", "peer"];
    let mut fields = Fields::parse(json, "request", &known)?;
    let method = fields
        .text("method")?
        .ok_or_else(|| fields.missing("method", "\"GET\", \"POST\", …"))?;
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| fields.wrong("method", "the name of an HTTP method"))?;
    let path = fields
        .text("path")?
        .ok_or_else(|| fields.missing("path", "the path that was asked for"))?;
    let mut headers = HeaderMap::new();
    if let Some(Value::Object(members)) = fields.object("headers")? {
        for (name, value) in members {
            add_header(&mut headers, &name, &value)
                .map_err(|()| fields.wrong("headers", "an object of texts or arrays of texts"))?;
        }
    }
    Ok(Head {
        method,
        path,
        headers,
        peer: fields.text("peer")?,
    })
}

/// Adds the lines of a header. One that HTTP does not know is none that matters.
fn add_header(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), ()> {
    let lines = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(lines) => lines,
        Value::Null => return Ok(()),
        _ => return Err(()),
    };
    for line in lines {
        let line = line.as_str().ok_or(())?;
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(line)) = (name, HeaderValue::from_bytes(line.as_bytes())) {
            // A map has an end, and nobody needs more than it holds.
            let _ = headers.try_append(name, line);
        }
    }
    Ok(())
}

/// A part as JSON, behind `lead`, which opens the object.
pub(super) fn part_json(part: &ResponsePart, lead: &str) -> String {
    let mut json = String::with_capacity(lead.len() + part.body.len() + 256);
    json.push_str(lead);
    if part.cancelled {
        json.push_str("\"cancelled\":true,\"more\":false}");
        return json;
    }
    if let Some((status, headers)) = &part.head {
        json.push_str("\"status\":");
        json.push_str(&status.to_string());
        json.push_str(",\"headers\":{");
        for (n, (name, value)) in headers.iter().enumerate() {
            if n > 0 {
                json.push(',');
            }
            push_json_string(&mut json, name);
            json.push(':');
            push_json_string(&mut json, value);
        }
        json.push_str("},");
    }
    json.push_str("\"body\":");
    push_json_string(&mut json, &part.body);
    json.push_str(if part.more {
        ",\"more\":true}"
    } else {
        ",\"more\":false}"
    });
    json
}
