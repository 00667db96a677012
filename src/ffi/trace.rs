//! The W3C trace context that the mesh sends along.

use std::ffi::c_char;

use serde_json::{Map, Value, json};

use super::boundary::{check_out, guard_in_any_process, optional_text, text, write};
use super::status::svantic_status;
use super::text::into_c;
use crate::error::{Error, ErrorKind};
use crate::protocol::{trace, trace_context};

/// Parses a W3C traceparent. `*out_json` becomes {"trace_id","span_id","flags"} (32, 16 and 2 lower-case hex digits; the
/// span is the caller's, and the lowest bit of the flags says that it records the trace), or null if it is malformed, all
/// zero or of another version than 00. The caller frees it with svantic_string_free().
///
/// Needs no agent. Any thread; never blocks; works in a forked child. Returns OK; INVALID_ARGUMENT for NULL;
/// INVALID_JSON for what is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_parse_traceparent(
    traceparent: *const c_char,
    out_json: *mut *mut c_char,
) -> svantic_status {
    // SAFETY: passed on from the caller.
    unsafe { parse(traceparent, "traceparent", out_json, read_traceparent) }
}

/// Parses W3C baggage. `*out_json` becomes {"key":"value",...} with decoded values and without properties; a member that is
/// malformed is left out, and of two with one key the last counts. The caller frees it with svantic_string_free().
///
/// Needs no agent. Any thread; never blocks; works in a forked child. Returns OK; INVALID_ARGUMENT for NULL;
/// INVALID_JSON for what is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_parse_baggage(
    baggage: *const c_char,
    out_json: *mut *mut c_char,
) -> svantic_status {
    // SAFETY: passed on from the caller.
    unsafe { parse(baggage, "baggage", out_json, read_baggage) }
}

/// Finds the trace context of a call in its data and in the HTTP headers that it came with: for programs with a server of
/// their own. `*out_json` becomes {"traceparent","parent_trace_id","parent_span_id","baggage":{...},
/// "propagation_headers":{...}}: what a handler is given. The first three are absent without a traceparent that
/// svantic_parse_traceparent() takes; the last is what to send along with calls of your own. The caller frees it with
/// svantic_string_free().
///
/// `data_json`: the call's data, JSON; "traceparent" and "baggage" are looked for in it, then in its "session_context".
/// `headers_json`: where they are looked for last, an object of texts or lists of texts with names in any case; NULL is
/// none. What has another shape holds nothing.
///
/// Needs no agent. Any thread; never blocks; works in a forked child. Returns OK; INVALID_ARGUMENT for NULL; INVALID_JSON
/// for what is not JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_extract_trace_context(
    data_json: *const c_char,
    headers_json: *const c_char,
    out_json: *mut *mut c_char,
) -> svantic_status {
    guard_in_any_process(|| {
        check_out(out_json, "out_json")?;
        // SAFETY: the header asks for NULL or NUL-terminated strings that outlive the call.
        let (data, headers) = unsafe {
            (
                text(data_json, "data_json")?,
                optional_text(headers_json, "headers_json")?,
            )
        };
        let data = json_in(data, "data_json")?;
        let headers = json_in(headers.unwrap_or("null"), "headers_json")?;
        let json = trace_context::extract(&data, &headers).to_string();
        // SAFETY: checked above; the header asks for room for a pointer.
        unsafe { write(out_json, "out_json", into_c(&json)) }
    })
}

fn json_in(text: &str, name: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| {
        let text = format!("`{name}` is not JSON: {error}");
        Error::new(ErrorKind::InvalidJson, "INVALID_JSON", text)
    })
}

fn read_traceparent(text: &str) -> Value {
    trace::parse_traceparent(text).map_or(
        Value::Null,
        |parent| json!({"trace_id": parent.trace_id, "span_id": parent.span_id, "flags": parent.flags}),
    )
}

fn read_baggage(text: &str) -> Value {
    let members = trace::parse_baggage(text);
    let members = members.into_iter().map(|(key, value)| (key, value.into()));
    Value::Object(members.collect::<Map<_, _>>())
}

/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string; `out` is NULL or points to room for a pointer.
unsafe fn parse(
    pointer: *const c_char,
    name: &str,
    out: *mut *mut c_char,
    read: fn(&str) -> Value,
) -> svantic_status {
    guard_in_any_process(|| {
        check_out(out, "out_json")?;
        // SAFETY: by the caller's promise.
        let json = read(unsafe { text(pointer, name) }?).to_string();
        // SAFETY: checked above, and by the caller's promise.
        unsafe { write(out, "out_json", into_c(&json)) }
    })
}
