//! A transport: the WebSocket alone, for programs that speak the protocol above it themselves.

use std::ffi::{c_char, c_void};

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::boundary::{guard, optional_text, sized_text};
use super::callback::svantic_done_fn;
use super::handles::{self, svantic_mesh};
use super::mesh;
use super::operations::{begin, block};
use super::status::svantic_status;
use crate::config::Config;
use crate::connector::{SocketEvent, SocketRequest};
use crate::error::{Error, ErrorKind};
use crate::protocol::frame_writer::push_json_string;
use crate::protocol::limits::SUBPROTOCOL;

/// The close code and reason that are used when none are given.
const DEFAULT_CODE: u16 = 1000;
const DEFAULT_REASON: &str = "client_close";

/// What a close frame can hold beside its code.
const MAX_REASON_BYTES: usize = 123;

/// Creates a transport: the WebSocket of an agent without the agent. Token, hello, welcome, pings, deadlines, reconnection
/// and URL policy are the library's; registration, heartbeats, dispatches and answers are the caller's. Most programs
/// want svantic_create() instead. Opens no socket and starts no thread.
///
/// `config_json`: an object. "connect_url" (from the reply of POST /agents/register; wss, or ws to loopback or with
/// "allow_insecure"; "instance_id" is added to its query if it is missing), "hello" (the payload of the first frame, sent as
/// it is written; its "instance_id" is required) and "token", or "token_provider" (true), are required. Other keys:
/// "external_socket" (see svantic_socket_event()), "hello_id" and "hello_ts" (of the first hello frame), "fail_fast" (true
/// without "auto_reconnect", otherwise false), and as for svantic_create() "timeout_ms", "welcome_timeout_ms",
/// "auto_reconnect", "reconnect_delays_ms", "allow_insecure", "ca_file", "client_cert_file" with "client_key_file", "proxy",
/// "max_frame_bytes", "http_timeout_ms", "stage_timeout_ms", "attempt_timeout_ms", "ping_interval_ms", "dead_after_ms",
/// "drain_timeout_ms", "token_provider_timeout_ms". An unknown key is an error that names it.
///
/// The handle works as that of an agent in pull delivery. svantic_connect() ends when the welcome is there, and afterwards a
/// lost connection is made again by itself; with "auto_reconnect" false it becomes IDLE instead, with
/// SVANTIC_EVENT_DISCONNECTED, and svantic_connect() may be called again. svantic_disconnect() and
/// svantic_close_transport() make it CLOSED; nothing is deregistered. What belongs to an agent (capabilities, sessions,
/// answers, registration) returns INVALID_STATE. svantic_get_connected() says whether the link is up.
///
/// Items of svantic_next() beside events and outcomes: {"type":"frame","frame":{...}} for each frame from the mesh, as it
/// came: the welcome first, then those that came before it, then all others, in their order among the events. One
/// that is no JSON object, is nested deeper than 64 levels or holds more than 100,000 values is left out and counted. An
/// event STATE is also told when the socket is open and the welcome awaited ("link":"handshaking"), and when it no longer is.
/// Frames that are not taken are kept up to 16384 or 64 MiB; then the link is dropped, and made again.
///
/// An instance that the mesh does not know (404) fails the first connect with the mesh's code; later it is told by
/// SVANTIC_EVENT_INSTANCE_FORGOTTEN, and dialed again after a wait: register it anew.
///
/// `out_mesh`: receives the handle, which the caller releases with svantic_free(). Written only on OK.
///
/// Any thread; does not block (it reads "ca_file", "client_cert_file" and "client_key_file").
///
/// Returns OK; INVALID_ARGUMENT for a missing or wrong value, an unknown key or a URL that must not see the token;
/// INVALID_JSON; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_create_transport(
    config_json: *const c_char,
    out_mesh: *mut *mut svantic_mesh,
) -> svantic_status {
    // SAFETY: passed on from the caller.
    unsafe { mesh::create(config_json, out_mesh, Config::parse_transport) }
}

/// Sends a frame over a transport, as it is written.
///
/// `frame_json`: a JSON object of `frame_len` bytes, nested at most 64 levels deep and of at most 100,000 values.
/// Copied.
///
/// OK means that it has been handed to the link. Whether the peer has read it only its answer can tell: what is on its way
/// when the connection ends is lost.
///
/// Any thread; never blocks.
///
/// Returns OK; INVALID_STATE with the code NOT_READY while there is no welcome, BACKLOG_FULL when 64 MiB wait to be
/// written already (with "external_socket": 64 MiB or 16384 frames to be taken by svantic_next()), or NOT_A_TRANSPORT;
/// INVALID_JSON for what is not such an object; INVALID_ARGUMENT for NULL, or for more than "max_frame_bytes";
/// INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_send_frame(
    mesh: *mut svantic_mesh,
    frame_json: *const c_char,
    frame_len: usize,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        // SAFETY: the header asks for NULL or frame_len bytes that outlive the call.
        let frame = unsafe { sized_text(frame_json, frame_len, "frame_json") }?;
        mesh.connector.send_frame(frame)
    })
}

/// svantic_disconnect() of a transport, with a close frame of the caller's choice.
///
/// `code`: 1000, 1001, 3000 to 4999, or 0 for 1000. `reason`: at most 123 bytes; NULL is "client_close".
///
/// Any thread; blocks until the peer has answered the close frame, for at most a second, whatever `timeout_ms` is.
///
/// Returns OK; INVALID_STATE when closed or failed, or for an agent; INVALID_ARGUMENT; INVALID_JSON for a `reason` that is
/// not UTF-8; CANCELLED; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_close_transport(
    mesh: *mut svantic_mesh,
    code: u32,
    reason: *const c_char,
    timeout_ms: u32,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let (code, reason) = unsafe { goodbye(code, reason) }?;
        block(
            &mesh,
            "svantic_close_transport",
            timeout_ms,
            |mesh, limit, done| mesh.close_transport(code, reason, limit, done),
        )
        .map(drop)
    })
}

/// svantic_close_transport() that returns at once. See svantic_connect_async().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_close_transport_async(
    mesh: *mut svantic_mesh,
    code: u32,
    reason: *const c_char,
    timeout_ms: u32,
    done: svantic_done_fn,
    user_data: *mut c_void,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let (code, reason) = unsafe { goodbye(code, reason) }?;
        begin(&mesh, timeout_ms, done, user_data, |mesh, limit, done| {
            mesh.close_transport(code, reason, limit, done)
        })
    })
}

/// What a close frame is to say.
///
/// # Safety
/// `reason` is NULL or points to a NUL-terminated string that lives and does not change for `'a`.
unsafe fn goodbye<'a>(code: u32, reason: *const c_char) -> Result<(u16, &'a str), Error> {
    // SAFETY: passed on from the caller.
    let reason = unsafe { optional_text(reason, "reason") }?.unwrap_or(DEFAULT_REASON);
    let out_of_range =
        |text: String| Err(Error::new(ErrorKind::InvalidArgument, "OUT_OF_RANGE", text));
    if reason.len() > MAX_REASON_BYTES {
        let length = reason.len();
        return out_of_range(format!(
            "`reason` has {length} bytes, and a close frame holds {MAX_REASON_BYTES}"
        ));
    }
    match u16::try_from(code) {
        Ok(0) => Ok((DEFAULT_CODE, reason)),
        Ok(code @ (1000 | 1001 | 3000..=4999)) => Ok((code, reason)),
        _ => out_of_range(format!(
            "`code` is {code}, and must be 1000, 1001, 3000 to 4999, or 0 for 1000"
        )),
    }
}

/// Tells what became of a socket that the application carries: a transport with "external_socket":true.
///
/// The library then decides everything as always, and carries no bytes. svantic_next() hands out what is to be done, in this
/// order:
/// {"type":"socket","do":"open","socket":1,"url":"wss://...","headers":{"Authorization":"Bearer ...",
/// "Sec-WebSocket-Protocol":"svantic.v1"}}: open a WebSocket; the token in it is a secret, keep it out of logs.
/// {"type":"socket","do":"send","socket":1,"text":"..."}: send this text message.
/// {"type":"socket","do":"close","socket":1,"code":1000,"reason":"client_close"}: close it, whether it is open or not. It
/// may be closed already, and what it does from then on is ignored.
///
/// `event_json`, `event_len` bytes, tells of the socket with this number (a late word about an older one is ignored):
/// {"socket":1,"event":"open"}; {"socket":1,"event":"message","text":"..."};
/// {"socket":1,"event":"close","code":1006,"reason":"..."} (both may be missing);
/// {"socket":1,"event":"error","message":"...","http_status":401} (the latter if an answer has refused the upgrade, which
/// decides about the token as for any other link). An error is an end too; a "close" after it is ignored.
///
/// A socket that does not open within "attempt_timeout_ms" is given up, and so is one whose message exceeds
/// "max_frame_bytes".
///
/// What this call, svantic_send_frame(), svantic_connect_async(), svantic_refresh_token_async() and
/// svantic_close_transport_async() lead to at once waits for svantic_next() when they return. What time leads to (a missing
/// welcome, the next attempt) comes by itself. No pings are sent: that the peer is gone is the application's to notice.
///
/// Any thread; never blocks.
///
/// Returns OK; INVALID_STATE for an agent and for a transport whose bytes the library carries; INVALID_JSON;
/// INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_socket_event(
    mesh: *mut svantic_mesh,
    event_json: *const c_char,
    event_len: usize,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        // SAFETY: the header asks for NULL or event_len bytes that outlive the call.
        let json = unsafe { sized_text(event_json, event_len, "event_json") }?;
        let told: Told = serde_json::from_str(json).map_err(|error| {
            Error::new(
                ErrorKind::InvalidJson,
                "INVALID_JSON",
                format!("`event_json` is not an event of a socket: {error}"),
            )
            .hint("{\"socket\":1,\"event\":\"open\"}, or \"message\" with \"text\", \"close\", \"error\"")
        })?;
        mesh.connector.socket_event(told.socket, told.event.into())
    })
}

#[derive(Deserialize)]
struct Told {
    socket: u64,
    #[serde(flatten)]
    event: ToldEvent,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum ToldEvent {
    Open,
    Message {
        text: String,
    },
    Close {
        #[serde(default)]
        code: Option<u16>,
        #[serde(default)]
        reason: Option<String>,
    },
    Error {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        http_status: Option<u16>,
    },
}

impl From<ToldEvent> for SocketEvent {
    fn from(told: ToldEvent) -> Self {
        match told {
            ToldEvent::Open => Self::Open,
            ToldEvent::Message { text } => Self::Message(text),
            ToldEvent::Close { code, reason } => Self::Close {
                code,
                reason: reason.unwrap_or_default(),
            },
            ToldEvent::Error {
                message,
                http_status,
            } => Self::Error {
                // There are sockets whose errors say nothing.
                message: message
                    .filter(|text| !text.is_empty())
                    .unwrap_or_else(|| "the socket failed".to_owned()),
                http_status,
            },
        }
    }
}

/// What is to be done with a socket, as an item.
pub(super) fn socket_item(request: &SocketRequest) -> String {
    let (what, no) = match request {
        SocketRequest::Open(dial) => ("open", dial.conn),
        SocketRequest::Send(no, _) => ("send", *no),
        SocketRequest::Close(no, ..) => ("close", *no),
    };
    let mut json = format!("{{\"type\":\"socket\",\"do\":\"{what}\",\"socket\":{no}");
    let mut push = |key: &str, text: &str| {
        json.push_str(key);
        push_json_string(&mut json, text);
    };
    match request {
        SocketRequest::Open(dial) => {
            let bearer = format!("Bearer {}", dial.bearer.expose_secret());
            push(",\"url\":", dial.url.as_str());
            push(",\"headers\":{\"Authorization\":", &bearer);
            push(",\"Sec-WebSocket-Protocol\":", SUBPROTOCOL);
            json.push('}');
        }
        SocketRequest::Send(_, text) => push(",\"text\":", text),
        SocketRequest::Close(_, code, reason) => {
            push(&format!(",\"code\":{code},\"reason\":"), reason);
        }
    }
    json.push('}');
    json
}
