//! `POST /agents/register`, `/agents/deregister` and `/agents/heartbeat` (protocol.md 3 and 5).

use serde_json::{Map, Value, json};

use crate::{
    envelope, faults::Override, hosted::probe, records::AgentRecord, redact, reply::Reply,
    script::Event, shared::Shared, state::State, token::Claims,
};

/// Where a hosted agent is called below its URL, unless its card says otherwise (protocol.md 8).
const DEFAULT_ENDPOINT_PATH: &str = "/send";
const SCHEMES: [&str; 2] = ["svantic_jwt", "shared_secret"];

pub(crate) fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let value = fields.get(key).and_then(Value::as_str);
    value.filter(|text| !text.is_empty())
}

pub(crate) fn instance_not_found(instance_id: &str) -> Reply {
    let error = format!("no registration for instance {instance_id:?}");
    Reply::refuse(404, "INSTANCE_NOT_FOUND", &error)
}

pub(crate) async fn register(
    shared: &Shared,
    claims: &Claims,
    fields: &Map<String, Value>,
) -> Reply {
    let (Some(agent_type), Some(instance_id), Some(mode)) = (
        text(fields, "agent_type"),
        text(fields, "instance_id"),
        text(fields, "deployment_mode"),
    ) else {
        return Reply::bad_request("agent_type, instance_id and deployment_mode are required");
    };
    if let Some(fault) = shape_fault(fields, mode) {
        return Reply::bad_request(&fault);
    }
    let allowed = &shared.options.allowed_agent_types;
    if allowed
        .as_ref()
        .is_some_and(|list| !list.iter().any(|t| t == agent_type))
    {
        let error = format!("agent type {agent_type:?} is not on the tenant's allow-list");
        return Reply::refuse(403, "AGENT_TYPE_NOT_ALLOWED", &error);
    }
    if let Some(refused) = shared.read(|state| conflict(state, claims, instance_id, mode)) {
        return refused;
    }
    let mut card = None;
    if let Some(url) = text(fields, "url").filter(|_| shared.options.probes_cards) {
        shared.change(|state| state.totals.probes += 1);
        match probe::card(shared, url).await {
            Ok(probed) => card = Some(probed),
            Err(error) => return Reply::refuse(502, "PROBE_FAILED", &error),
        }
    }
    let refused = shared.change(|state| {
        // Again: the probe took its time.
        let conflict = conflict(state, claims, instance_id, mode);
        if conflict.is_none() {
            enter(state, claims, fields, [agent_type, instance_id, mode], card);
        }
        conflict
    });
    refused.unwrap_or_else(|| accept(shared, claims, fields, instance_id, mode))
}

/// Why this registration cannot stand beside the one that there is.
fn conflict(state: &State, claims: &Claims, instance_id: &str, mode: &str) -> Option<Reply> {
    let known = state.agents.get(instance_id)?;
    if !known.registered {
        return None;
    }
    if known.tenant_id != claims.tenant_id {
        let error = "the instance belongs to another tenant";
        return Some(Reply::refuse(403, "TENANT_MISMATCH", error));
    }
    (known.deployment_mode != mode).then(|| {
        let error = format!("the instance is registered as {}", known.deployment_mode);
        Reply::refuse(409, "DEPLOYMENT_MODE_MISMATCH", &error)
    })
}

fn shape_fault(fields: &Map<String, Value>, mode: &str) -> Option<String> {
    match (mode, text(fields, "url")) {
        ("connected", None) | ("hosted", Some(_)) => {}
        ("connected", Some(_)) => return Some("url is for hosted agents only".to_owned()),
        ("hosted", None) => return Some("a hosted agent needs url".to_owned()),
        (other, _) => return Some(format!("deployment_mode {other:?} is unknown")),
    }
    let wrong = |key: &str, right: fn(&Value) -> bool| fields.get(key).is_some_and(|v| !right(v));
    for (key, right) in [
        ("agent_card", Value::is_object as fn(&Value) -> bool),
        ("tools", Value::is_array),
        ("mcp_servers", Value::is_object),
        ("dispatch_auth", Value::is_object),
        ("learning", Value::is_object),
        ("max_concurrent_sessions", Value::is_u64),
    ] {
        if wrong(key, right) {
            return Some(format!("{key} has the wrong type"));
        }
    }
    let auth = fields.get("dispatch_auth")?;
    let scheme_known = auth["scheme"]
        .as_str()
        .is_some_and(|s| SCHEMES.contains(&s));
    (!scheme_known || !auth["required"].is_boolean())
        .then(|| "dispatch_auth needs a known scheme and a boolean required".to_owned())
}

fn enter(
    state: &mut State,
    claims: &Claims,
    fields: &Map<String, Value>,
    names: [&str; 3],
    probed: Option<Value>,
) {
    let [agent_type, instance_id, mode] = names;
    let field = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let agent = state
        .agents
        .entry(instance_id.to_owned())
        .or_insert_with(|| AgentRecord::unknown(instance_id));
    agent_type.clone_into(&mut agent.agent_type);
    agent.tenant_id.clone_from(&claims.tenant_id);
    mode.clone_into(&mut agent.deployment_mode);
    agent.url = text(fields, "url").map(str::to_owned);
    agent.agent_card = probed.unwrap_or_else(|| field("agent_card"));
    agent.endpoint = agent.url.as_deref().map(|url| {
        let told = agent.agent_card["url"].as_str().map(str::to_owned);
        told.unwrap_or_else(|| format!("{}{DEFAULT_ENDPOINT_PATH}", url.trim_end_matches('/')))
    });
    if agent.is_hosted() {
        // Whatever it said before it was started again.
        "unknown".clone_into(&mut agent.status);
    }
    agent.tools = field("tools");
    agent.dispatch_auth = field("dispatch_auth");
    agent.registration = redact::value(Value::Object(fields.clone()));
    agent.registered = true;
    agent.registrations += 1;
    state.totals.registrations += 1;
    state.recount(instance_id);
    state.send_waiting(instance_id);
    state.happened(Event::Register, Some(instance_id));
}

fn accept(
    shared: &Shared,
    claims: &Claims,
    fields: &Map<String, Value>,
    instance_id: &str,
    mode: &str,
) -> Reply {
    let faults = shared.faults.borrow();
    let connect_url = match &faults.connect_url {
        Some(Override::Null) => Value::Null,
        Some(Override::Text(url)) => url.as_str().into(),
        None if mode == "hosted" => Value::Null,
        // http becomes ws and https becomes wss.
        None => format!("{}/agents/connect", shared.url.replacen("http", "ws", 1)).into(),
    };
    let mut reply = json!({
        "ok": true, "tenant_id": claims.tenant_id, "instance_id": instance_id,
        "deployment_mode": mode, "connect_url": connect_url, "svantic_jwks_url": null,
        "dispatch_auth": fields.get("dispatch_auth").map(|auth| {
            json!({"scheme": auth["scheme"], "required": auth["required"]})
        }),
    });
    for (key, value) in &faults.extra_register_fields {
        reply[key] = value.clone();
    }
    Reply::ok(&reply)
}

pub(crate) fn deregister(shared: &Shared, fields: &Map<String, Value>) -> Reply {
    let (Some(_), Some(instance_id)) = (text(fields, "agent_type"), text(fields, "instance_id"))
    else {
        return Reply::bad_request("agent_type and instance_id are required");
    };
    let known = shared.change(|state| {
        let agent = state.agents.get_mut(instance_id);
        let agent = agent.filter(|agent| agent.registered)?;
        agent.registered = false;
        agent.deregistrations += 1;
        state.totals.deregistrations += 1;
        state.recount(instance_id);
        Some(())
    });
    match known {
        Some(()) => Reply::ok(&json!({"ok": true, "instance_id": instance_id})),
        None => instance_not_found(instance_id),
    }
}

/// Takes the payload raw or inside `{v, id, ts, payload}`.
pub(crate) fn heartbeat(shared: &Shared, mut fields: Map<String, Value>) -> Reply {
    if fields.contains_key("v") {
        match fields.remove("payload") {
            Some(Value::Object(payload)) => fields = payload,
            _ => return Reply::bad_request("the envelope has no payload"),
        }
    }
    let Some(instance_id) = text(&fields, "instance_id").map(str::to_owned) else {
        return Reply::bad_request("instance_id is required");
    };
    if let Some(fault) = envelope::heartbeat_fault(&fields) {
        return Reply::bad_request(&fault);
    }
    let known = shared.change(|state| {
        let agent = state.agents.get(&instance_id);
        let known = agent.is_some_and(|agent| agent.registered);
        if known {
            state.take_heartbeat(&instance_id, fields);
        }
        known
    });
    if known {
        Reply::ok(&json!({"ok": true}))
    } else {
        instance_not_found(&instance_id)
    }
}
