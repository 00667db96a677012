//! `POST /auth/get_token` (protocol.md 2).

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    reply::Reply,
    script::Event,
    shared::{Shared, TENANT},
    token::Claims,
};

pub(crate) fn get_token(shared: &Shared, fields: &Map<String, Value>) -> Reply {
    let text = |key| {
        let value = fields.get(key).and_then(Value::as_str);
        value.filter(|text| !text.is_empty())
    };
    let (Some(client_id), Some(client_secret), Some(agent_type)) =
        (text("client_id"), text("client_secret"), text("agent_type"))
    else {
        return Reply::bad_request("client_id, client_secret and agent_type are required");
    };
    let ttl = match fields.get("expires_in") {
        None => shared.options.token_ttl,
        Some(seconds) => match seconds.as_u64().filter(|seconds| *seconds > 0) {
            Some(seconds) => Duration::from_secs(seconds),
            None => return Reply::bad_request("expires_in must be a positive number of seconds"),
        },
    };
    let good = shared
        .signer
        .same_secret(client_secret, &shared.options.client_secret);
    if client_id != shared.options.client_id || !good {
        return Reply::refuse(
            401,
            "UNAUTHORIZED",
            "unknown client_id or wrong client_secret",
        );
    }
    let claims = Claims::new(TENANT, agent_type, client_id, ttl);
    let token = shared.signer.sign(&claims);
    shared.change(|state| {
        state.totals.tokens += 1;
        state.happened(Event::Token, None);
    });
    Reply::ok(&json!({"token": token}))
}
