//! The trace context of a call, wherever it was put (section 7, rule 3): in the payload, in its session context, or in
//! the HTTP headers. What is malformed is absent, and the next place is looked at.

use serde_json::{Map, Value, json};

use super::trace::{parse_baggage, parse_traceparent};

/// Finds it. `headers` is an object with names in any case and texts or lists of texts, as servers hand them out.
/// Members: "baggage" and "`propagation_headers`" always, "traceparent", "`parent_trace_id`" and "`parent_span_id`" if there
/// is one.
pub fn extract(payload: &Value, headers: &Value) -> Value {
    let session = &payload["session_context"];
    let places = |name: &'static str| {
        let sent = [&payload[name], &session[name]].into_iter();
        sent.filter_map(Value::as_str)
            .map(str::to_owned)
            .chain(header(headers, name))
    };
    let traceparent = places("traceparent").find(|text| parse_traceparent(text).is_some());
    let baggage = places("baggage").next();

    let mut context = Map::new();
    let mut passed_on = Map::new();
    if let Some(text) = traceparent {
        if let Some(parent) = parse_traceparent(&text) {
            context.insert("parent_trace_id".to_owned(), parent.trace_id.into());
            context.insert("parent_span_id".to_owned(), parent.span_id.into());
        }
        passed_on.insert("traceparent".to_owned(), text.as_str().into());
        context.insert("traceparent".to_owned(), text.into());
    }
    let members = baggage.as_deref().map(parse_baggage).unwrap_or_default();
    let members: Map<_, _> = members
        .into_iter()
        .map(|(key, value)| (key, value.into()))
        .collect();
    if let Some(text) = baggage {
        passed_on.insert("baggage".to_owned(), text.into());
    }
    context.insert("baggage".to_owned(), members.into());
    context.insert("propagation_headers".to_owned(), json!(passed_on));
    context.into()
}

/// A header that may have come in several lines, which for a list such as baggage mean the same as one.
fn header(headers: &Value, name: &str) -> Option<String> {
    let members = headers.as_object()?;
    let (_, value) = members
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) => {
            let lines: Option<Vec<_>> = lines.iter().map(Value::as_str).collect();
            lines
                .filter(|lines| !lines.is_empty())
                .map(|lines| lines.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-1111111111111111-01";
    const B: &str = "00-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-2222222222222222-00";
    const C: &str = "00-cccccccccccccccccccccccccccccccc-3333333333333333-01";

    fn parent(payload: &Value, headers: &Value) -> Value {
        extract(payload, headers)["traceparent"].clone()
    }

    #[test]
    fn the_payload_is_asked_before_its_session_and_that_before_the_headers() {
        let headers = json!({"TraceParent": C, "BAGGAGE": ["u=c", "v=d"]});
        let whole = json!({"traceparent": A, "baggage": "u=a", "session_context": {"traceparent": B, "baggage": "u=b"}});
        let seen = extract(&whole, &headers);
        assert_eq!(
            seen,
            json!({
                "traceparent": A,
                "parent_trace_id": "a".repeat(32),
                "parent_span_id": "1".repeat(16),
                "baggage": {"u": "a"},
                "propagation_headers": {"traceparent": A, "baggage": "u=a"},
            })
        );
        let inner = json!({"session_context": {"traceparent": B, "baggage": "u=b"}});
        assert_eq!(parent(&inner, &headers), B);
        assert_eq!(extract(&inner, &headers)["baggage"], json!({"u": "b"}));
        let seen = extract(&json!({}), &headers);
        assert_eq!(seen["parent_trace_id"], "c".repeat(32));
        assert_eq!(seen["baggage"], json!({"u": "c", "v": "d"}));
        assert_eq!(
            seen["propagation_headers"],
            json!({"traceparent": C, "baggage": "u=c,v=d"})
        );
    }

    #[test]
    fn what_is_malformed_is_looked_for_elsewhere_and_absent_in_the_end() {
        let nothing = json!({"baggage": {}, "propagation_headers": {}});
        for payload in [
            json!({"traceparent": "00-nonsense"}),
            json!({"traceparent": 7, "baggage": 7, "session_context": "x"}),
            json!([A]),
            json!(A),
            json!(null),
        ] {
            assert_eq!(extract(&payload, &Value::Null), nothing, "{payload}");
            assert_eq!(parent(&payload, &json!({"traceparent": C})), C);
            assert_eq!(
                parent(&payload, &json!({"traceparent": [A, C]})),
                Value::Null
            );
        }
        for headers in [
            json!([]),
            json!("x"),
            json!({"baggage": [], "traceparent": 1}),
        ] {
            assert_eq!(extract(&json!({}), &headers), nothing, "{headers}");
        }
    }
}
