//! The control face for people and scripts: `/_gateway/…`, for loopback peers only.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use url::{Host, Url, form_urlencoded};

use crate::{
    dispatch::{Answer, DispatchError, DispatchRequest},
    faults::Faults,
    hosted,
    options::Options,
    records::FrameRecord,
    redact,
    reply::{Body, Reply},
    script::Script,
    shared::Shared,
};

/// Where it begins; no path of the mesh does.
pub(crate) const PREFIX: &str = "/_gateway/";
const BODY_LIMIT_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    instance_id: String,
    #[serde(default = "normal_closure")]
    code: u16,
    #[serde(default)]
    reason: String,
}

fn normal_closure() -> u16 {
    1000
}

/// Answers one request of a person or a script.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    if !peer.ip().to_canonical().is_loopback() {
        let error = "the control face is for this machine only";
        return Reply::refuse(403, "LOOPBACK_ONLY", error).into_response();
    }
    // A page in a browser can reach loopback too; it always names its origin, and no tool here does.
    // A page whose name was bent to loopback (DNS rebinding) may not, but it comes with its own host name.
    if request.headers().contains_key(header::ORIGIN) || !host_is_local(request.headers()) {
        let error = "the control face is not for browsers";
        return Reply::refuse(403, "NO_BROWSERS", error).into_response();
    }
    let (head, body) = request.into_parts();
    let name = &head.uri.path()[PREFIX.len()..];
    if head.method == Method::GET && name == "watch" {
        return watch(shared);
    }
    let Ok(body) = Limited::new(body, BODY_LIMIT_BYTES).collect().await else {
        return Reply::bad_request("body too large or cut off").into_response();
    };
    let body = body.to_bytes();
    let reply = match (head.method.as_str(), name) {
        ("GET", "agents") => shown(shared.read(|s| json!(s.agents.values().collect::<Vec<_>>()))),
        ("GET", "sessions") => shown(shared.read(|s| json!(s.sessions.all().collect::<Vec<_>>()))),
        ("GET", "requests") => shown(shared.read(|s| json!(s.requests.all()))),
        ("GET", "ledger") => shown(shared.read(|s| {
            let entries = s.ledger.ledger().entries();
            json!({"entries": entries, "violations": s.violations})
        })),
        ("GET", "frames") => frames(shared, head.uri.query()),
        ("GET", "totals") => shown(shared.read(|s| json!(s.totals))),
        ("GET", "script") => shown(shared.read(|s| json!(s.script.status))),
        ("GET", "assumptions") => shown(assumptions(&shared.options)),
        ("GET", "faults") => shown(json!(*shared.faults.borrow())),
        ("POST", "dispatch") => dispatch(shared, &body).await,
        ("POST", "faults") => set_faults(shared, &body),
        ("POST", "rotate") => hosted::control::rotate(shared, &body),
        ("POST", "script") => set_script(shared, &body),
        ("POST", "close" | "abort" | "forget") => on_instance(shared, name, &body),
        _ => Reply::refuse(404, "NOT_FOUND", "no such request of the control face"),
    };
    reply.into_response()
}

/// The named assumptions, so that a run can say under which of them it passed.
fn assumptions(options: &Options) -> Value {
    let seconds = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64());
    json!({
        "duplicate_socket": options.duplicate_socket,
        "drops_late_results": options.drops_late_results,
        "server_ping": seconds(options.server_ping),
        "resumed_window": seconds(options.resumed_window),
        "resend_unanswered": options.resend_unanswered,
    })
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let url = host.and_then(|host| Url::parse(&format!("http://{host}/")).ok());
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    }
}

fn shown(value: Value) -> Reply {
    Reply::ok(&redact::value(value))
}

/// The frames of one instance, pings and pongs among them, as `watch` shows them.
fn frames(shared: &Shared, query: Option<&str>) -> Reply {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, instance_id)) = pairs.find(|(key, _)| key == "instance_id") else {
        return Reply::bad_request("say whose frames: frames?instance_id=ID");
    };
    let frames = shared.read(|state| {
        let frames = state.frames.of(&instance_id);
        frames.map(FrameRecord::shown).collect::<Vec<_>>()
    });
    Reply::ok(&json!(frames))
}

fn set_faults(shared: &Shared, body: &[u8]) -> Reply {
    let faults = std::str::from_utf8(body)
        .map_err(|error| error.to_string())
        .and_then(|text| Faults::from_json(text).map_err(|error| error.to_string()));
    match faults {
        Ok(faults) => {
            shared.replace_faults(faults);
            Reply::ok(&json!({"ok": true}))
        }
        Err(error) => Reply::bad_request(&error),
    }
}

fn set_script(shared: &Shared, body: &[u8]) -> Reply {
    let script = std::str::from_utf8(body)
        .map_err(|error| error.to_string())
        .and_then(Script::from_json);
    match script {
        Ok(script) => {
            let steps = script.len();
            shared.change(|state| state.script.start(script));
            Reply::ok(&json!({"ok": true, "steps": steps}))
        }
        Err(error) => Reply::bad_request(&error),
    }
}

fn on_instance(shared: &Shared, what: &str, body: &[u8]) -> Reply {
    let target: Target = match serde_json::from_slice(body) {
        Ok(target) => target,
        Err(error) => return Reply::bad_request(&error.to_string()),
    };
    let id = target.instance_id.as_str();
    let done = match what {
        "close" => shared.close_sockets(Some(id), target.code, &target.reason),
        "abort" => shared.abort_sockets(Some(id)),
        _ => shared.forget(id),
    };
    if done {
        Reply::ok(&json!({"ok": true}))
    } else {
        let error = format!("instance {id:?} has nothing to {what}");
        Reply::refuse(404, "INSTANCE_NOT_FOUND", &error)
    }
}

async fn dispatch(shared: &Arc<Shared>, body: &[u8]) -> Reply {
    let request: DispatchRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Reply::bad_request(&error.to_string()),
    };
    let somebody = shared.read(|state| {
        let wanted = request.instance_id.as_deref();
        let mut agents = state.agents.values();
        agents.any(|a| (a.registered || a.ready) && wanted.is_none_or(|id| id == a.instance_id))
    });
    if !somebody {
        // Waiting is for an agent that is redialling; a person who has started none wants to know.
        let error = "no such agent is registered";
        return Reply::refuse(503, "NO_AGENT", error);
    }
    let timeout = shared.options.dispatch_timeout;
    let pending = shared.change(|state| state.begin_dispatch(&request, timeout));
    let id = pending.id.clone();
    let answered = |mut reply: Value| {
        let status = shared.read(|state| {
            let entry = state.ledger.ledger().get(&id)?;
            entry.answers.last()?.http_status
        });
        if let Some(status) = status {
            reply["http_status"] = status.into();
        }
        Reply::ok(&reply)
    };
    match pending.outcome().await {
        Ok(Answer::Result(result)) => answered(json!({"dispatch_id": id, "result": result})),
        Ok(Answer::Error { code, message }) => {
            answered(json!({"dispatch_id": id, "error": {"code": code, "message": message}}))
        }
        Err(error) => {
            let (status, code) = match error {
                DispatchError::Unreachable(_) => (502, "UNREACHABLE"),
                DispatchError::Timeout => (504, "TIMEOUT"),
                DispatchError::NoAgent => (503, "NO_AGENT"),
                DispatchError::Stopped => (503, "STOPPED"),
            };
            let error = json!({"code": code, "error": error.to_string(), "dispatch_id": id});
            Reply::json(status, &error)
        }
    }
}

/// One JSON object a line, as things happen, until the reader leaves or the gateway stops.
fn watch(shared: &Shared) -> Response<Body> {
    let lines = shared.read(|state| state.watchers.subscribe());
    let stop = shared.stop.subscribe();
    let frames = stream::unfold((lines, stop), |(mut lines, mut stop)| async move {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = stop.wait_for(|stopped| *stopped) => return None,
        };
        let line = match line {
            Ok(line) => format!("{line}\n"),
            Err(RecvError::Lagged(lost)) => format!("{}\n", json!({"kind": "lost", "lines": lost})),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(Frame::data(Bytes::from(line))), (lines, stop)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    response
}
