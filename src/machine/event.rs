//! What the application is told (`reliability.md` 6.6).

use serde_json::{Value, json};

/// The kind of an event. The discriminants are the C ABI's `svantic_event` and keep their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum EventKind {
    /// `{"state","previous","link"}`
    State = 1,
    /// `{"generation","expires_at"}`
    TokenRefreshed = 2,
    /// `{"capabilities","revision"}`
    Registered = 3,
    /// `{"dispatch_id","reason"}`: the mesh no longer wants the answer.
    DispatchCancelled = 4,
    /// `{"level","target","message"}`
    Log = 5,
    /// `{"connection","resumed"}`
    Connected = 6,
    /// `{"connection","cause","code"}`
    Disconnected = 7,
    /// `{"cause","message","delay_ms","attempt"}`
    Backoff = 8,
    /// `{"code","message"}`: the mesh refuses the credentials.
    AuthFailed = 9,
    /// `{"seconds_left"}`: a token that the library cannot renew.
    TokenExpiring = 10,
    /// `{}`: a token that the library cannot renew is no longer valid.
    TokenExpired = 11,
    /// `{}`: the mesh no longer knows the instance; it registers again.
    InstanceForgotten = 12,
    /// `{}`: another process took this instance id.
    Superseded = 13,
    /// `{"in_flight","until_ms"}`
    Draining = 14,
    /// `{"dispatch_id","reason"}`: an answer that is given up without proof that it was delivered.
    ResultDropped = 15,
    /// `{"dispatch_id","code"}`
    DispatchRefused = 16,
    /// `{"count"}`: so many events were dropped because nobody took them.
    Missed = 17,
    /// An error object: the connector has given up for good.
    Failed = 18,
    /// `{"connection"}`: the peer answers no pings, so answers count as delivered when the connection lived on.
    FenceUnsupported = 19,
    /// `{"used"}`: one client secret was refused, and the other one is shown.
    CredentialFallback = 20,
    /// `{"generation","reason"}`: the application is to issue a token.
    TokenWanted = 21,
    /// `{"session_id","reason"}`: a session has ended without having been closed.
    SessionClosed = 22,
    /// `{"stalled","oldest_ms"}`: the application does not pick dispatches up, or does again.
    Stalled = 23,
}

impl EventKind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::TokenRefreshed => "token_refreshed",
            Self::Registered => "registered",
            Self::DispatchCancelled => "dispatch_cancelled",
            Self::Log => "log",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Backoff => "backoff",
            Self::AuthFailed => "auth_failed",
            Self::TokenExpiring => "token_expiring",
            Self::TokenExpired => "token_expired",
            Self::InstanceForgotten => "instance_forgotten",
            Self::Superseded => "superseded",
            Self::Draining => "draining",
            Self::ResultDropped => "result_dropped",
            Self::DispatchRefused => "dispatch_refused",
            Self::Missed => "missed",
            Self::Failed => "failed",
            Self::FenceUnsupported => "fence_unsupported",
            Self::CredentialFallback => "credential_fallback",
            Self::TokenWanted => "token_wanted",
            Self::SessionClosed => "session_closed",
            Self::Stalled => "stalled",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Its fields, an object.
    pub data: Value,
}

impl Event {
    /// An event with its fields.
    pub fn new(kind: EventKind, data: Value) -> Self {
        Self { kind, data }
    }

    /// A log line.
    pub fn log(level: &'static str, target: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::new(
            EventKind::Log,
            json!({"level": level, "target": target, "message": message}),
        )
    }
}
