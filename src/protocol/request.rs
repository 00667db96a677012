//! What a handler is given: one JSON object per dispatch (section 7, rule 3).

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;

use super::chunk::Chunk;
use super::frame::{Dispatch, Session, text_in};
use super::frame_writer::push_json_string;
use super::json_scan::Raw;
use super::trace::{parse_baggage, parse_traceparent};

/// What is known of a dispatch beside its payload, and looked at where that says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The tenant that its token names.
    pub tenant_id: Option<&'a str>,
    /// The header of that name.
    pub traceparent: Option<&'a str>,
    /// The header of that name.
    pub baggage: Option<&'a str>,
}

/// The text of a request, with a NUL behind it for C.
#[derive(Debug, Clone)]
pub struct RequestText(Bytes);

impl RequestText {
    /// The text and the NUL.
    pub fn with_nul(&self) -> &[u8] {
        &self.0
    }

    /// How long the text is.
    pub fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// Never: it is an object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text.
    ///
    /// # Panics
    ///
    /// Never: what was a `str` is UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0[..self.len()]).expect("what was a str is UTF-8")
    }
}

impl From<String> for RequestText {
    fn from(mut text: String) -> Self {
        text.push('\0');
        Self(text.into())
    }
}

/// Writes requests, many of them to an allocation.
#[derive(Debug, Default)]
pub struct RequestWriter {
    request: String,
    chunk: Chunk,
}

impl RequestWriter {
    /// Writes `{"dispatch_id","skill_id","args","deadline_ms", …context}`; context fields that the mesh did not send are
    /// absent.
    ///
    /// `lead` is copied in behind the opening brace, for a reader that tells several kinds of object apart.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is another part of the text"
    )]
    pub fn write(
        &mut self,
        lead: &str,
        dispatch_id: &str,
        skill_id: &str,
        args_json: &str,
        deadline: Duration,
        dispatch: &Dispatch<'_>,
        beside: Beside<'_>,
    ) -> RequestText {
        let out = &mut self.request;
        out.clear();
        out.reserve(256 + lead.len() + dispatch_id.len() + skill_id.len() + args_json.len());
        out.push('{');
        out.push_str(lead);
        out.push_str("\"dispatch_id\":");
        push_json_string(out, dispatch_id);
        out.push_str(",\"skill_id\":");
        push_json_string(out, skill_id);
        out.push_str(",\"deadline_ms\":");
        let _ = write!(
            out,
            "{}",
            u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)
        );
        push_context(out, dispatch, beside);
        out.push_str(",\"args\":");
        out.push_str(args_json);
        out.push_str("}\0");
        RequestText(self.chunk.keep(out))
    }
}

fn push_context(out: &mut String, dispatch: &Dispatch<'_>, beside: Beside<'_>) {
    let session = dispatch.session();
    push_text(out, ",\"session_id\":", session.session_id);
    if !push_text(out, ",\"tenant_id\":", session.tenant_id) {
        push_field(out, "tenant_id", beside.tenant_id);
    }
    let traced = dispatch.traceparent.is_some()
        || dispatch.baggage.is_some()
        || session.traceparent.is_some()
        || session.baggage.is_some()
        || beside.traceparent.is_some()
        || beside.baggage.is_some();
    if traced {
        push_trace(out, dispatch, &session, beside);
    }
}

fn push_trace(
    out: &mut String,
    dispatch: &Dispatch<'_>,
    session: &Session<'_>,
    beside: Beside<'_>,
) {
    // One that is malformed is absent, so the next place is looked at.
    let traceparent = [dispatch.traceparent, session.traceparent]
        .into_iter()
        .filter_map(text_in)
        .chain(beside.traceparent.map(Cow::from))
        .find(|text| parse_traceparent(text).is_some());
    let trace = traceparent.as_deref().and_then(parse_traceparent);
    let baggage = text_in(dispatch.baggage)
        .or_else(|| text_in(session.baggage))
        .or(beside.baggage.map(Cow::from));
    if let (Some(trace), Some(traceparent)) = (trace, traceparent.as_deref()) {
        push_field(out, "traceparent", Some(traceparent));
        push_field(out, "parent_trace_id", Some(trace.trace_id));
        push_field(out, "parent_span_id", Some(trace.span_id));
    }
    if let Some(baggage) = baggage.as_deref() {
        let members: serde_json::Map<_, _> = parse_baggage(baggage)
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        out.push_str(",\"baggage\":");
        out.push_str(&serde_json::Value::from(members).to_string());
    }
    if trace.is_some() || baggage.is_some() {
        out.push_str(",\"propagation_headers\":{");
        let mut first = true;
        for (name, value) in [
            ("traceparent", traceparent.as_deref()),
            ("baggage", baggage.as_deref()),
        ] {
            if let Some(value) = value {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                push_json_string(out, name);
                out.push(':');
                push_json_string(out, value);
            }
        }
        out.push('}');
    }
}

/// Appends a text as it was sent, behind `lead`. Whether it is one.
fn push_text(out: &mut String, lead: &str, raw: Option<Raw<'_>>) -> bool {
    let Some(raw) = raw else { return false };
    if raw.plain_text().is_some() {
        out.push_str(lead);
        out.push_str(raw.get());
        return true;
    }
    let Some(text) = text_in(Some(raw)) else {
        return false;
    };
    out.push_str(lead);
    push_json_string(out, &text);
    true
}

fn push_field(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        push_json_string(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::object_in;
    use serde_json::{Value, json};

    fn written(payload: &Value) -> Value {
        let text = payload.to_string();
        let raw: &serde_json::value::RawValue = serde_json::from_str(&text).unwrap();
        let dispatch: Dispatch<'_> = object_in(Some(raw.into())).unwrap();
        let request = RequestWriter::default().write(
            "",
            "d1",
            "s",
            r#"{"a":1}"#,
            Duration::from_mins(1),
            &dispatch,
            Beside::default(),
        );
        let text = request.text();
        assert_eq!(request.with_nul(), format!("{text}\0").as_bytes());
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_bare_dispatch_has_the_four_fields() {
        assert_eq!(
            written(&json!({})),
            json!({"dispatch_id":"d1","skill_id":"s","deadline_ms":60000,"args":{"a":1}})
        );
    }

    #[test]
    fn context_is_found_in_payload_then_session_context() {
        let outer = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let inner = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
        let seen = written(&json!({
            "traceparent": outer,
            "session_context": {"session_id":"s1","tenant_id":"t1","traceparent":inner,"baggage":"user=a%20b"}
        }));
        assert_eq!(seen["session_id"], "s1");
        assert_eq!(seen["tenant_id"], "t1");
        assert_eq!(seen["traceparent"], outer);
        assert_eq!(seen["parent_trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(seen["parent_span_id"], "00f067aa0ba902b7");
        assert_eq!(seen["baggage"], json!({"user":"a b"}));
        assert_eq!(
            seen["propagation_headers"],
            json!({"traceparent":outer,"baggage":"user=a%20b"})
        );
    }

    #[test]
    fn a_malformed_traceparent_hides_no_good_one() {
        let inner = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
        let seen = written(&json!({
            "traceparent": "01-nonsense", "session_context": {"traceparent": inner}
        }));
        assert_eq!(seen["traceparent"], inner);
        assert_eq!(seen["parent_span_id"], "bbbbbbbbbbbbbbbb");
    }

    #[test]
    fn what_is_malformed_is_absent() {
        let seen = written(&json!({
            "traceparent": "01-nonsense", "baggage": 7, "session_context": {"session_id": 5, "tenant_id": "t"}
        }));
        for absent in [
            "traceparent",
            "parent_trace_id",
            "baggage",
            "propagation_headers",
            "session_id",
        ] {
            assert!(seen.get(absent).is_none(), "{absent}");
        }
        assert_eq!(seen["tenant_id"], "t");
        assert!(
            written(&json!({"session_context": "x"}))
                .get("session_id")
                .is_none()
        );
    }
}
