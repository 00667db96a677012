//! A dispatch as a JSON-RPC call, as A2A 0.3 and 1.0 write it (protocol.md 8).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dispatch::DispatchRequest;

/// How a hosted agent is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum A2aMethod {
    /// A2A 0.3; one JSON reply.
    #[default]
    #[serde(rename = "message/send")]
    MessageSend,
    /// A2A 0.3; the reply is a stream of server-sent events.
    #[serde(rename = "message/stream")]
    MessageStream,
    /// A2A 1.0; one JSON reply.
    #[serde(rename = "SendMessage")]
    SendMessage,
    /// A2A 1.0; the reply is a stream of server-sent events.
    #[serde(rename = "SendStreamingMessage")]
    SendStreamingMessage,
}

impl A2aMethod {
    /// As the wire writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageSend => "message/send",
            Self::MessageStream => "message/stream",
            Self::SendMessage => "SendMessage",
            Self::SendStreamingMessage => "SendStreamingMessage",
        }
    }

    pub(crate) fn is_streaming(self) -> bool {
        matches!(self, Self::MessageStream | Self::SendStreamingMessage)
    }

    /// Whether it is of version 1.0 of A2A, which names its version in a header.
    pub(crate) fn is_1_0(self) -> bool {
        matches!(self, Self::SendMessage | Self::SendStreamingMessage)
    }
}

/// The body of the POST: the bytes of every sending of this dispatch.
pub(crate) fn write(request: &DispatchRequest, wire_id: &str, envelope: Option<&Value>) -> String {
    let method = request.method;
    let mut data = request.payload();
    if let Some(envelope) = envelope {
        data["svantic_auth"] = envelope.clone();
    }
    let typed = |kind: &str, mut part: Value| {
        if !method.is_1_0() {
            part["kind"] = kind.into();
        }
        part
    };
    let mut parts = Vec::new();
    if let Some(text) = &request.text {
        parts.push(typed("text", json!({"text": text})));
    }
    // A message of text alone has no data part unless there is something to put into it.
    if request.text.is_none() || data.as_object().is_some_and(|data| !data.is_empty()) {
        parts.push(typed("data", json!({"data": data})));
    }
    let mut message = json!({"messageId": wire_id, "role": "user", "parts": parts});
    if method.is_1_0() {
        message["role"] = "ROLE_USER".into();
    } else {
        message["kind"] = "message".into();
    }
    json!({
        "jsonrpc": "2.0", "id": wire_id, "method": method.name(), "params": {"message": message},
    })
    .to_string()
}

/// The body with the token of its envelope replaced, for records and logs.
pub(crate) fn without_token(body: &str) -> String {
    let Ok(mut call) = serde_json::from_str::<Value>(body) else {
        return String::new();
    };
    let parts = call.pointer_mut("/params/message/parts");
    for part in parts.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(token) = part.pointer_mut("/data/svantic_auth/token") {
            *token = "[removed]".into();
        }
    }
    call.to_string()
}
