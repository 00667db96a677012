//! The W3C trace context that the mesh sends along.

use std::ffi::c_char;

use serde_json::{Map, Value, json};

use super::boundary::{check_out, guard_in_any_process, text, write};
use super::status::svantic_status;
use super::text::into_c;
use crate::protocol::trace;

/// Parses a W3C traceparent. `*out_json` becomes {"trace_id","span_id"} (32 and 16 lower-case hex digits; the span is the
/// caller's), or null if it is malformed, all zero or of another version than 00. The caller frees it with
/// svantic_string_free().
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

fn read_traceparent(text: &str) -> Value {
    trace::parse_traceparent(text).map_or(
        Value::Null,
        |parent| json!({"trace_id": parent.trace_id, "span_id": parent.span_id}),
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
