//! What a retry has in common with the call that it repeats.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ring::digest;
use serde_json::value::RawValue;

use crate::machine::hosted::Fingerprint;

/// Members that may differ between a call and its retry: who signed it when, and where it belongs in a trace.
const OF_THE_ATTEMPT: [&str; 3] = ["svantic_auth", "traceparent", "baggage"];

/// The fingerprint of a data part, whatever the order of its members and the white space between them.
pub(super) fn of_data(data_json: &str) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"data");
    let members = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(data_json);
    for (name, value) in members.unwrap_or_default() {
        if OF_THE_ATTEMPT.contains(&name.as_ref()) {
            continue;
        }
        context.update(&(name.len() as u64).to_le_bytes());
        context.update(name.as_bytes());
        without_white_space(value.get().as_bytes(), |bytes| context.update(bytes));
    }
    finish(context)
}

/// The fingerprint of a message that is text only.
pub(super) fn of_text(text: &str) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"text");
    context.update(text.as_bytes());
    finish(context)
}

fn finish(context: digest::Context) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// Gives out JSON without the white space between its tokens.
fn without_white_space(json: &[u8], mut out: impl FnMut(&[u8])) {
    let (mut from, mut at, mut in_string) = (0, 0, false);
    while at < json.len() {
        match json[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                out(&json[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    out(&json[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_that_was_signed_anew_is_the_same_and_nothing_else_is() {
        let first = of_data(
            r#"{"skill_id":"a","args":{"x":[1,"a b"]},"svantic_auth":{"token":"t"},"traceparent":"1"}"#,
        );
        for same in [
            r#"{"skill_id":"a","args":{"x":[1,"a b"]}}"#,
            "{\n \"args\" : { \"x\": [ 1,\t\"a b\" ] },\r\n \"skill_id\":\"a\", \"baggage\":\"c=d\"}",
        ] {
            assert_eq!(of_data(same), first, "{same}");
        }
        for other in [
            r#"{"skill_id":"b","args":{"x":[1,"a b"]}}"#,
            r#"{"skill_id":"a","args":{"x":[1,"ab"]}}"#,
            r#"{"skill_id":"a","args":{"x":[1,"a \" b"]}}"#,
            r#"{"skill_id":"a","args":{"x":[1,"a b"]},"session_context":{}}"#,
            r#"{"skill_id":"a"}"#,
            "{}",
        ] {
            assert_ne!(of_data(other), first, "{other}");
        }
        assert_ne!(of_text("a b"), of_text("ab"));
        assert_ne!(of_text(""), of_data("{}"));
    }

    #[test]
    fn white_space_in_strings_stays() {
        let mut out = Vec::new();
        let json = br#" { "a \" b\\" : "c d" , "e" : [ 1 , 2 ] } "#;
        without_white_space(json, |bytes| out.extend_from_slice(bytes));
        assert_eq!(out, br#"{"a \" b\\":"c d","e":[1,2]}"#);
    }
}
