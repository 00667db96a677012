//! What the gateway remembers of agents, requests, frames and sessions, as tests and people read it.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::redact;

/// One instance that has registered (protocol.md 3).
#[derive(Debug, Clone, Serialize)]
pub struct AgentRecord {
    /// The `instance_id`.
    pub instance_id: String,
    /// The `agent_type`.
    pub agent_type: String,
    /// The tenant of the token that registered it.
    pub tenant_id: String,
    /// `connected` or `hosted`.
    pub deployment_mode: String,
    /// The base URL of a hosted agent.
    pub url: Option<String>,
    /// Where a hosted agent is called: the `url` of its card.
    pub endpoint: Option<String>,
    /// The agent card of the last registration; of a hosted agent the one that the probe read.
    pub agent_card: Value,
    /// The `tools` of the last registration.
    pub tools: Value,
    /// The `dispatch_auth` of the last registration.
    pub dispatch_auth: Value,
    /// The whole body of the last registration, secrets removed.
    pub registration: Value,
    /// Whether the registration stands: false after a deregistration or `forget`.
    pub registered: bool,
    /// How many registrations succeeded.
    pub registrations: u64,
    /// How many deregistrations succeeded.
    pub deregistrations: u64,
    /// Whether dispatches reach it now: a socket is open and welcomed, or it is hosted, registered and neither draining
    /// nor offline.
    pub ready: bool,
    /// How many upgrades were answered with 101.
    pub connections: u64,
    /// How many sockets were welcomed.
    pub welcomes: u64,
    /// How many sockets are open now, welcomed or not.
    pub open_sockets: u64,
    /// The payload of the last `hello`.
    pub hello: Option<Value>,
    /// The last heartbeat, by frame or HTTP.
    pub last_heartbeat: Option<Value>,
    /// How many heartbeats came.
    pub heartbeats: u64,
    /// The `status` of the last heartbeat, `unknown` before the first.
    pub status: String,
    /// What the pongs to the gateway's own pings showed ([`server_ping`](crate::Options::server_ping)).
    pub round_trips: RoundTrips,
}

/// Round trips between a ping of the gateway and its pong.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct RoundTrips {
    /// How many pings were sent.
    pub pings: u64,
    /// How many pongs came.
    pub pongs: u64,
    /// The last one.
    #[serde(serialize_with = "as_seconds_if_any")]
    pub last: Option<Duration>,
    /// The longest one.
    #[serde(serialize_with = "as_seconds_if_any")]
    pub longest: Option<Duration>,
    /// All together; divided by `pongs` the mean.
    #[serde(serialize_with = "as_seconds")]
    pub total: Duration,
}

impl AgentRecord {
    pub(crate) fn unknown(instance_id: &str) -> Self {
        Self {
            instance_id: instance_id.to_owned(),
            agent_type: String::new(),
            tenant_id: String::new(),
            deployment_mode: String::new(),
            url: None,
            endpoint: None,
            agent_card: Value::Null,
            tools: Value::Null,
            dispatch_auth: Value::Null,
            registration: Value::Null,
            registered: false,
            registrations: 0,
            deregistrations: 0,
            ready: false,
            connections: 0,
            welcomes: 0,
            open_sockets: 0,
            hello: None,
            last_heartbeat: None,
            heartbeats: 0,
            status: "unknown".to_owned(),
            round_trips: RoundTrips::default(),
        }
    }

    /// Whether the gateway comes to it.
    pub fn is_hosted(&self) -> bool {
        self.deployment_mode == "hosted"
    }

    /// Whether it is hosted and wants dispatches.
    pub(crate) fn takes_posts(&self) -> bool {
        let leaving = ["draining", "offline"].contains(&self.status.as_str());
        self.is_hosted() && self.registered && !leaving
    }

    /// The ids of the card's skills.
    pub fn skills(&self) -> Vec<String> {
        let skills = self.agent_card.get("skills").and_then(Value::as_array);
        skills
            .into_iter()
            .flatten()
            .filter_map(|skill| skill.get("id").and_then(Value::as_str))
            .map(str::to_owned)
            .collect()
    }
}

/// What a request said about who it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// No `Authorization` header.
    Absent,
    /// A header, but no bearer token that is ours and unexpired.
    Invalid,
    /// A good bearer token.
    Valid,
}

/// One HTTP request, upgrades included; the control face is not recorded.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord {
    /// Counts from 1.
    pub seq: u64,
    /// Since the gateway's start.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, secrets removed.
    pub query: Option<String>,
    /// The status of the reply; `None` while there is none (a stall).
    pub status: Option<u16>,
    /// The body as JSON (or as a string when it is none), secrets removed.
    pub body: Value,
    /// The names of the headers, lower case.
    pub headers: Vec<String>,
    /// The `Authorization` header: there, and good.
    pub authorization: Authorization,
}

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The agent.
    FromAgent,
    /// The gateway.
    ToAgent,
}

/// What a frame is to WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameKind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A close frame.
    Close,
    /// No frame: the body of a call to a hosted agent, or of its reply.
    Http,
}

/// One WebSocket message, or one body of hosted mode.
#[derive(Debug, Clone)]
pub struct FrameRecord {
    /// Whose connection.
    pub instance_id: String,
    /// Which connection of that instance, from 1; 0 for HTTP.
    pub connection: u64,
    /// Who sent it.
    pub direction: Direction,
    /// What it is.
    pub kind: FrameKind,
    /// The exact text, but without the token of a call; of a close frame `CODE reason`; of binary, ping and pong the bytes read as UTF-8 with losses.
    pub text: String,
    /// Since the gateway's start.
    pub at: Duration,
}

impl FrameRecord {
    /// The text as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.text).ok()
    }

    /// As the control face shows it, secrets removed.
    pub(crate) fn shown(&self) -> Value {
        json!({
            "kind": "frame", "at": self.at.as_secs_f64(), "direction": self.direction, "frame": self.kind,
            "instance_id": self.instance_id, "connection": self.connection,
            "content": redact::text_as_value(&self.text),
        })
    }

    /// The envelope's `type`.
    pub fn frame_type(&self) -> Option<String> {
        Some(self.json()?.get("type")?.as_str()?.to_owned())
    }
}

/// One session (protocol.md 6).
#[derive(Debug, Clone, Serialize)]
pub struct SessionRecord {
    /// The id, made here or chosen by the caller.
    pub session_id: String,
    /// The instance that asked for it.
    pub instance_id: String,
    /// Its type.
    pub agent_type: String,
    /// The `user_id` of the request.
    pub user_id: Option<String>,
    /// `active` or `completed`.
    pub status: String,
}

pub(crate) fn as_seconds<S: serde::Serializer>(
    at: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.as_secs_f64())
}

// The signature is serde's.
#[allow(clippy::ref_option)]
pub(crate) fn as_seconds_if_any<S: serde::Serializer>(
    at: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(|at| at.as_secs_f64()).serialize(serializer)
}
