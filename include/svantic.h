/*
 * libsvantic: the connection of an agent to the Svantic mesh.
 *
 * Generated from src/ffi by build.rs; do not edit.
 *
 * A svantic_mesh is a MeshConnector and the agent it speaks for: create it, define what the agent can do,
 * connect, and answer the dispatches (capability calls) that arrive.
 *
 *     svantic_mesh *mesh;
 *     svantic_create("{\"name\":\"order-desk\",\"description\":\"finds orders\"}", &mesh);
 *     svantic_define_capability(mesh, spec_json, run, user_data, NULL);
 *     svantic_connect(mesh, 0);
 *     ...
 *     svantic_disconnect(mesh, 0);
 *     svantic_free(mesh);
 *     svantic_shutdown(1000);
 *
 * Ownership  Arguments are borrowed for the call. A char* written to an out parameter belongs to the caller:
 *            svantic_string_free(). Strings are UTF-8; strings given to callbacks are NUL-terminated and valid
 *            only during the callback. user_data is never looked at.
 * Threads    Every function may be called from any thread. A freed or invalid handle is reported as
 *            SVANTIC_STATUS_INVALID_HANDLE, never dereferenced. One I/O thread serves every agent of the
 *            process; it starts with the first operation (svantic_connect() and its like), the first call given to
 *            svantic_serve(), svantic_lifeline_fd(), or svantic_create() with "local" and "listen", and ends with
 *            svantic_shutdown(). The library's threads block asynchronous signals, which stay with the host's.
 * Delivery   "callbacks" (default): threads that the library owns ("workers", default 1) run the callbacks.
 *            With one worker they run one at a time, in order; with several, handlers run side by side, and
 *            events and completions still one at a time. No lock is held while one runs, so they may call any
 *            function here except svantic_shutdown(), and svantic_disconnect() and svantic_serve() of their own
 *            agent; svantic_free() takes effect when they return. They must not throw, longjmp or end their thread.
 *            "inline": handlers run on the I/O thread itself, as soon as a dispatch is there: nothing is cheaper, and
 *            nothing answers sooner. They promise not to block and to be quick, a fraction of a millisecond: while
 *            one runs, nothing is read, written or noticed for any agent of the process, and what a handler that
 *            hangs holds up is every agent's heartbeats and answers; nobody tells the mesh. In a handler every
 *            function that waits, of any agent, returns WOULD_DEADLOCK: use its _async form, or resolve later from
 *            another thread. Events, completions and responses are called back on one delivery thread, as above,
 *            and may wait. So an event may be told after handlers that ran later have returned.
 *            "pull": nothing is called back; svantic_next() hands out the same things as JSON, and
 *            svantic_notify_fd() says when. For event loops and for languages with their own threads;
 *            svantic_lifeline_fd() for those whose threads can end without a word.
 * Dispatches A dispatch is named by its dispatch_id and is answered once, from any thread, inside its handler
 *            or later. What is not answered within its deadline is answered by the library with an error.
 * Waiting    Every function that waits takes timeout_ms. 0 means the configured default for the operations,
 *            and "do not wait" for svantic_next(), its batches and svantic_shutdown(). Nothing waits
 *            for ever, but svantic_free() for a callback that does not return. svantic_cancel() ends an _async
 *            operation before its time.
 * Errors     Fallible functions return svantic_status and write out parameters only on SVANTIC_STATUS_OK.
 *            svantic_last_error() explains this thread's last failure, svantic_last_error_json() as an object;
 *            the outcome of an _async operation carries its own explanation. No secret is ever in an error or an
 *            event.
 * fork       The library cannot be used in a child that did not exec once svantic_create() has been called:
 *            SVANTIC_STATUS_FORKED. svantic_free() there forgets and touches nothing. What parses text works there.
 * Limits     Configuration and capability specs 1 MiB; frames "max_frame_bytes"; ids of dispatches 128 bytes.
 */

#ifndef SVANTIC_H
#define SVANTIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SVANTIC_VERSION_MAJOR 0
#define SVANTIC_VERSION_MINOR 1
#define SVANTIC_VERSION_PATCH 0

/**
 * Changes when an existing function, type or value changes incompatibly.
 */
#define SVANTIC_ABI_VERSION 1

/**
 * What a call returned. Values keep their meaning for ever; new ones may be added.
 */
enum svantic_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done.
     */
    SVANTIC_STATUS_OK = 0,
    /**
     * A required pointer was NULL, or a value was missing or out of range.
     */
    SVANTIC_STATUS_INVALID_ARGUMENT = 1,
    /**
     * The handle was never valid or has been freed.
     */
    SVANTIC_STATUS_INVALID_HANDLE = 2,
    /**
     * Not UTF-8, not JSON, or not the JSON this function expects.
     */
    SVANTIC_STATUS_INVALID_JSON = 3,
    /**
     * Not possible in the connector's current state.
     */
    SVANTIC_STATUS_INVALID_STATE = 4,
    /**
     * Waiting here could never end.
     */
    SVANTIC_STATUS_WOULD_DEADLOCK = 5,
    /**
     * Initialised before fork(); unusable in this process.
     */
    SVANTIC_STATUS_FORKED = 6,
    /**
     * No such session, or a dispatch that has ended (answered, past its deadline, or cancelled).
     */
    SVANTIC_STATUS_NOT_FOUND = 7,
    /**
     * Not finished within timeout_ms.
     */
    SVANTIC_STATUS_TIMEOUT = 20,
    /**
     * Ended by svantic_cancel(), svantic_disconnect(), svantic_free() or svantic_shutdown().
     */
    SVANTIC_STATUS_CANCELLED = 21,
    /**
     * DNS, TCP or WebSocket failure.
     */
    SVANTIC_STATUS_NETWORK = 22,
    /**
     * TLS handshake or certificate failure.
     */
    SVANTIC_STATUS_TLS = 23,
    /**
     * The mesh refused the credentials or the token.
     */
    SVANTIC_STATUS_AUTH = 24,
    /**
     * The mesh answered with an error.
     */
    SVANTIC_STATUS_REMOTE = 25,
    /**
     * The mesh sent something this version does not understand.
     */
    SVANTIC_STATUS_PROTOCOL = 26,
    /**
     * A bug in libsvantic; a panic was contained.
     */
    SVANTIC_STATUS_INTERNAL = 90,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum svantic_status svantic_status;
#else
typedef int32_t svantic_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a connector is. See svantic_get_state().
 */
enum svantic_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Created, or back after a first connect that failed.
     */
    SVANTIC_STATE_IDLE = 0,
    /**
     * On the way to the first link.
     */
    SVANTIC_STATE_CONNECTING = 1,
    /**
     * Dispatches can arrive.
     */
    SVANTIC_STATE_CONNECTED = 2,
    /**
     * The link was lost and is being made again. Answers are kept and sent when it is back.
     */
    SVANTIC_STATE_RECONNECTING = 3,
    /**
     * Ended by svantic_disconnect(). Final.
     */
    SVANTIC_STATE_CLOSED = 4,
    /**
     * svantic_disconnect() is under way: no new dispatches, running ones are being finished.
     */
    SVANTIC_STATE_DRAINING = 5,
    /**
     * The mesh refuses the token (svantic_refresh_token() helps), or another process has taken the instance id.
     */
    SVANTIC_STATE_BLOCKED = 6,
    /**
     * Given up for a cause that no retry mends; the event SVANTIC_EVENT_FAILED said which. Final.
     */
    SVANTIC_STATE_FAILED = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum svantic_state svantic_state;
#else
typedef int32_t svantic_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an svantic_event_fn reports, with the fields of its JSON object.
 */
enum svantic_event
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * {"state":"connected","previous":"reconnecting","link":"ready"}
     */
    SVANTIC_EVENT_STATE = 1,
    /**
     * {"generation":2,"expires_at":1767225600}: a new token is in use.
     */
    SVANTIC_EVENT_TOKEN_REFRESHED = 2,
    /**
     * {"capabilities":3,"revision":2}: the mesh has this list.
     */
    SVANTIC_EVENT_REGISTERED = 3,
    /**
     * {"dispatch_id":"...","reason":"deadline"|"shutdown"|"failed"}: the mesh no longer wants the answer.
     */
    SVANTIC_EVENT_DISPATCH_CANCELLED = 4,
    /**
     * {"level":"warn","target":"svantic","message":"..."}
     */
    SVANTIC_EVENT_LOG = 5,
    /**
     * {"connection":3,"resumed":false}: the WebSocket is up. Strictly alternates with DISCONNECTED.
     */
    SVANTIC_EVENT_CONNECTED = 6,
    /**
     * {"connection":3,"code":1012,"cause":"..."}: the WebSocket is gone.
     */
    SVANTIC_EVENT_DISCONNECTED = 7,
    /**
     * {"cause":"UNREACHABLE","message":"...","delay_ms":1830,"attempt":2}: the next attempt comes after this wait.
     */
    SVANTIC_EVENT_BACKOFF = 8,
    /**
     * {"code":"UNAUTHORIZED","message":"..."}: the mesh refuses the credentials.
     */
    SVANTIC_EVENT_AUTH_FAILED = 9,
    /**
     * {"seconds_left":12}: the token that was supplied will expire; call svantic_refresh_token().
     */
    SVANTIC_EVENT_TOKEN_EXPIRING = 10,
    /**
     * {}: the token that was supplied has expired.
     */
    SVANTIC_EVENT_TOKEN_EXPIRED = 11,
    /**
     * {}: the mesh no longer knew the instance; it registers again.
     */
    SVANTIC_EVENT_INSTANCE_FORGOTTEN = 12,
    /**
     * {}: another process has taken this instance id.
     */
    SVANTIC_EVENT_SUPERSEDED = 13,
    /**
     * {"in_flight":2,"until_ms":30000}: svantic_disconnect() waits for these dispatches.
     */
    SVANTIC_EVENT_DRAINING = 14,
    /**
     * {"dispatch_id":"...","reason":"expired"|"closed"|"failed"|"poisoned"|"too_large"}: an answer was given up
     * without proof that it was delivered.
     */
    SVANTIC_EVENT_RESULT_DROPPED = 15,
    /**
     * {"dispatch_id":"...","code":"INVALID_ARGS"}: a dispatch was refused before it reached a handler.
     */
    SVANTIC_EVENT_DISPATCH_REFUSED = 16,
    /**
     * {"count":7}: so many events were dropped because they were not taken.
     */
    SVANTIC_EVENT_MISSED = 17,
    /**
     * The error as an object, as in svantic_done_fn: the connector has given up.
     */
    SVANTIC_EVENT_FAILED = 18,
    /**
     * {"connection":3}: the mesh answers no pings on it; an answer counts as delivered after 10 s of life.
     */
    SVANTIC_EVENT_FENCE_UNSUPPORTED = 19,
    /**
     * {"used":"client_secret_next"}: the client secret was refused, so the other one (this) is shown.
     */
    SVANTIC_EVENT_CREDENTIAL_FALLBACK = 20,
    /**
     * {"generation":2,"reason":"missing"|"expiring"|"refused"}: with "token_provider", call
     * svantic_refresh_token() with a new token, which will be this generation.
     */
    SVANTIC_EVENT_TOKEN_WANTED = 21,
    /**
     * {"session_id":"...","reason":"instance_forgotten"}: a session has ended that was not closed.
     */
    SVANTIC_EVENT_SESSION_CLOSED = 22,
    /**
     * {"stalled":true,"oldest_ms":10000}: a dispatch has waited so long for svantic_next() or a delivery thread, and the
     * mesh is told "unhealthy"; {"stalled":false}: they are picked up again.
     */
    SVANTIC_EVENT_STALLED = 23,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum svantic_event svantic_event;
#else
typedef int32_t svantic_event;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A MeshConnector and the agent it speaks for, created by svantic_create(); or a transport, created by
 * svantic_create_transport(). Released by svantic_free().
 */
typedef struct svantic_mesh svantic_mesh;

/**
 * Reports an event: an svantic_event value (ignore those you do not know) and its fields as a JSON object,
 * valid until the function returns. Runs on a delivery thread, one event at a time, in order.
 */
typedef void (*svantic_event_fn)(void *user_data, int32_t event, const char *event_json, size_t event_len);

/**
 * Releases user_data. Called exactly once, after the last callback that received it has returned, on a
 * delivery thread or inside svantic_free().
 */
typedef void (*svantic_free_fn)(void *user_data);

/**
 * Runs a capability. `dispatch_id` and `request_json` are valid until the function returns.
 *
 * `request_json`: {"dispatch_id","skill_id","args","deadline_ms"} and, where the mesh sent them,
 * "session_id", "tenant_id", "traceparent", "parent_trace_id", "parent_span_id", "baggage",
 * "propagation_headers". "args" is an object that satisfies the capability's schema.
 *
 * Answer with svantic_resolve() or svantic_reject(), here or later, from any thread, within deadline_ms.
 * Runs on a delivery thread; with "delivery":"inline" on the I/O thread, and must not block. Must not throw, longjmp or
 * end its thread.
 */
typedef void (*svantic_handler_fn)(void *user_data,
                                   const char *dispatch_id,
                                   const char *request_json,
                                   size_t request_len);

/**
 * Ends an asynchronous operation: called exactly once if starting it returned OK, otherwise never.
 *
 * `status` is an svantic_status value. `result_json` is the result ("null", or the mesh's reply to
 * create_session or request), or on failure {"status","code","message","hint","http_status","retryable"}.
 * Valid until the function returns. Runs on a delivery thread.
 */
typedef void (*svantic_done_fn)(void *user_data, int32_t status, const char *result_json, size_t result_len);

/**
 * Takes a part of the response to a request, as svantic_serve_async() says. `response_json` is valid until the function
 * returns. Runs on a delivery thread, one at a time and in order.
 */
typedef void (*svantic_response_fn)(void *user_data, const char *response_json);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The loaded library's ABI version. Compare it with SVANTIC_ABI_VERSION of the header you compiled with.
 *
 * Any thread; never blocks.
 */
uint32_t svantic_abi_version(void);

/**
 * "major.minor.patch" of the loaded library.
 *
 * Static: never freed. Any thread; never blocks.
 */
const char *svantic_version(void);

/**
 * The name of a status: "SVANTIC_STATUS_TIMEOUT" for 20; "SVANTIC_STATUS_UNKNOWN" for a value that this
 * version does not know. Never NULL.
 *
 * Static: never freed. Any thread; never blocks.
 */
const char *svantic_status_name(int32_t status);

/**
 * Why this thread's last failed call failed: what failed, on what, why, a code in brackets, and what to do
 * about it. "" if none did. Never holds a secret.
 *
 * The library's: valid until the next failing call on this thread; copy it to keep it. Any thread; never
 * blocks. The outcome of an asynchronous operation is not here but with its completion.
 */
const char *svantic_last_error(void);

/**
 * svantic_last_error() as the JSON object of svantic_done_fn, for programs that act on its parts:
 * {"status","code","message","hint","http_status","retryable"}. "" if no call of this thread has failed. Never holds a
 * secret.
 *
 * The library's: valid until the next failing call on this thread; copy it to keep it. Any thread; never blocks.
 */
const char *svantic_last_error_json(void);

/**
 * Frees a string that the library handed out through an out parameter. NULL is ignored.
 *
 * Call it once per string and on nothing else. Any thread; never blocks.
 */
void svantic_string_free(char *string);

/**
 * Ends every agent and then the library's threads. Call it once before the process exits.
 *
 * Every handle becomes invalid. Running dispatches are answered with AGENT_SHUTDOWN, pending operations end
 * with CANCELLED, and each agent says goodbye to the mesh as far as `timeout_ms` permits (0: not at all).
 * For a graceful end call svantic_disconnect() on each agent first. Afterwards svantic_create() works again.
 *
 * Any thread but one that runs callbacks; blocks for at most `timeout_ms`.
 *
 * Returns OK; TIMEOUT if a callback or a farewell was still under way (it is then finished in the
 * background); WOULD_DEADLOCK from inside a callback.
 */
svantic_status svantic_shutdown(uint32_t timeout_ms);

/**
 * Creates an agent and its connector. Starts no thread, unless both "local" and "listen" are given, and opens no socket but
 * that of "listen".
 *
 * `config_json`: an object. "name" and "description" are required; so are "client_id" and "client_secret",
 * or "token", unless SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET, or SVANTIC_TOKEN, are set; or "token_provider"
 * (true) instead, with which you issue each token, see svantic_refresh_token(). Other keys: "client_secret_next" (the
 * secret that is shown when the mesh refuses "client_secret"), "token_provider_timeout_ms" (10000), "svantic_url"
 * (SVANTIC_URL), "instance_id" (SVANTIC_INSTANCE_ID), "agent_type", "version", "public_url", "deployment_mode",
 * "context", "learning", "mcp_servers", "dispatch_auth", "max_concurrent_sessions", "delivery" ("callbacks",
 * "inline" or "pull"), "workers", "busy_poll_us" (0; for so many microseconds after something came in, at most 1000, the
 * I/O thread does not sleep, which uses up a processor), "timeout_ms" (30000), "max_in_flight",
 * "max_pending_dispatches" (1024), "max_queued_dispatches" (64), "pick_up_timeout_ms" (10000),
 * "max_frame_bytes" (4194304), "auto_reconnect" (true), "reconnect_delays_ms", "fail_fast",
 * "redact_handler_errors", "allow_insecure", "allowed_connect_hosts",
 * "ca_file", "client_cert_file" with "client_key_file", "proxy", "http_timeout_ms" (10000),
 * "stage_timeout_ms" (10000), "attempt_timeout_ms" (20000), "welcome_timeout_ms" (10000),
 * "heartbeat_interval_ms" (30000), "ping_interval_ms" (10000), "dead_after_ms" (20000),
 * "dispatch_timeout_ms" (60000), "drain_timeout_ms" (30000). An unknown key is an error that names it.
 *
 * An agent with "public_url" is hosted: the mesh POSTs dispatches to that URL and "endpoint_path" ("/send"), and the
 * application's server hands them to svantic_serve(), unless the library serves by itself ("listen"). "deployment_mode"
 * "connected" with a "public_url" does both. Further keys of such agents: "signing_secret" verifies dispatches of the scheme
 * "svantic_jwt" and "shared_secret" those of "shared_secret"; SVANTIC_DISPATCH_SECRET fills in the one that "dispatch_auth"
 * names, or "signing_secret". "signing_secret_next" and "shared_secret_next" are good as well, so that a secret can be
 * replaced (SVANTIC_DISPATCH_SECRET_NEXT likewise). "clock_skew_s" (30, at most 300) is the difference that two clocks may
 * have. With a secret every call is verified, and over the WebSocket each dispatch that carries "svantic_auth". Without one
 * nobody's are, which the log says once; if "dispatch_auth" is "required" all are refused then. "default_capability" names
 * the capability that answers a message that is text only, called with {"text":"..."}.
 * "local" (true) is for development without a mesh: no credentials are needed, requests are served from here on, and
 * svantic_connect() is INVALID_STATE.
 *
 * "proxy" is "http://user:password@host:port" or "none"; without it HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
 * NO_PROXY decide, except for what stays on this machine. HTTP calls and the WebSocket go through the same one.
 * The password is a secret like "client_secret": it goes to that proxy and into no log, error or snapshot. TLS is
 * spoken with the mesh through the proxy; without TLS the proxy could read the token, so a proxy on another host is
 * refused then unless "allow_insecure" permits it. The certificate files are read again when they have changed, at
 * the next dial or HTTP call; one that cannot be used then leaves what was read before, and an event LOG.
 *
 * "listen" makes the library serve a hosted agent by itself: "127.0.0.1:8080", "[::1]:8080" or "0.0.0.0:8080", port 0
 * for any (svantic_get_snapshot() has it as "listening"); or {"address", "certificate_file", "key_file"} for TLS from
 * PEM files, which are read again when they have changed. The address is bound here and served from svantic_connect()
 * on, with "local" at once, until the agent has left the mesh. Without "public_url" it is the agent's URL as well. Each
 * client has 10 s for the head of a request (16 KiB, 64 headers) and 30 s for its body (4 MiB); there are at most 256
 * connections, and those that have asked nothing yet give way to others.
 *
 * `out_mesh`: receives the handle, which the caller releases with svantic_free(). Written only on OK.
 *
 * Any thread; does not block (it reads the files that the configuration names).
 *
 * Returns OK; INVALID_ARGUMENT for a missing or wrong value, an unknown key or missing credentials;
 * INVALID_JSON; NETWORK if "listen" cannot be bound, ADDRESS_IN_USE among the causes; FORKED. With "local" and
 * "listen", INTERNAL if no thread can be started.
 */
svantic_status svantic_create(const char *config_json,
                              svantic_mesh **out_mesh);

/**
 * Ends the agent and frees it. NULL and stale handles are ignored.
 *
 * Running dispatches are answered with AGENT_SHUTDOWN, pending operations end with CANCELLED, the remaining
 * completions and events are delivered, the mesh is told goodbye, and every `user_data` is released. For a
 * graceful end call svantic_disconnect() first.
 *
 * With "delivery":"pull" nothing more is handed out: items that svantic_next() has not taken by then are lost,
 * outcomes of _async calls among them. Whoever needs them disconnects and pulls until {"type":"closed"} first.
 *
 * When it returns no callback of this agent runs or will run. It waits for a running one however long that
 * takes, and for the farewell at most 7 seconds; outcomes that an inline handler of another agent held up for
 * longer are lost. From inside a callback of any agent it does not wait: the end then takes effect when the
 * callbacks of this agent have returned.
 *
 * Any thread. A thread that waits in svantic_next() is woken.
 */
void svantic_free(svantic_mesh *mesh);

/**
 * Sets the function that receives events. NULL removes it; the other arguments are then not looked at.
 *
 * `user_data` is passed to every call and released with `free_user_data` (which may be NULL) when the
 * function has been replaced or the agent is freed. If this call fails both stay the caller's.
 *
 * Any thread; does not block. Not with "delivery":"pull": there events come from svantic_next().
 *
 * Returns OK; INVALID_ARGUMENT with "delivery":"pull"; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_on_event(svantic_mesh *mesh,
                                svantic_event_fn on_event,
                                void *user_data,
                                svantic_free_fn free_user_data);

/**
 * Adds a capability. The mesh learns of it with svantic_connect(), or with svantic_re_register() when
 * already connected.
 *
 * `spec_json`: {"name","description","parameters":{a JSON Schema with "type":"object"},"tags":[...]}. The
 * name is snake_case and unique. Arguments are validated against "parameters" before the handler runs.
 *
 * `run`: the handler; NULL with "delivery":"pull". `user_data` is passed to every call and released with
 * `free_user_data` (which may be NULL) when the agent is freed. If this call fails both stay the caller's.
 *
 * Any thread; does not block.
 *
 * Returns OK; INVALID_ARGUMENT for a name that is taken or not snake_case, a schema that is no schema, or a
 * `run` that does not fit the delivery; INVALID_JSON; INVALID_HANDLE; INVALID_STATE when closed; FORKED.
 */
svantic_status svantic_define_capability(svantic_mesh *mesh,
                                         const char *spec_json,
                                         svantic_handler_fn run,
                                         void *user_data,
                                         svantic_free_fn free_user_data);

/**
 * Tells the library that the network may be another: a Wi-Fi joined, a VPN up, a cable back. An open connection is
 * probed at once and made again if nothing comes in within 2 seconds; a wait before the next attempt is cut short,
 * at most once in 5 seconds. In every other state, and for an agent that is closed, nothing happens. It is never
 * needed: the library notices by itself, only later.
 *
 * Any thread, inside callbacks too; never blocks.
 *
 * Returns OK; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_network_changed(svantic_mesh *mesh);

/**
 * Gets a token, registers the agent, and opens the WebSocket. Afterwards a lost connection is made again by
 * itself, for ever, except for final causes (state SVANTIC_STATE_FAILED).
 *
 * `timeout_ms`: how long to try; 0 means the configured "timeout_ms". Passing failures (network, 5xx, 429)
 * are retried within it, unless "fail_fast" is set. After a failure the agent is IDLE as before and
 * svantic_connect() may be called again, except when the mesh refused it for good (FAILED).
 *
 * Any thread; blocks until connected or failed, for at most `timeout_ms`.
 *
 * Returns OK; AUTH when the credentials are refused; REMOTE when the mesh refuses the agent; NETWORK or TLS;
 * TIMEOUT when a step was never answered; PROTOCOL for a reply that makes no sense (such as a connect_url on
 * a foreign host, which is never dialed); INVALID_STATE when already connected or closed; CANCELLED;
 * INVALID_HANDLE; FORKED. svantic_last_error() says which step failed, on which URL, with which status and
 * code, and what to do.
 */
svantic_status svantic_connect(svantic_mesh *mesh, uint32_t timeout_ms);

/**
 * svantic_connect() that returns at once.
 *
 * `done` is called exactly once with the outcome if this returns OK, otherwise never. It may be NULL. With
 * "delivery":"pull" it must be NULL, and the outcome comes from svantic_next() with `user_data` as an integer
 * in "tag". svantic_cancel() with the same `user_data` ends it early. This holds for every _async function with a `done`.
 */
svantic_status svantic_connect_async(svantic_mesh *mesh,
                                     uint32_t timeout_ms,
                                     svantic_done_fn done,
                                     void *user_data);

/**
 * Ends the pending _async operations of this agent that were started with this `user_data` (its "tag" with
 * "delivery":"pull"), each with CANCELLED. Their completions come as always, exactly once, on a delivery thread or from
 * svantic_next(). NULL matches those that were started with NULL.
 *
 * connect: the attempt is over and nothing of it goes on; the agent is IDLE, and svantic_connect() may be called again.
 * If the mesh may have taken its registration, svantic_disconnect() and svantic_free() deregister.
 * disconnect: is not taken back, but running dispatches are no longer waited for: they are answered with
 * AGENT_SHUTDOWN, and the rest of the farewell takes place in the background until the agent is CLOSED.
 * create_session: a session that the mesh opens all the same is closed again in the background.
 * svantic_serve_async: only the wait for the response ends, see there.
 * close_session: the session is closed in the background. re_register and refresh_token: only the wait ends; what the
 * mesh was told stands, and a token that comes is used. request: it is dropped and not tried again; whether the mesh has
 * taken it, only the mesh knows.
 *
 * An operation whose outcome is on its way is not pending any more, and ends with that outcome. The blocking forms
 * cannot be cancelled: they end by `timeout_ms`, svantic_free() and svantic_shutdown().
 *
 * Any thread, inside callbacks too; never blocks.
 *
 * Returns OK if at least one was pending, otherwise NOT_FOUND; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_cancel(svantic_mesh *mesh,
                              void *user_data);

/**
 * Leaves the mesh: takes no new dispatches (they are answered with AGENT_SHUTDOWN), lets running ones finish
 * for `timeout_ms` (0: the configured "drain_timeout_ms"), answers the rest with AGENT_SHUTDOWN, closes the
 * WebSocket and deregisters. A second call while one is under way does not wait for the running dispatches.
 *
 * An agent that was never connected is closed at once. Afterwards the agent is CLOSED, which is final: free it.
 *
 * Any thread but one that runs callbacks of this agent; blocks for at most `timeout_ms` plus 6 seconds for the
 * close handshake and the farewell. With "delivery":"pull" a thread that answers dispatches must not block
 * here: use the _async form and go on pulling.
 *
 * Returns OK; WOULD_DEADLOCK from inside a callback of this agent; INVALID_STATE when closed or failed;
 * CANCELLED; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_disconnect(svantic_mesh *mesh,
                                  uint32_t timeout_ms);

/**
 * svantic_disconnect() that returns at once; may be called from a callback. See svantic_connect_async().
 */
svantic_status svantic_disconnect_async(svantic_mesh *mesh,
                                        uint32_t timeout_ms,
                                        svantic_done_fn done,
                                        void *user_data);

/**
 * Replaces the token without a reconnect.
 *
 * `jwt`: the token to use from now on; NULL exchanges the credentials for a new one now (the library also does
 * so by itself at 70 to 80 % of a token's life). Copied.
 *
 * With "token_provider" in the configuration this answers SVANTIC_EVENT_TOKEN_WANTED, within
 * "token_provider_timeout_ms" of it; NULL asks for that event. It may also be called without being asked.
 *
 * A `jwt` that is known to be of no use is turned away with AUTH and nothing is dialed with it: one whose "exp" is not
 * after its "iat", one that the mesh has refused, and the one in use once it has expired. The time of day is not
 * looked at, since a wrong clock would turn good tokens away; a life counts from the call that supplied the token, the
 * first one if there are several.
 *
 * Any thread, also inside a callback of this agent; with a `jwt` it does not wait for the mesh or for a callback, with NULL
 * it waits for at most `timeout_ms`. Inside a callback of an agent with "token_provider", use the _async form with
 * NULL, as for every call that may need a token: the event is not delivered before that callback has returned.
 *
 * Returns OK; INVALID_ARGUMENT for a `jwt` that cannot be a token, or NULL when the agent was created with a
 * token of its own; AUTH; NETWORK; TLS; REMOTE; TIMEOUT; INVALID_STATE when closed; CANCELLED;
 * INVALID_HANDLE; FORKED.
 */
svantic_status svantic_refresh_token(svantic_mesh *mesh,
                                     const char *jwt,
                                     uint32_t timeout_ms);

/**
 * svantic_refresh_token() that returns at once. See svantic_connect_async().
 */
svantic_status svantic_refresh_token_async(svantic_mesh *mesh,
                                           const char *jwt,
                                           uint32_t timeout_ms,
                                           svantic_done_fn done,
                                           void *user_data);

/**
 * Announces today's capabilities to the mesh; the WebSocket stays open. During an outage it is done with the
 * next connection.
 *
 * Any thread; blocks until the mesh has the list, for at most `timeout_ms` (0: the configured default).
 *
 * Returns OK; INVALID_STATE when not connected; AUTH; REMOTE; NETWORK; TLS; TIMEOUT; CANCELLED;
 * INVALID_HANDLE; FORKED.
 */
svantic_status svantic_re_register(svantic_mesh *mesh, uint32_t timeout_ms);

/**
 * svantic_re_register() that returns at once. See svantic_connect_async().
 */
svantic_status svantic_re_register_async(svantic_mesh *mesh,
                                         uint32_t timeout_ms,
                                         svantic_done_fn done,
                                         void *user_data);

/**
 * Opens a session with the mesh.
 *
 * `options_json`: an object sent along with the instance id, such as {"user_id":"u1"}; NULL is {}.
 * `out_session_id`: receives the session's id, which the caller frees with svantic_string_free(). Written
 * only on OK.
 *
 * Any thread; blocks for at most `timeout_ms` (0: the configured default).
 *
 * Returns OK; INVALID_STATE when not connected; INVALID_JSON; INVALID_ARGUMENT; AUTH; REMOTE; NETWORK; TLS;
 * TIMEOUT; PROTOCOL; CANCELLED; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_create_session(svantic_mesh *mesh,
                                      const char *options_json,
                                      uint32_t timeout_ms,
                                      char **out_session_id);

/**
 * svantic_create_session() that returns at once; the result is the mesh's reply, with "session_id" in it. See
 * svantic_connect_async().
 */
svantic_status svantic_create_session_async(svantic_mesh *mesh,
                                            const char *options_json,
                                            uint32_t timeout_ms,
                                            svantic_done_fn done,
                                            void *user_data);

/**
 * Closes a session.
 *
 * Any thread; blocks for at most `timeout_ms` (0: the configured default).
 *
 * Returns OK; NOT_FOUND when the mesh knows no such session; INVALID_STATE when not connected;
 * AUTH; REMOTE; NETWORK; TLS; TIMEOUT; CANCELLED; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_close_session(svantic_mesh *mesh, const char *session_id, uint32_t timeout_ms);

/**
 * svantic_close_session() that returns at once. See svantic_connect_async().
 */
svantic_status svantic_close_session_async(svantic_mesh *mesh,
                                           const char *session_id,
                                           uint32_t timeout_ms,
                                           svantic_done_fn done,
                                           void *user_data);

/**
 * POSTs JSON to the mesh, for endpoints that have no function of their own, or for programs that register an agent by
 * themselves. Works with and without svantic_connect(), which it does not replace: what an answer means is up to you.
 *
 * `path`: below "svantic_url", such as "/agents/register"; it may have a query, which no error shows. `body_json`: what
 * is sent, at most 1 MiB. `headers_json`: an object of texts, such as {"X-Tenant":"t1"}, sent along; NULL is none. No
 * log and no error shows their values. "Authorization", "Proxy-Authorization", "Host", "Content-*", "Accept-Encoding",
 * "Expect", "Cookie" and what belongs to the connection (RFC 9110, 7.6.1) are refused. At most 2048 bytes of path, 64
 * headers and 16 KiB of them.
 *
 * The token in use is shown; if there is none it is got first, as by svantic_refresh_token() with NULL. A 401 gets
 * another token, once, and repeats the request with it. Failures that pass (network, TLS, 408, 425, 429, 5xx) are
 * repeated within `timeout_ms` after the waits of svantic_connect(), "Retry-After" among them, unless "fail_fast" is
 * set; so the mesh may get a request more than once. Every other answer stands: redirects are not followed.
 *
 * `out_reply_json`: receives the body of the reply, JSON of at most 1 MiB, null if it is empty; the caller frees it with
 * svantic_string_free(). Written only on OK, which is every status from 200 to 299.
 *
 * Any thread; blocks for at most `timeout_ms` (0: the configured default). Inside a callback of an agent with
 * "token_provider", use the _async form. While the agent drains it goes on as usual, and ends with the draining.
 *
 * Returns OK; INVALID_ARGUMENT for a path that leads elsewhere, a header that is refused, or what is too large;
 * INVALID_JSON; AUTH; REMOTE when the mesh refuses, with its code and HTTP status; NETWORK; TLS; TIMEOUT; PROTOCOL for a
 * reply that is not JSON; INVALID_STATE when closed, or for a transport; CANCELLED; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_request(svantic_mesh *mesh,
                               const char *path,
                               const char *body_json,
                               const char *headers_json,
                               uint32_t timeout_ms,
                               char **out_reply_json);

/**
 * svantic_request() that returns at once; the result is the mesh's reply. See svantic_connect_async().
 */
svantic_status svantic_request_async(svantic_mesh *mesh,
                                     const char *path,
                                     const char *body_json,
                                     const char *headers_json,
                                     uint32_t timeout_ms,
                                     svantic_done_fn done,
                                     void *user_data);

/**
 * Writes where the connector is: an svantic_state value.
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_state(svantic_mesh *mesh, int32_t *out_state);

/**
 * Writes whether a registration is active, which is not the same as an open WebSocket: during an outage it
 * stays true.
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_connected(svantic_mesh *mesh, bool *out_connected);

/**
 * Writes the mesh's base URL, which the caller frees with svantic_string_free().
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_svantic_url(svantic_mesh *mesh, char **out_svantic_url);

/**
 * Writes the JWT in use, which the caller frees with svantic_string_free(). It is a secret: keep it out of
 * logs.
 *
 * Any thread; never blocks. Returns OK; INVALID_STATE while there is none; INVALID_ARGUMENT; INVALID_HANDLE;
 * FORKED.
 */
svantic_status svantic_get_token(svantic_mesh *mesh, char **out_token);

/**
 * Writes "connected" or "hosted", which the caller frees with svantic_string_free().
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_deployment_mode(svantic_mesh *mesh, char **out_deployment_mode);

/**
 * Writes the instance's id, given or generated, which the caller frees with svantic_string_free().
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_instance_id(svantic_mesh *mesh, char **out_instance_id);

/**
 * Writes the A2A agent card with today's capabilities as JSON, which the caller frees with
 * svantic_string_free().
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_agent_card(svantic_mesh *mesh, char **out_card_json);

/**
 * Writes what is worth knowing when looking for a fault, as JSON without secrets. The caller frees it with
 * svantic_string_free(). Its keys, which may grow (times are in ms, and null is "none"):
 *
 * "health": {"live","ready","reason"}. live: the I/O thread runs, and is at most 5 s late with what is due. ready: work can
 * arrive, that is, the link is up (and not silent for 10 s since it was asked for a sign of life), the token is valid,
 * dispatches are picked up, and the agent does not drain; with "local" neither link nor token is needed. reason: a sentence
 * when it is not ready.
 * "state", "since_ms" (in it), "link", "connected", "backoff_attempts", "next_attempt_ms" (until then), "last_failure".
 * "connection": {"no","age_ms","last_inbound_age_ms","fence_level"}; "last_outbound_age_ms".
 * "token": {"generation","seconds_left"}; "registration_revision".
 * "in_flight" (a number); "dispatches": the oldest 100 without an answer, {"id","age_ms","phase"}, with "running" or,
 * before there is a slot, "queued"; "queue": {"items","bytes"} of the latter; "dedupe_entries": ids that are known.
 * "outbox": the oldest 100 ids whose answers are not proven to have been read; "outbox_items", "outbox_bytes".
 * "calls_waiting": calls of svantic_serve() and "listen" without an answer; "dispatch_auth_refused": how many were not
 * believed, by cause; "listening": the address of "listen", there with it only.
 * "events": the latest 20, newest first, {"name","age_ms"}.
 * "counters": numbers, and by cause "disconnects", "results_sent", "results_dropped_by_reason", "duplicates_by_phase",
 * "frames_rejected", "token_requests_by_outcome".
 *
 * Any thread; never blocks. Returns OK; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_get_snapshot(svantic_mesh *mesh,
                                    char **out_snapshot_json);

/**
 * Hands out the next item as JSON ("delivery":"pull" only).
 *
 * {"type":"dispatch","dispatch_id",...}: the request as in svantic_handler_fn;
 * {"type":"event","event":1,"name":"state","data":{...}}: see svantic_event;
 * {"type":"done","tag":7,"status":0,"result":...} or {"type":"done","tag":7,"status":24,"error":{...}}: the
 * outcome of an _async call, with its `user_data` as "tag"; {"type":"response","tag":7,...}: a part of a response, see
 * svantic_serve_async(); {"type":"frame","frame":{...}} and {"type":"socket",...} of
 * a transport only, see svantic_create_transport(); and last, once, {"type":"closed"}, whether the agent was
 * disconnected or has failed.
 * Ignore types that you do not know.
 *
 * `out_item_json`: receives the item, which the caller frees with svantic_string_free(). Written only on OK.
 *
 * Any number of threads; each item is handed out once. Blocks until there is an item, for at most `timeout_ms`
 * (0: not at all). Woken by svantic_disconnect(), svantic_free() and svantic_shutdown(); the latter two discard what
 * was not taken yet.
 *
 * Returns OK; TIMEOUT if there is none; CANCELLED after the last item; INVALID_STATE unless
 * "delivery" is "pull"; INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_next(svantic_mesh *mesh,
                            uint32_t timeout_ms,
                            char **out_item_json);

/**
 * Hands out up to `max_items` items in one call, as a JSON array of what svantic_next() hands out. For
 * languages whose border is dear: one crossing and one parse for many dispatches.
 *
 * `max_items`: 1 to 4096; fewer are handed out where they are larger than 16 MiB together.
 * `out_items_json`: receives the array, which the caller frees with
 * svantic_string_free(); `out_len`: receives its length in bytes (may be NULL). Written only on OK.
 *
 * Blocks until there is at least one item. Otherwise as svantic_next().
 */
svantic_status svantic_next_batch(svantic_mesh *mesh,
                                  uint32_t max_items,
                                  uint32_t timeout_ms,
                                  char **out_items_json,
                                  size_t *out_len);

/**
 * Writes a descriptor that is readable while items wait ("delivery":"pull" only), for poll, epoll, libuv and
 * their like.
 *
 * When it is readable, call svantic_next() with timeout 0 until it returns TIMEOUT, or some 64 times: the
 * descriptor stays readable while items are left. Its bytes mean nothing and may be left, or read before (not
 * after) svantic_next() is called. It shows the end of the stream when the agent is freed.
 *
 * The descriptor is the caller's: close it when done, before or after svantic_free(). POSIX only.
 *
 * Any thread; never blocks. Returns OK; INVALID_STATE unless "delivery" is "pull", and after svantic_lifeline_fd();
 * INVALID_ARGUMENT; INVALID_HANDLE; INTERNAL when the process has no descriptors left; FORKED.
 */
svantic_status svantic_notify_fd(svantic_mesh *mesh,
                                 int *out_fd);

/**
 * Ends a dispatch with its result: any JSON value. Copied.
 *
 * Any thread, inside the handler or later; never blocks. Where the I/O thread sleeps, the calling thread writes the answer to
 * the socket, which saves a wake-up. Answers that are given one by one outside of a handler then leave one by one: whoever
 * has several ready gives them with svantic_answer_batch(), and they leave together.
 *
 * Returns OK; NOT_FOUND if the dispatch has ended already (answered, past its deadline, cancelled);
 * INVALID_JSON if the result is not JSON, nested deeper than 64 levels, escapes a lone surrogate or holds a number
 * that no double does (such as 1e999), and INVALID_ARGUMENT if it exceeds "max_frame_bytes": in both cases the
 * dispatch has ended, and the mesh has been given the error INVALID_RESULT or RESULT_TOO_LARGE; INVALID_ARGUMENT also
 * for NULL, which answers nothing; INVALID_STATE for a transport; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_resolve(svantic_mesh *mesh,
                               const char *dispatch_id,
                               const char *result_json);

/**
 * Ends a dispatch with an error that the mesh can show. Copied.
 *
 * `code`: the code on the wire; NULL is "HANDLER_ERROR", the handler's own failure, to whose message the mesh
 * is told which capability failed. `message`: what went wrong, for people; keep secrets and paths out of it.
 *
 * Any thread, inside the handler or later; never blocks.
 *
 * Returns OK; NOT_FOUND if the dispatch has ended already; INVALID_ARGUMENT; INVALID_JSON for text that is not
 * UTF-8; INVALID_STATE for a transport; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_reject(svantic_mesh *mesh,
                              const char *dispatch_id,
                              const char *code,
                              const char *message);

/**
 * Ends many dispatches in one call.
 *
 * `answers_json`: an array of {"dispatch_id":"...","result":any} and
 * {"dispatch_id":"...","error":{"code":"...","message":"..."}}, `answers_len` bytes. A missing "result" is
 * null, a missing "code" is "HANDLER_ERROR". Or, where there are results only, what costs less to write: an array of
 * a dispatch_id, its result, the next dispatch_id, and so on. `out_refused`: receives how many of them had ended already, or
 * had a result that was too deep or too large, or was refused by svantic_resolve() for a text or a number in it (may be
 * NULL); a warning among the log events names each of the latter.
 *
 * Any thread; never blocks. All or nothing: if the text is not such an array, no dispatch is answered.
 *
 * Returns OK; INVALID_JSON; INVALID_ARGUMENT; INVALID_STATE for a transport; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_answer_batch(svantic_mesh *mesh,
                                    const char *answers_json,
                                    size_t answers_len,
                                    uint32_t *out_refused);

/**
 * Hands out what svantic_next_batch() does, in a form that costs less to parse. For bindings.
 *
 * `out_items_json`: receives an array. An element that is a string begins a dispatch, which is three elements: its
 * dispatch_id, its skill_id and its args. Any other element is an object as svantic_next() hands out.
 * `out_items_len`: receives its length in bytes (may be NULL).
 *
 * `out_contexts_json`: receives an array of as many objects as there are dispatches, in the same order: the rest of each request
 * (see svantic_handler_fn), "deadline_ms" and what else is known. NULL: not asked for.
 * `out_contexts_len`: receives its length in bytes (may be NULL).
 *
 * `out_long_integers`: receives whether a number of 19 digits or more may be among the items, which many a parser would round
 * (may be NULL).
 *
 * The caller frees both texts with svantic_string_free(). All are written only on OK.
 *
 * `max_items` and the rest: as svantic_next_batch().
 */
svantic_status svantic_next_flat(svantic_mesh *mesh,
                                 uint32_t max_items,
                                 uint32_t timeout_ms,
                                 char **out_items_json,
                                 size_t *out_items_len,
                                 char **out_contexts_json,
                                 size_t *out_contexts_len,
                                 bool *out_long_integers);

/**
 * Writes a descriptor like that of svantic_notify_fd(), which is a lifeline too: when the last copy of it is closed
 * while the agent lives, the agent is ended and freed in the background, as by svantic_free(). For hosts whose parts
 * can end without a word, such as worker threads of an interpreter: the kernel closes the descriptor with its owner's
 * last copy, or the owner's event loop does. A copy in a child process counts, until the child runs another program.
 *
 * As with svantic_notify_fd() it is readable while items wait and shows the end of the stream when the agent is freed.
 * Its bytes mean nothing, but here the host must read them, before (not after) it calls svantic_next(): the library has
 * no copy of the descriptor to do so. What is written into it is ignored; to shut it down is to close it.
 *
 * The descriptor is the caller's: close it when done, before or after svantic_free(). One per agent, and not together
 * with svantic_notify_fd(). It starts the I/O thread if that does not run yet, which watches it. POSIX only.
 *
 * Any thread; never blocks. Returns OK; INVALID_STATE unless "delivery" is "pull", after svantic_notify_fd() and the
 * second time; INVALID_ARGUMENT; INVALID_HANDLE; INTERNAL when the process has no descriptors or threads left; FORKED.
 */
svantic_status svantic_lifeline_fd(svantic_mesh *mesh,
                                   int *out_fd);

/**
 * Verifies the "svantic_auth" of a dispatch that arrived by HTTP, and accepts each dispatch once.
 *
 * `data_json`: the data part of the request as it arrived, {"skill_id","args","svantic_auth":{"scheme","token"},...}.
 * Give the text itself rather than what a parser made of it: names that stand twice are then noticed.
 * `options_json`: {"instance_id":"...","signing_secret":"...","shared_secret":"...","clock_skew_s":30,"agent_type":"...",
 * "tenant_id":"..."}. "instance_id" and at least one of the secrets are required; a scheme without its secret is refused.
 * "clock_skew_s" (0 to 300) is how wrong the clocks may be. "agent_type" and "tenant_id" are compared when they are given
 * and the token names them.
 *
 * `*out_context_json` becomes {"scheme","tenant_id","agent_type","instance_id","dispatch_id","expires_at"}, which the
 * caller frees with svantic_string_free(): what the token says (null where it says nothing), "expires_at" in Unix seconds.
 *
 * "svantic_jwt": a JWT signed by HS256 with the UTF-8 bytes of "signing_secret", "iss" "svantic-mesh", "aud"
 * "agent:<instance_id>", not expired, at most 10 minutes to live, at most 8 KiB long, with a "dispatch_id" (the request's,
 * if that has one). It is accepted once: the library remembers it until it expires, in this process only and for all
 * callers in it. What is behind it is not signed: the JWT does not bind "args", so TLS has to protect them.
 * "shared_secret": the token is "shared_secret". It neither expires nor is it good only once; prefer the JWT.
 *
 * Any refusal is AUTH, and svantic_last_error() ends with its code: [missing_envelope], [malformed_envelope] (also when
 * `data_json` is not JSON), [unsupported_scheme], [bad_signature], [expired] (also before "nbf", or more than 10 minutes
 * ahead), [wrong_issuer], [wrong_audience] (another instance, type, tenant or dispatch), [secret_mismatch], [replayed], or
 * [replay_table_full] when 100,000 live tokens were accepted: answer that with HTTP 503 and the others with 401.
 *
 * Needs no agent. Any thread; never blocks for longer than others take to look up an id. In a forked child it works with
 * a copy of the parent's memory, unless svantic_create() was called before the fork.
 *
 * Returns OK; AUTH; INVALID_ARGUMENT or INVALID_JSON for the options, for NULL and for what is not UTF-8; FORKED.
 */
svantic_status svantic_verify_dispatch_auth(const char *data_json,
                                            const char *options_json,
                                            char **out_context_json);

/**
 * Answers an HTTP request that a server of your own has taken in, for an agent with "public_url", "listen" or "local": the
 * agent's card (GET /.well-known/agent-card.json) and the calls of the mesh and of A2A clients (POST "endpoint_path"). Hand
 * it every request below the agent's path as it came: paths and methods that mean nothing get their 404 and 405.
 *
 * `request_json`: {"method":"POST","path":"/send","headers":{"content-type":"application/json"},"peer":"127.0.0.1:5000"}.
 * Names of headers in any case, values text or arrays of texts; those that matter are Content-Type, If-None-Match,
 * A2A-Version, traceparent, baggage and Host. "path" with or without the path of "public_url", and a query is not looked at.
 * "peer" is the address of whoever sent it (as it may be forged, not the one that a header names); if it is missing, those
 * who send forged tokens are not slowed down. `body`, `body_len`: the body, at most 4 MiB; NULL with 0 is none. Copied.
 *
 * `out_response_json`: receives {"status":200,"headers":{"content-type":"application/json"},"body":"...","more":false},
 * whole even if it is a stream of events; the caller frees it with svantic_string_free(). Written only on OK. "body" is UTF-8.
 *
 * Dispatches run and are limited, counted, drained and answered once as those over the WebSocket; both share one table. With
 * a secret configured ("signing_secret", "shared_secret" or SVANTIC_DISPATCH_SECRET) each call is verified as by
 * svantic_verify_dispatch_auth() before anything is made of its arguments; what fails gets 401, the same for every cause, and
 * the cause is counted in svantic_get_snapshot() and logged now and then. A retry with the same id and the same data gets
 * the same answer and runs nothing. 503 and 429 come with Retry-After.
 *
 * Works before svantic_connect(), during svantic_disconnect() (calls that run are finished, new ones get 503) and after it
 * (503).
 *
 * Any thread but one that runs callbacks of this agent; blocks until the response is there, for at most `timeout_ms` (0: for as
 * long as the dispatch may take, "dispatch_timeout_ms"), after which the response is a 504 and the dispatch runs on. With
 * "delivery":"pull" another thread must pull and answer meanwhile.
 *
 * Returns OK whatever the HTTP status is; INVALID_ARGUMENT or INVALID_JSON for a `request_json` that is no such object or
 * larger than 1 MiB; INVALID_STATE for a transport and for a connected agent without "public_url"; WOULD_DEADLOCK inside a
 * callback of this agent; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_serve(svantic_mesh *mesh,
                             const char *request_json,
                             const void *body,
                             size_t body_len,
                             uint32_t timeout_ms,
                             char **out_response_json);

/**
 * svantic_serve() that returns at once; the response comes in parts.
 *
 * `on_response` is called one or more times if this returns OK, otherwise never: first with
 * {"status":200,"headers":{...},"body":"...","more":true}, then for a stream of events with {"body":"...","more":true} as often
 * as there is something to be sent, and the last one has "more":false. "more" stands at the very end of each. Most responses
 * are one part. Send each part at once.
 * With "delivery":"pull" `on_response` is NULL, and the parts come from svantic_next() as
 * {"type":"response","tag":7,"status":200,"headers":{...},"body":"...","more":false}, with `user_data` as "tag".
 *
 * When the client has gone, svantic_cancel() with the same `user_data` ends it: the last part is then
 * {"cancelled":true,"more":false}. Nothing of the dispatch is cancelled: it runs on, and a retry gets its answer.
 *
 * When the agent is freed, responses that are not there yet are a 503 (a stream that has begun just ends); with
 * "delivery":"pull" they are discarded.
 *
 * Any thread, inside callbacks too; never blocks.
 *
 * Returns as svantic_serve(), without WOULD_DEADLOCK; INVALID_ARGUMENT also for an `on_response` that does not fit
 * "delivery".
 */
svantic_status svantic_serve_async(svantic_mesh *mesh,
                                   const char *request_json,
                                   const void *body,
                                   size_t body_len,
                                   svantic_response_fn on_response,
                                   void *user_data);

/**
 * Parses a W3C traceparent. `*out_json` becomes {"trace_id","span_id","flags"} (32, 16 and 2 lower-case hex digits; the
 * span is the caller's, and the lowest bit of the flags says that it records the trace), or null if it is malformed, all
 * zero or of another version than 00. The caller frees it with svantic_string_free().
 *
 * Needs no agent. Any thread; never blocks; works in a forked child. Returns OK; INVALID_ARGUMENT for NULL;
 * INVALID_JSON for what is not UTF-8.
 */
svantic_status svantic_parse_traceparent(const char *traceparent,
                                         char **out_json);

/**
 * Parses W3C baggage. `*out_json` becomes {"key":"value",...} with decoded values and without properties; a member that is
 * malformed is left out, and of two with one key the last counts. The caller frees it with svantic_string_free().
 *
 * Needs no agent. Any thread; never blocks; works in a forked child. Returns OK; INVALID_ARGUMENT for NULL;
 * INVALID_JSON for what is not UTF-8.
 */
svantic_status svantic_parse_baggage(const char *baggage,
                                     char **out_json);

/**
 * Finds the trace context of a call in its data and in the HTTP headers that it came with: for programs with a server of
 * their own. `*out_json` becomes {"traceparent","parent_trace_id","parent_span_id","baggage":{...},
 * "propagation_headers":{...}}: what a handler is given. The first three are absent without a traceparent that
 * svantic_parse_traceparent() takes; the last is what to send along with calls of your own. The caller frees it with
 * svantic_string_free().
 *
 * `data_json`: the call's data, JSON; "traceparent" and "baggage" are looked for in it, then in its "session_context".
 * `headers_json`: where they are looked for last, an object of texts or lists of texts with names in any case; NULL is
 * none. What has another shape holds nothing.
 *
 * Needs no agent. Any thread; never blocks; works in a forked child. Returns OK; INVALID_ARGUMENT for NULL; INVALID_JSON
 * for what is not JSON.
 */
svantic_status svantic_extract_trace_context(const char *data_json,
                                             const char *headers_json,
                                             char **out_json);

/**
 * Creates a transport: the WebSocket of an agent without the agent. Token, hello, welcome, pings, deadlines, reconnection
 * and URL policy are the library's; registration, heartbeats, dispatches and answers are the caller's. Most programs
 * want svantic_create() instead. Opens no socket and starts no thread.
 *
 * `config_json`: an object. "connect_url" (from the reply of POST /agents/register; wss, or ws to loopback or with
 * "allow_insecure"; "instance_id" is added to its query if it is missing), "hello" (the payload of the first frame, sent as
 * it is written; its "instance_id" is required) and "token", or "token_provider" (true), are required. Other keys:
 * "external_socket" (see svantic_socket_event()), "hello_id" and "hello_ts" (of the first hello frame), "fail_fast" (true
 * without "auto_reconnect", otherwise false), and as for svantic_create() "timeout_ms", "welcome_timeout_ms",
 * "auto_reconnect", "reconnect_delays_ms", "allow_insecure", "ca_file", "client_cert_file" with "client_key_file", "proxy",
 * "max_frame_bytes", "http_timeout_ms", "stage_timeout_ms", "attempt_timeout_ms", "ping_interval_ms", "dead_after_ms",
 * "drain_timeout_ms", "token_provider_timeout_ms". An unknown key is an error that names it.
 *
 * The handle works as that of an agent in pull delivery. svantic_connect() ends when the welcome is there, and afterwards a
 * lost connection is made again by itself; with "auto_reconnect" false it becomes IDLE instead, with
 * SVANTIC_EVENT_DISCONNECTED, and svantic_connect() may be called again. svantic_disconnect() and
 * svantic_close_transport() make it CLOSED; nothing is deregistered. What belongs to an agent (capabilities, sessions,
 * answers, registration) returns INVALID_STATE. svantic_get_connected() says whether the link is up.
 *
 * Items of svantic_next() beside events and outcomes: {"type":"frame","frame":{...}} for each frame from the mesh, as it
 * came: the welcome first, then those that came before it, then all others, in their order among the events. One
 * that is no JSON object, is nested deeper than 64 levels or holds more than 100,000 values is left out and counted. An
 * event STATE is also told when the socket is open and the welcome awaited ("link":"handshaking"), and when it no longer is.
 * Frames that are not taken are kept up to 16384 or 64 MiB; then the link is dropped, and made again.
 *
 * An instance that the mesh does not know (404) fails the first connect with the mesh's code; later it is told by
 * SVANTIC_EVENT_INSTANCE_FORGOTTEN, and dialed again after a wait: register it anew.
 *
 * `out_mesh`: receives the handle, which the caller releases with svantic_free(). Written only on OK.
 *
 * Any thread; does not block (it reads "ca_file", "client_cert_file" and "client_key_file").
 *
 * Returns OK; INVALID_ARGUMENT for a missing or wrong value, an unknown key or a URL that must not see the token;
 * INVALID_JSON; FORKED.
 */
svantic_status svantic_create_transport(const char *config_json,
                                        svantic_mesh **out_mesh);

/**
 * Sends a frame over a transport, as it is written.
 *
 * `frame_json`: a JSON object of `frame_len` bytes, nested at most 64 levels deep and of at most 100,000 values.
 * Copied.
 *
 * OK means that it has been handed to the link. Whether the peer has read it only its answer can tell: what is on its way
 * when the connection ends is lost.
 *
 * Any thread; never blocks.
 *
 * Returns OK; INVALID_STATE with the code NOT_READY while there is no welcome, BACKLOG_FULL when 64 MiB wait to be
 * written already (with "external_socket": 64 MiB or 16384 frames to be taken by svantic_next()), or NOT_A_TRANSPORT;
 * INVALID_JSON for what is not such an object; INVALID_ARGUMENT for NULL, or for more than "max_frame_bytes";
 * INVALID_HANDLE; FORKED.
 */
svantic_status svantic_send_frame(svantic_mesh *mesh,
                                  const char *frame_json,
                                  size_t frame_len);

/**
 * svantic_disconnect() of a transport, with a close frame of the caller's choice.
 *
 * `code`: 1000, 1001, 3000 to 4999, or 0 for 1000. `reason`: at most 123 bytes; NULL is "client_close".
 *
 * Any thread; blocks until the peer has answered the close frame, for at most a second, whatever `timeout_ms` is.
 *
 * Returns OK; INVALID_STATE when closed or failed, or for an agent; INVALID_ARGUMENT; INVALID_JSON for a `reason` that is
 * not UTF-8; CANCELLED; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_close_transport(svantic_mesh *mesh,
                                       uint32_t code,
                                       const char *reason,
                                       uint32_t timeout_ms);

/**
 * svantic_close_transport() that returns at once. See svantic_connect_async().
 */
svantic_status svantic_close_transport_async(svantic_mesh *mesh,
                                             uint32_t code,
                                             const char *reason,
                                             uint32_t timeout_ms,
                                             svantic_done_fn done,
                                             void *user_data);

/**
 * Tells what became of a socket that the application carries: a transport with "external_socket":true.
 *
 * The library then decides everything as always, and carries no bytes. svantic_next() hands out what is to be done, in this
 * order:
 * {"type":"socket","do":"open","socket":1,"url":"wss://...","headers":{"Authorization":"Bearer ...",
 * "Sec-WebSocket-Protocol":"svantic.v1"}}: open a WebSocket; the token in it is a secret, keep it out of logs.
 * {"type":"socket","do":"send","socket":1,"text":"..."}: send this text message.
 * {"type":"socket","do":"close","socket":1,"code":1000,"reason":"client_close"}: close it, whether it is open or not. It
 * may be closed already, and what it does from then on is ignored.
 *
 * `event_json`, `event_len` bytes, tells of the socket with this number (a late word about an older one is ignored):
 * {"socket":1,"event":"open"}; {"socket":1,"event":"message","text":"..."};
 * {"socket":1,"event":"close","code":1006,"reason":"..."} (both may be missing);
 * {"socket":1,"event":"error","message":"...","http_status":401} (the latter if an answer has refused the upgrade, which
 * decides about the token as for any other link). An error is an end too; a "close" after it is ignored.
 *
 * A socket that does not open within "attempt_timeout_ms" is given up, and so is one whose message exceeds
 * "max_frame_bytes".
 *
 * What this call, svantic_send_frame(), svantic_connect_async(), svantic_refresh_token_async() and
 * svantic_close_transport_async() lead to at once waits for svantic_next() when they return. What time leads to (a missing
 * welcome, the next attempt) comes by itself. No pings are sent: that the peer is gone is the application's to notice.
 *
 * Any thread; never blocks.
 *
 * Returns OK; INVALID_STATE for an agent and for a transport whose bytes the library carries; INVALID_JSON;
 * INVALID_ARGUMENT; INVALID_HANDLE; FORKED.
 */
svantic_status svantic_socket_event(svantic_mesh *mesh,
                                    const char *event_json,
                                    size_t event_len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SVANTIC_H */
