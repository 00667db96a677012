//! `POST /sessions/init` and `/sessions/close` (protocol.md 6).

use serde_json::{Map, Value, json};

use crate::{
    agents_endpoint::{instance_not_found, text},
    records::SessionRecord,
    reply::Reply,
    shared::Shared,
};

pub(crate) fn init(shared: &Shared, fields: &Map<String, Value>) -> Reply {
    let Some(instance_id) = text(fields, "instance_id") else {
        return Reply::bad_request("instance_id is required");
    };
    // The server makes the id; a guide shows one chosen by the caller, which is taken over.
    let session_id = text(fields, "session_id").map_or_else(
        || format!("s-{}", uuid::Uuid::new_v4().simple()),
        str::to_owned,
    );
    shared.change(|state| {
        let agent = state
            .agents
            .get(instance_id)
            .filter(|agent| agent.registered);
        let Some(agent) = agent else {
            return instance_not_found(instance_id);
        };
        let session = SessionRecord {
            session_id: session_id.clone(),
            instance_id: instance_id.to_owned(),
            agent_type: agent.agent_type.clone(),
            user_id: text(fields, "user_id").map(str::to_owned),
            status: "active".to_owned(),
        };
        let reply = json!({
            "session_id": session_id, "instance_id": instance_id, "agent_type": session.agent_type,
        });
        state.totals.sessions += 1;
        state.sessions.open(session);
        Reply::ok(&reply)
    })
}

pub(crate) fn close(shared: &Shared, fields: &Map<String, Value>) -> Reply {
    let Some(session_id) = text(fields, "session_id") else {
        return Reply::bad_request("session_id is required");
    };
    if shared.change(|state| state.sessions.complete(session_id)) {
        Reply::ok(&json!({"ok": true, "session_id": session_id, "status": "completed"}))
    } else {
        let error = format!("no session {session_id:?}");
        Reply::refuse(404, "SESSION_NOT_FOUND", &error)
    }
}
