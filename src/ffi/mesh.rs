//! The life of a mesh handle: create, capabilities, events, free.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use super::boundary::{check_out, check_size, guard, pull_has_no_callbacks, text, write};
use super::callback::{EventHandler, Owned, svantic_event_fn, svantic_free_fn, svantic_handler_fn};
use super::delivery::{DeliveryQueue, QueueSink};
use super::handles::{self, Mesh, svantic_mesh};
use super::inside;
use super::signals;
use super::status::svantic_status;
use crate::agent::Capability;
use crate::config::{self, Config, DeliveryMode, Environment};
use crate::connector::MeshConnector;
use crate::error::{Error, ErrorKind};

/// The longest farewell: the close handshake, then the call to deregister. Both end by timers of their own.
const LONGEST_FAREWELL: Duration = Duration::from_secs(7);

/// What to do instead of giving a callback.
const TAKE_ITEMS: &str = "take items with svantic_next, or configure \"delivery\":\"callbacks\"";

/// In pull delivery every item is told apart by its type.
const PULL_LEAD: &str = "\"type\":\"dispatch\",";

/// Creates an agent and its connector. Starts no thread, unless both "local" and "listen" are given, and opens no socket but
/// that of "listen".
///
/// `config_json`: an object. "name" and "description" are required; so are "client_id" and "client_secret",
/// or "token", unless SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET, or SVANTIC_TOKEN, are set; or "token_provider"
/// (true) instead, with which you issue each token, see svantic_refresh_token(). Other keys: "client_secret_next" (the
/// secret that is shown when the mesh refuses "client_secret"), "token_provider_timeout_ms" (10000), "svantic_url"
/// (SVANTIC_URL), "instance_id" (SVANTIC_INSTANCE_ID), "agent_type", "version", "public_url", "deployment_mode",
/// "context", "learning", "mcp_servers", "dispatch_auth", "max_concurrent_sessions", "delivery" ("callbacks",
/// "inline" or "pull"), "workers", "busy_poll_us" (0; for so many microseconds after something came in, at most 1000, the
/// I/O thread does not sleep, which uses up a processor), "timeout_ms" (30000), "max_in_flight",
/// "max_pending_dispatches" (1024), "max_queued_dispatches" (64), "pick_up_timeout_ms" (10000),
/// "max_frame_bytes" (4194304), "auto_reconnect" (true), "reconnect_delays_ms", "fail_fast",
/// "redact_handler_errors", "allow_insecure", "allowed_connect_hosts",
/// "ca_file", "client_cert_file" with "client_key_file", "proxy", "http_timeout_ms" (10000),
/// "stage_timeout_ms" (10000), "attempt_timeout_ms" (20000), "welcome_timeout_ms" (10000),
/// "heartbeat_interval_ms" (30000), "ping_interval_ms" (10000), "dead_after_ms" (20000),
/// "dispatch_timeout_ms" (60000), "drain_timeout_ms" (30000). An unknown key is an error that names it.
///
/// An agent with "public_url" is hosted: the mesh POSTs dispatches to that URL and "endpoint_path" ("/send"), and the
/// application's server hands them to svantic_serve(), unless the library serves by itself ("listen"). "deployment_mode"
/// "connected" with a "public_url" does both. Further keys of such agents: "signing_secret" verifies dispatches of the scheme
/// "svantic_jwt" and "shared_secret" those of "shared_secret"; SVANTIC_DISPATCH_SECRET fills in the one that "dispatch_auth"
/// names, or "signing_secret". "signing_secret_next" and "shared_secret_next" are good as well, so that a secret can be
/// replaced (SVANTIC_DISPATCH_SECRET_NEXT likewise). "clock_skew_s" (30, at most 300) is the difference that two clocks may
/// have. With a secret every call is verified, and over the WebSocket each dispatch that carries "svantic_auth". Without one
/// nobody's are, which the log says once; if "dispatch_auth" is "required" all are refused then. "default_capability" names
/// the capability that answers a message that is text only, called with {"text":"..."}.
/// "local" (true) is for development without a mesh: no credentials are needed, requests are served from here on, and
/// svantic_connect() is INVALID_STATE.
///
/// "proxy" is "http://user:password@host:port" or "none"; without it HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
/// NO_PROXY decide, except for what stays on this machine. HTTP calls and the WebSocket go through the same one.
/// The password is a secret like "client_secret": it goes to that proxy and into no log, error or snapshot. TLS is
/// spoken with the mesh through the proxy; without TLS the proxy could read the token, so a proxy on another host is
/// refused then unless "allow_insecure" permits it. The certificate files are read again when they have changed, at
/// the next dial or HTTP call; one that cannot be used then leaves what was read before, and an event LOG.
///
/// "listen" makes the library serve a hosted agent by itself: "127.0.0.1:8080", "[::1]:8080" or "0.0.0.0:8080", port 0
/// for any (svantic_get_snapshot() has it as "listening"); or {"address", "certificate_file", "key_file"} for TLS from
/// PEM files, which are read again when they have changed. The address is bound here and served from svantic_connect()
/// on, with "local" at once, until the agent has left the mesh. Without "public_url" it is the agent's URL as well. Each
/// client has 10 s for the head of a request (16 KiB, 64 headers) and 30 s for its body (4 MiB); there are at most 256
/// connections, and those that have asked nothing yet give way to others.
///
/// `out_mesh`: receives the handle, which the caller releases with svantic_free(). Written only on OK.
///
/// Any thread; does not block (it reads the files that the configuration names).
///
/// Returns OK; INVALID_ARGUMENT for a missing or wrong value, an unknown key or missing credentials;
/// INVALID_JSON; NETWORK if "listen" cannot be bound, ADDRESS_IN_USE among the causes; FORKED. With "local" and
/// "listen", INTERNAL if no thread can be started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_create(
    config_json: *const c_char,
    out_mesh: *mut *mut svantic_mesh,
) -> svantic_status {
    // SAFETY: passed on from the caller.
    unsafe { create(config_json, out_mesh, Config::parse) }
}

/// What an agent and a transport have in common: `parse` is how the configuration is read.
///
/// # Safety
/// As [`svantic_create`].
pub(super) unsafe fn create(
    config_json: *const c_char,
    out_mesh: *mut *mut svantic_mesh,
    parse: fn(&str, Environment<'_>) -> Result<Config, Error>,
) -> svantic_status {
    signals::arm();
    guard(|| {
        check_out(out_mesh, "out_mesh")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let json = unsafe { text(config_json, "config_json") }?;
        check_size(json, "the configuration")?;
        let config = parse(json, &config::process)?;
        let lead = match config.delivery {
            DeliveryMode::Callbacks { .. } | DeliveryMode::Inline => "",
            DeliveryMode::Pull => PULL_LEAD,
        };
        let queue = Arc::new(DeliveryQueue::new(config.delivery));
        let sink = Arc::new(QueueSink(Arc::clone(&queue)));
        let connector = MeshConnector::new(config, sink, lead)?;
        let handle = handles::insert(Mesh { connector, queue });
        // SAFETY: checked above; the header asks for room for a handle.
        unsafe { write(out_mesh, "out_mesh", handle) }
    })
}

/// Ends the agent and frees it. NULL and stale handles are ignored.
///
/// Running dispatches are answered with AGENT_SHUTDOWN, pending operations end with CANCELLED, the remaining
/// completions and events are delivered, the mesh is told goodbye, and every `user_data` is released. For a
/// graceful end call svantic_disconnect() first.
///
/// With "delivery":"pull" nothing more is handed out: items that svantic_next() has not taken by then are lost,
/// outcomes of _async calls among them. Whoever needs them disconnects and pulls until {"type":"closed"} first.
///
/// When it returns no callback of this agent runs or will run. It waits for a running one however long that
/// takes, and for the farewell at most 7 seconds; outcomes that an inline handler of another agent held up for
/// longer are lost. From inside a callback of any agent it does not wait: the end then takes effect when the
/// callbacks of this agent have returned.
///
/// Any thread. A thread that waits in svantic_next() is woken.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_free(mesh: *mut svantic_mesh) {
    if mesh.is_null() {
        return;
    }
    guard(|| {
        let waits = !inside::callback();
        let removed = if waits {
            handles::remove(mesh)
        } else {
            handles::remove_to_end(mesh)
        };
        let Some(mesh) = removed else {
            return Ok(());
        };
        mesh.connector.stop();
        // Without a thread for it, all goes with the connector's last word, which the I/O thread must not wait for.
        if !waits && (mesh.queue.release_at_exit() || inside::inline_handler()) {
            return Ok(());
        }
        // The farewell's time begins behind it.
        mesh.queue.await_inline();
        mesh.connector.wait_ended(LONGEST_FAREWELL);
        mesh.queue.free(None);
        Ok(())
    });
}

/// Sets the function that receives events. NULL removes it; the other arguments are then not looked at.
///
/// `user_data` is passed to every call and released with `free_user_data` (which may be NULL) when the
/// function has been replaced or the agent is freed. If this call fails both stay the caller's.
///
/// Any thread; does not block. Not with "delivery":"pull": there events come from svantic_next().
///
/// Returns OK; INVALID_ARGUMENT with "delivery":"pull"; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_on_event(
    mesh: *mut svantic_mesh,
    on_event: svantic_event_fn,
    user_data: *mut c_void,
    free_user_data: svantic_free_fn,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get(mesh)?;
        if mesh.queue.pulls() {
            return Err(pull_has_no_callbacks("on_event", TAKE_ITEMS));
        }
        let handler = on_event.is_some().then(|| EventHandler {
            run: on_event,
            owned: Owned::new(user_data, free_user_data),
        });
        mesh.queue.set_event_handler(handler);
        Ok(())
    })
}

/// Adds a capability. The mesh learns of it with svantic_connect(), or with svantic_re_register() when
/// already connected.
///
/// `spec_json`: {"name","description","parameters":{a JSON Schema with "type":"object"},"tags":[...]}. The
/// name is snake_case and unique. Arguments are validated against "parameters" before the handler runs.
///
/// `run`: the handler; NULL with "delivery":"pull". `user_data` is passed to every call and released with
/// `free_user_data` (which may be NULL) when the agent is freed. If this call fails both stay the caller's.
///
/// Any thread; does not block.
///
/// Returns OK; INVALID_ARGUMENT for a name that is taken or not snake_case, a schema that is no schema, or a
/// `run` that does not fit the delivery; INVALID_JSON; INVALID_HANDLE; INVALID_STATE when closed; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn svantic_define_capability(
    mesh: *mut svantic_mesh,
    spec_json: *const c_char,
    run: svantic_handler_fn,
    user_data: *mut c_void,
    free_user_data: svantic_free_fn,
) -> svantic_status {
    guard(|| {
        let mesh = handles::get_agent(mesh, "svantic_define_capability")?;
        // SAFETY: the header asks for NULL or a NUL-terminated string that outlives the call.
        let json = unsafe { text(spec_json, "spec_json") }?;
        check_size(json, "the capability")?;
        match (mesh.queue.pulls(), run.is_some()) {
            (true, true) => return Err(pull_has_no_callbacks("run", TAKE_ITEMS)),
            (false, false) => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "NULL_ARGUMENT",
                    "`run` is NULL: unless \"delivery\" is \"pull\" a capability needs its handler",
                ));
            }
            _ => {}
        }
        let capability = Capability::parse(json)?;
        let owned = Owned::new(user_data, free_user_data);
        mesh.queue
            .add_handler(run, owned, || mesh.connector.define_capability(capability))
    })
}

/// Tells the library that the network may be another: a Wi-Fi joined, a VPN up, a cable back. An open connection is
/// probed at once and made again if nothing comes in within 2 seconds; a wait before the next attempt is cut short,
/// at most once in 5 seconds. In every other state, and for an agent that is closed, nothing happens. It is never
/// needed: the library notices by itself, only later.
///
/// Any thread, inside callbacks too; never blocks.
///
/// Returns OK; INVALID_HANDLE; FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn svantic_network_changed(mesh: *mut svantic_mesh) -> svantic_status {
    guard(|| {
        handles::get(mesh)?.connector.network_changed();
        Ok(())
    })
}
