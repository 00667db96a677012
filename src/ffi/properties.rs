//! What can be asked of a mesh handle at any time. Nothing here blocks.

use std::ffi::c_char;

use secrecy::ExposeSecret as _;

use super::boundary::{check_out, guard, write};
use super::handles::{self, Mesh, svantic_mesh};
use super::status::svantic_status;
use super::text::into_c;
use crate::error::{Error, ErrorKind};

/// Writes where the connector is: an svantic_state value.
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_state(
    mesh: *mut svantic_mesh,
    out_state: *mut i32,
) -> svantic_status {
    guard(|| {
        let state = handles::get(mesh)?.connector.state() as i32;
        // SAFETY: the header asks for room for an int32_t.
        unsafe { write(out_state, "out_state", state) }
    })
}

/// Writes whether a registration is active, which is not the same as an open WebSocket: during an outage it
/// stays true.
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_connected(
    mesh: *mut svantic_mesh,
    out_connected: *mut bool,
) -> svantic_status {
    guard(|| {
        let connected = handles::get(mesh)?.connector.connected();
        // SAFETY: the header asks for room for a bool.
        unsafe { write(out_connected, "out_connected", connected) }
    })
}

/// Writes a text that the caller frees.
///
/// # Safety
/// `out` is NULL or points to room for a pointer.
unsafe fn write_text(
    mesh: *mut svantic_mesh,
    out: *mut *mut c_char,
    name: &str,
    read: impl FnOnce(&Mesh) -> Result<String, Error>,
) -> Result<(), Error> {
    let mesh = handles::get(mesh)?;
    check_out(out, name)?;
    let text = read(&mesh)?;
    // SAFETY: checked above, and the caller's promise.
    unsafe { write(out, name, into_c(&text)) }
}

/// Writes the mesh's base URL, which the caller frees with svantic_string_free().
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_svantic_url(
    mesh: *mut svantic_mesh,
    out_svantic_url: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let read = |mesh: &Mesh| Ok(mesh.connector.svantic_url().to_owned());
        // SAFETY: the header asks for room for a pointer.
        unsafe { write_text(mesh, out_svantic_url, "out_svantic_url", read) }
    })
}

/// Writes the JWT in use, which the caller frees with svantic_string_free(). It is a secret: keep it out of
/// logs.
///
/// Any thread; never blocks. Returns OK; INVALID_STATE while there is none; INVALID_ARGUMENT; INVALID_HANDLE;
/// FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_token(
    mesh: *mut svantic_mesh,
    out_token: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let none =
            "there is no token: the agent has not connected, or the mesh has refused the last one";
        let read = |mesh: &Mesh| match mesh.connector.token() {
            Some(token) => Ok(token.expose_secret().to_owned()),
            None => Err(Error::new(ErrorKind::InvalidState, "NO_TOKEN", none)
                .hint("connect, or give a new token")),
        };
        // SAFETY: the header asks for room for a pointer.
        unsafe { write_text(mesh, out_token, "out_token", read) }
    })
}

/// Writes "connected" or "hosted", which the caller frees with svantic_string_free().
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_deployment_mode(
    mesh: *mut svantic_mesh,
    out_deployment_mode: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let read = |mesh: &Mesh| Ok(mesh.connector.deployment_mode().as_str().to_owned());
        // SAFETY: the header asks for room for a pointer.
        unsafe { write_text(mesh, out_deployment_mode, "out_deployment_mode", read) }
    })
}

/// Writes the instance's id, given or generated, which the caller frees with svantic_string_free().
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_instance_id(
    mesh: *mut svantic_mesh,
    out_instance_id: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let read = |mesh: &Mesh| Ok(mesh.connector.instance_id().to_owned());
        // SAFETY: the header asks for room for a pointer.
        unsafe { write_text(mesh, out_instance_id, "out_instance_id", read) }
    })
}

/// Writes the A2A agent card with today's capabilities as JSON, which the caller frees with
/// svantic_string_free().
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_agent_card(
    mesh: *mut svantic_mesh,
    out_card_json: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let read = |mesh: &Mesh| Ok(mesh.connector.agent_card().to_string());
        // SAFETY: the header asks for room for a pointer.
        unsafe { write_text(mesh, out_card_json, "out_card_json", read) }
    })
}

/// Writes what is worth knowing when looking for a fault, as JSON without secrets. The caller frees it with
/// svantic_string_free(). Its keys, which may grow (times are in ms, and null is "none"):
///
/// "health": {"live","ready","reason"}. live: the I/O thread runs, and is at most 5 s late with what is due. ready: work can
/// arrive, that is, the link is up (and not silent for 10 s since it was asked for a sign of life), the token is valid,
/// dispatches are picked up, and the agent does not drain; with "local" neither link nor token is needed. reason: a sentence
/// when it is not ready.
/// "state", "since_ms" (in it), "link", "connected", "backoff_attempts", "next_attempt_ms" (until then), "last_failure".
/// "connection": {"no","age_ms","last_inbound_age_ms","fence_level"}; "last_outbound_age_ms".
/// "token": {"generation","seconds_left"}; "registration_revision".
/// "in_flight" (a number); "dispatches": the oldest 100 without an answer, {"id","age_ms","phase"}, with "running" or,
/// before there is a slot, "queued"; "queue": {"items","bytes"} of the latter; "dedupe_entries": ids that are known.
/// "outbox": the oldest 100 ids whose answers are not proven to have been read; "outbox_items", "outbox_bytes".
/// "calls_waiting": calls of svantic_serve() and "listen" without an answer; "dispatch_auth_refused": how many were not
/// believed, by cause; "listening": the address of "listen", there with it only.
/// "events": the latest 20, newest first, {"name","age_ms"}.
/// "counters": numbers, and by cause "disconnects", "results_sent", "results_dropped_by_reason", "duplicates_by_phase",
/// "frames_rejected", "token_requests_by_outcome".
///
/// Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_get_snapshot(
    mesh: *mut svantic_mesh,
    out_snapshot_json: *mut *mut c_char,
) -> svantic_status {
    guard(|| {
        let read = |mesh: &Mesh| Ok(mesh.connector.snapshot().to_string());
        // SAFETY: the header asks for room for a pointer.
        unsafe { write_text(mesh, out_snapshot_json, "out_snapshot_json", read) }
    })
}
