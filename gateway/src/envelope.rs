//! The envelope of every frame and what its payload must hold (protocol.md 4).

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::timestamp;

const ID_LIMIT_BYTES: usize = 128;
/// The values of `status` in a heartbeat (protocol.md 5).
pub(crate) const STATUSES: [&str; 6] = [
    "available",
    "busy",
    "draining",
    "offline",
    "unhealthy",
    "unknown",
];

/// A frame from an agent. The derive refuses unknown and repeated keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    v: u64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: String,
    ts: String,
    #[serde(default)]
    pub(crate) in_reply_to: Option<String>,
    pub(crate) payload: Map<String, Value>,
}

/// Reads a frame; the error says what is wrong with it.
pub(crate) fn read(text: &str) -> Result<Envelope, String> {
    let frame: Envelope = serde_json::from_str(text).map_err(|error| {
        if error.is_syntax() || error.is_eof() {
            format!("text that is not JSON: {error}")
        } else {
            format!("bad envelope: {error}")
        }
    })?;
    if frame.v != 1 {
        return Err(format!("bad envelope: v is {}, not 1", frame.v));
    }
    if frame.id.is_empty() || frame.id.len() > ID_LIMIT_BYTES {
        return Err(format!("bad envelope: id of {} bytes", frame.id.len()));
    }
    if !timestamp::is_well_formed(&frame.ts) {
        return Err(format!(
            "bad envelope: ts {:?} is not ISO-8601 UTC with milliseconds",
            frame.ts
        ));
    }
    Ok(frame)
}

impl Envelope {
    /// What is wrong with the payload of this type, if anything.
    pub(crate) fn payload_fault(&self) -> Option<String> {
        let strings = |keys: &[&str]| {
            let missing = keys
                .iter()
                .find(|key| !self.payload.get(**key).is_some_and(Value::is_string))?;
            Some(format!("{} without the string {missing}", self.kind))
        };
        match self.kind.as_str() {
            "hello" => strings(&["instance_id", "agent_type", "agent_version", "sdk_version"])
                .or_else(|| {
                    let card = self.payload.get("agent_card");
                    (!card.is_some_and(Value::is_object))
                        .then(|| "hello without the object agent_card".to_owned())
                }),
            "heartbeat" => heartbeat_fault(&self.payload),
            "dispatch_result" => (!self.payload.contains_key("result"))
                .then(|| "dispatch_result without result".to_owned()),
            "error" => strings(&["code", "message"]),
            other => Some(format!("unknown frame type {other:?}")),
        }
    }
}

/// What is wrong with a heartbeat, by frame or HTTP (protocol.md 5).
pub(crate) fn heartbeat_fault(payload: &Map<String, Value>) -> Option<String> {
    if let Some(status) = payload.get("status")
        && !status.as_str().is_some_and(|s| STATUSES.contains(&s))
    {
        return Some(format!("heartbeat with status {status}"));
    }
    [
        "current_sessions",
        "max_concurrent_sessions",
        "consecutive_failures",
    ]
    .iter()
    .find(|key| payload.get(**key).is_some_and(|count| !count.is_u64()))
    .map(|key| format!("heartbeat with {key} {}", payload[*key]))
}

/// A frame to an agent.
pub(crate) fn write(kind: &str, id: &str, in_reply_to: Option<&str>, payload: &Value) -> String {
    let mut frame = json!({
        "v": 1, "type": kind, "id": id, "ts": timestamp::now(), "payload": payload,
    });
    if let Some(in_reply_to) = in_reply_to {
        frame["in_reply_to"] = in_reply_to.into();
    }
    frame.to_string()
}
