//! What goes back: a message with the result, a task that failed, or an error.

use super::{Version, code};
use crate::protocol::frame_writer::{Stamp, push_json_string};
use crate::protocol::timestamp::push_timestamp;

/// What is kept of a call until its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    /// The version that the answer is written in.
    pub version: Version,
    /// The request's id as it was written.
    pub id: String,
    /// The conversation that the call named.
    pub context_id: Option<String>,
    /// Whether the answer goes out as an event.
    pub streaming: bool,
}

impl ReplyTo {
    /// Whether an error goes out as an event, see [`refuses_by_event`].
    pub fn refuses_by_event(&self) -> bool {
        refuses_by_event(self.version, self.streaming)
    }
}

/// Whether an error with status 200 goes out as the only event of a stream. The official clients of 0.3 take nothing else
/// for an answer to `message/stream`, and those of 1.0 make the error that it is out of a plain JSON response only.
pub fn refuses_by_event(version: Version, streaming: bool) -> bool {
    streaming && version == Version::V0_3
}

/// How a dispatch ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Any JSON value, already checked.
    Result(&'a str),
    /// The handler, or what it returned, failed.
    Failed {
        /// The platform's code or the application's own.
        code: &'a str,
        /// What the caller is told.
        message: &'a str,
    },
}

/// An upper bound of what an answer takes besides its variable parts.
const ENVELOPE_BYTES: usize = 640;

/// The JSON-RPC response to a call that was admitted: a message for a result, and for a failure a task in state failed,
/// which is how A2A says that work was begun and went wrong. Both versions stream the same objects.
pub fn reply(to: &ReplyTo, outcome: Outcome<'_>, dispatch_id: &str, stamp: Stamp) -> String {
    let (json, text) = match outcome {
        Outcome::Result(json) => (json, ""),
        Outcome::Failed { message, .. } => ("", message),
    };
    let mut out = String::with_capacity(
        ENVELOPE_BYTES + to.id.len() + json.len() + 2 * text.len() + 4 * dispatch_id.len(),
    );
    begin(&mut out, &to.id);
    out.push_str(",\"result\":");
    let answer = Answer {
        version: to.version,
        // A conversation of its own, and the same one when the answer is asked for again.
        context_id: to.context_id.as_deref().unwrap_or(dispatch_id),
        dispatch_id,
        stamp,
    };
    match (outcome, to.version) {
        (Outcome::Result(json), Version::V0_3) => answer.push_message(&mut out, json),
        (Outcome::Result(json), Version::V1_0) => {
            out.push_str("{\"message\":");
            answer.push_message(&mut out, json);
            out.push('}');
        }
        (Outcome::Failed { code, message }, Version::V0_3) => {
            answer.push_task(&mut out, code, message);
        }
        (Outcome::Failed { code, message }, Version::V1_0) => {
            out.push_str("{\"task\":");
            answer.push_task(&mut out, code, message);
            out.push('}');
        }
    }
    out.push('}');
    out
}

/// A JSON-RPC error. `id` is as the request wrote it, `null` if that is not known. In 0.3 the platform's code is
/// `data.code`; in 1.0 `data` is a list of protobuf's `Any`, of which clients read the `ErrorInfo`.
pub fn error(
    id: &str,
    version: Version,
    code: i32,
    message: &str,
    platform_code: Option<&str>,
) -> String {
    let mut out = String::with_capacity(ENVELOPE_BYTES + id.len() + message.len());
    begin(&mut out, id);
    out.push_str(",\"error\":{\"code\":");
    out.push_str(&code.to_string());
    out.push_str(",\"message\":");
    push_json_string(&mut out, message);
    match (version, platform_code) {
        (Version::V0_3, None) => {}
        (Version::V0_3, Some(platform_code)) => {
            out.push_str(",\"data\":{\"code\":");
            push_json_string(&mut out, platform_code);
            out.push('}');
        }
        (Version::V1_0, platform_code) => push_error_info(&mut out, code, platform_code),
    }
    out.push_str("}}");
    out
}

fn push_error_info(out: &mut String, code: i32, platform_code: Option<&str>) {
    let (reason, domain) = match platform_code {
        Some(platform_code) => (platform_code, "svantic.com"),
        None => match reason(code) {
            Some(reason) => (reason, "a2a-protocol.org"),
            None => return,
        },
    };
    out.push_str(",\"data\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":");
    push_json_string(out, reason);
    out.push_str(",\"domain\":");
    push_json_string(out, domain);
    if let Some(platform_code) = platform_code {
        // The one place from which the Python client hands anything on.
        out.push_str(",\"metadata\":{\"code\":");
        push_json_string(out, platform_code);
        out.push('}');
    }
    out.push_str("}]");
}

/// What A2A 1.0 calls an error of its own.
fn reason(code: i32) -> Option<&'static str> {
    Some(match code {
        code::INVALID_REQUEST => "INVALID_REQUEST",
        code::METHOD_NOT_FOUND => "METHOD_NOT_FOUND",
        code::INVALID_PARAMS => "INVALID_PARAMS",
        code::INTERNAL_ERROR => "INTERNAL_ERROR",
        code::TASK_NOT_FOUND => "TASK_NOT_FOUND",
        code::PUSH_NOTIFICATION_NOT_SUPPORTED => "PUSH_NOTIFICATION_NOT_SUPPORTED",
        code::UNSUPPORTED_OPERATION => "UNSUPPORTED_OPERATION",
        code::CONTENT_TYPE_NOT_SUPPORTED => "CONTENT_TYPE_NOT_SUPPORTED",
        code::EXTENDED_CARD_NOT_CONFIGURED => "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
        code::VERSION_NOT_SUPPORTED => "VERSION_NOT_SUPPORTED",
        _ => return None,
    })
}

/// Everything up to the id.
fn begin(out: &mut String, id: &str) {
    out.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
    out.push_str(id);
}

struct Answer<'a> {
    version: Version,
    context_id: &'a str,
    dispatch_id: &'a str,
    stamp: Stamp,
}

impl Answer<'_> {
    fn push_message(&self, out: &mut String, result_json: &str) {
        self.begin_message(out);
        out.push_str(",\"parts\":[");
        out.push_str(self.data_part());
        out.push_str("{\"result\":");
        out.push_str(result_json);
        out.push_str("}}]}");
    }

    fn push_task(&self, out: &mut String, code: &str, message: &str) {
        out.push_str(match self.version {
            Version::V0_3 => "{\"kind\":\"task\",\"id\":",
            Version::V1_0 => "{\"id\":",
        });
        push_json_string(out, self.dispatch_id);
        out.push_str(",\"contextId\":");
        push_json_string(out, self.context_id);
        out.push_str(match self.version {
            Version::V0_3 => ",\"status\":{\"state\":\"failed\",\"timestamp\":\"",
            Version::V1_0 => ",\"status\":{\"state\":\"TASK_STATE_FAILED\",\"timestamp\":\"",
        });
        push_timestamp(out, self.stamp.unix_ms);
        out.push_str("\",\"message\":");
        self.begin_message(out);
        out.push_str(",\"taskId\":");
        push_json_string(out, self.dispatch_id);
        out.push_str(match self.version {
            Version::V0_3 => ",\"parts\":[{\"kind\":\"text\",\"text\":",
            Version::V1_0 => ",\"parts\":[{\"text\":",
        });
        push_json_string(out, message);
        out.push_str("},");
        out.push_str(self.data_part());
        out.push_str("{\"error\":{\"code\":");
        push_json_string(out, code);
        out.push_str(",\"message\":");
        push_json_string(out, message);
        out.push_str("}}}]}}}");
    }

    /// A message of the agent's, up to its conversation.
    fn begin_message(&self, out: &mut String) {
        out.push_str(match self.version {
            Version::V0_3 => "{\"kind\":\"message\",\"role\":\"agent\",\"messageId\":\"",
            Version::V1_0 => "{\"role\":\"ROLE_AGENT\",\"messageId\":\"",
        });
        let mut buffer = uuid::Uuid::encode_buffer();
        out.push_str(self.stamp.id.hyphenated().encode_lower(&mut buffer));
        out.push_str("\",\"contextId\":");
        push_json_string(out, self.context_id);
    }

    /// A data part, up to its data.
    fn data_part(&self) -> &'static str {
        match self.version {
            Version::V0_3 => "{\"kind\":\"data\",\"data\":",
            Version::V1_0 => "{\"data\":",
        }
    }
}
