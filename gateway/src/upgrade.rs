//! `GET /agents/connect`: who may have a WebSocket, and the 101 (protocol.md 4).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::form_urlencoded;

use crate::{
    agents_endpoint::instance_not_found,
    assumptions::DuplicateSocket,
    connection,
    faults::Override,
    reply::{Body, Reply},
    shared::Shared,
    state::Link,
    token::Claims,
};

/// The subprotocol that must be offered and comes back (protocol.md 4).
pub(crate) const SUBPROTOCOL: &str = "svantic.v1";

/// An upgrade that has passed every check.
pub(crate) struct Accepted {
    instance_id: String,
    accept_key: HeaderValue,
}

/// The complete table of refusals, in the order token, request, instance.
pub(crate) fn check(
    shared: &Shared,
    headers: &HeaderMap,
    query: &str,
    claims: &Claims,
) -> Result<Accepted, Reply> {
    let ids: Vec<String> = form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "instance_id")
        .map(|(_, value)| value.into_owned())
        .collect();
    let instance_id = match ids.as_slice() {
        [id] if !id.is_empty() => id.clone(),
        [] | [_] => return Err(missing("the query has no instance_id")),
        _ => return Err(missing("the query has more than one instance_id")),
    };
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offers_ours = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|name| name.trim() == SUBPROTOCOL);
    if !offers_ours {
        let error = format!("the subprotocol {SUBPROTOCOL} must be offered");
        return Err(Reply::refuse(400, "UNSUPPORTED_SUBPROTOCOL", &error));
    }
    let accept_key = accept_key(headers)?;
    shared.read(|state| {
        let agent = state
            .agents
            .get(&instance_id)
            .filter(|agent| agent.registered);
        let Some(agent) = agent else {
            return Err(instance_not_found(&instance_id));
        };
        if agent.tenant_id != claims.tenant_id {
            let error = "the instance belongs to another tenant";
            return Err(Reply::refuse(403, "TENANT_MISMATCH", error));
        }
        if agent.deployment_mode != "connected" {
            let error = format!("the instance is registered as {}", agent.deployment_mode);
            return Err(Reply::refuse(409, "DEPLOYMENT_MODE_MISMATCH", &error));
        }
        // One that we are closing ourselves does not stand in the way.
        let has_socket = |link: &Link| link.ready || !link.welcomed;
        if state.duplicate_socket == DuplicateSocket::Refuse
            && state.links_of(&instance_id).any(has_socket)
        {
            let error = "the instance has an open socket";
            return Err(Reply::refuse(409, "INSTANCE_ALREADY_CONNECTED", error));
        }
        Ok(())
    })?;
    Ok(Accepted {
        instance_id,
        accept_key,
    })
}

fn missing(error: &str) -> Reply {
    Reply::refuse(400, "MISSING_INSTANCE_ID", error)
}

fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Reply> {
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let is_websocket = has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let accept = key
        .filter(|_| is_websocket)
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    accept.ok_or_else(|| Reply::bad_request("not a WebSocket upgrade of version 13"))
}

/// Sends the 101 and starts the connection.
pub(crate) fn switch(
    shared: &Arc<Shared>,
    accepted: Accepted,
    upgrade: OnUpgrade,
) -> Response<Body> {
    let mut response = Response::new(Empty::<Bytes>::new().boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted.accept_key);
    let subprotocol = match &shared.faults.borrow().subprotocol {
        None => Some(HeaderValue::from_static(SUBPROTOCOL)),
        Some(Override::Null) => None,
        Some(Override::Text(other)) => HeaderValue::from_str(other).ok(),
    };
    if let Some(subprotocol) = subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    connection::start(shared, accepted.instance_id, upgrade);
    response
}
