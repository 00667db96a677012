//! Takes each request: records it, applies the faults, checks the token, and hands it to its endpoint.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::{
    agents_endpoint, auth_endpoint, control,
    faults::{Endpoint, Stage},
    records::{Authorization, RequestRecord},
    redact,
    reply::{Body, Reply},
    sessions_endpoint,
    shared::Shared,
    token::Claims,
    upgrade,
};

/// Twice the largest agent card (security.md S-09).
const BODY_LIMIT_BYTES: usize = 8 << 20;

fn route(path: &str) -> Option<(Endpoint, Method, Stage)> {
    Some(match path {
        "/auth/get_token" => (Endpoint::Token, Method::POST, Stage::Token),
        "/agents/register" => (Endpoint::Register, Method::POST, Stage::Register),
        "/agents/deregister" => (Endpoint::Deregister, Method::POST, Stage::Deregister),
        "/agents/heartbeat" => (Endpoint::Heartbeat, Method::POST, Stage::Heartbeat),
        "/sessions/init" => (Endpoint::SessionInit, Method::POST, Stage::SessionInit),
        "/sessions/close" => (Endpoint::SessionClose, Method::POST, Stage::SessionClose),
        "/agents/connect" => (Endpoint::Connect, Method::GET, Stage::Upgrade),
        _ => return None,
    })
}

/// Answers one request.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    if request.uri().path().starts_with(control::PREFIX) {
        return control::handle(shared, request, peer).await;
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT_BYTES).collect().await;
    let (body, body_failed) = match body {
        Ok(body) => (body.to_bytes(), false),
        Err(_) => (Bytes::new(), true),
    };
    let claims = bearer(&head).and_then(|token| shared.signer.verify(token));
    let seq = record(shared, &head, &body, claims.is_some());
    let finish = |reply: Reply| {
        shared.change(|state| state.record_status(seq, reply.status));
        reply.into_response()
    };

    let Some((endpoint, method, stage)) = route(head.uri.path()) else {
        note(shared, &head, "an unknown path");
        let error = format!("there is no {}", head.uri.path());
        return finish(Reply::refuse(404, "NOT_FOUND", &error));
    };
    if head.method != method {
        let error = format!("{} takes {method} only", head.uri.path());
        return finish(Reply::refuse(405, "METHOD_NOT_ALLOWED", &error));
    }
    if body_failed {
        return finish(Reply::refuse(
            413,
            "BODY_TOO_LARGE",
            "body too large or cut off",
        ));
    }
    shared.unstalled(stage).await;
    if let Some(refusal) = shared.take_refusal(endpoint) {
        return finish(Reply::fault(refusal));
    }
    let query = head.uri.query().unwrap_or_default();
    if endpoint != Endpoint::Token && claims.is_none() {
        if bearer(&head).is_none() {
            note(shared, &head, "no Authorization: Bearer header");
        }
        return finish(unauthorized());
    }
    if endpoint == Endpoint::Connect {
        let Some(claims) = claims else {
            return finish(unauthorized());
        };
        return match upgrade::check(shared, &head.headers, query, &claims) {
            Err(reply) => {
                if reply.status == 400 {
                    note(shared, &head, &reply.as_fault());
                }
                finish(reply)
            }
            Ok(accepted) => {
                // Recorded before the 101 leaves, so that whoever sees the 101 finds it recorded.
                shared.change(|state| state.record_status(seq, 101));
                upgrade::switch(shared, accepted, upgrade)
            }
        };
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(&body) else {
        note(shared, &head, "a body that is not a JSON object");
        return finish(Reply::bad_request("the body must be a JSON object"));
    };
    let reply = answer(shared, endpoint, claims.as_ref(), fields).await;
    if reply.status == 400 {
        note(shared, &head, &reply.as_fault());
    }
    finish(reply)
}

async fn answer(
    shared: &Shared,
    endpoint: Endpoint,
    claims: Option<&Claims>,
    fields: Map<String, Value>,
) -> Reply {
    match (endpoint, claims) {
        (Endpoint::Token, _) => auth_endpoint::get_token(shared, &fields),
        (Endpoint::Register, Some(claims)) => {
            agents_endpoint::register(shared, claims, &fields).await
        }
        (Endpoint::Deregister, Some(_)) => agents_endpoint::deregister(shared, &fields),
        (Endpoint::Heartbeat, Some(_)) => agents_endpoint::heartbeat(shared, fields),
        (Endpoint::SessionInit, Some(_)) => sessions_endpoint::init(shared, &fields),
        (Endpoint::SessionClose, Some(_)) => sessions_endpoint::close(shared, &fields),
        (Endpoint::Connect, _) | (_, None) => unauthorized(),
    }
}

fn unauthorized() -> Reply {
    Reply::refuse(401, "UNAUTHORIZED", "a valid bearer token is needed")
}

fn bearer(head: &request::Parts) -> Option<&str> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

fn record(shared: &Shared, head: &request::Parts, body: &Bytes, authorized: bool) -> u64 {
    let query = head.uri.query();
    let authorization = match (head.headers.contains_key(header::AUTHORIZATION), authorized) {
        (false, _) => Authorization::Absent,
        (true, false) => Authorization::Invalid,
        (true, true) => Authorization::Valid,
    };
    let record = RequestRecord {
        seq: 0,
        at: Duration::ZERO,
        method: head.method.to_string(),
        path: redact::text(head.uri.path()),
        query: query.map(redact::query),
        status: None,
        body: if body.is_empty() {
            Value::Null
        } else {
            redact::text_as_value(&String::from_utf8_lossy(body))
        },
        headers: head.headers.keys().map(|n| n.as_str().to_owned()).collect(),
        authorization,
    };
    let seq = shared.change(|state| state.record_request(record));
    if query.is_some_and(redact::query_has_secret) {
        note(shared, head, "a credential in the query");
    }
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let is_json = content_type.is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if head.method == Method::POST && !is_json {
        note(shared, head, "a body that is not sent as application/json");
    }
    if head.headers.contains_key(header::COOKIE) {
        note(shared, head, "a cookie");
    }
    seq
}

fn note(shared: &Shared, head: &request::Parts, what: &str) {
    let who = format!("{} {}", head.method, head.uri.path());
    shared.change(|state| state.violation(&who, what));
}
