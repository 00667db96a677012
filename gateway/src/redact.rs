//! Takes secrets out of everything that people or logs may see (security.md S-02).

use serde_json::Value;

const REMOVED: &str = "[removed]";
const SECRET_KEYS: [&str; 9] = [
    "client_secret",
    "token",
    "access_token",
    "authorization",
    "password",
    "secret",
    "dispatch_secret",
    "signing_secret",
    "shared_secret",
];

/// The value with every secret replaced: what sits under a telling key, and what looks like a JWT anywhere.
pub(crate) fn value(mut value: Value) -> Value {
    scrub(&mut value);
    value
}

fn scrub(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                let key = key.to_ascii_lowercase();
                if SECRET_KEYS.contains(&key.as_str()) && inner.is_string() {
                    *inner = Value::from(REMOVED);
                } else {
                    scrub(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::String(string) if string.contains("eyJ") => *string = text(string),
        _ => {}
    }
}

/// JSON text as a scrubbed value; other text as a scrubbed string.
pub(crate) fn text_as_value(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(self::text(text)), value)
}

/// The text with everything that looks like a JWT replaced.
pub(crate) fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let (before, from) = rest.split_at(start);
        let end = from
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=')))
            .unwrap_or(from.len());
        let (candidate, after) = from.split_at(end);
        clean.push_str(before);
        clean.push_str(if candidate.contains('.') {
            REMOVED
        } else {
            candidate
        });
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// The query of a request with what a secret-looking parameter carries replaced.
pub(crate) fn query(query: &str) -> String {
    let parts: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if SECRET_KEYS.contains(&key.to_ascii_lowercase().as_str()) => {
                format!("{key}={REMOVED}")
            }
            _ => text(pair),
        })
        .collect();
    parts.join("&")
}

/// Whether a query carries a credential, which no request may do (security.md S-07).
pub(crate) fn query_has_secret(raw: &str) -> bool {
    query(raw) != raw
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let clean = super::value(json!({
            "client_id": "c", "client_secret": "s3", "deep": [{"Token": "abc", "text": "Bearer eyJh.eyJi.x_y, ok"}],
            "svantic_auth": {"scheme": "shared_secret", "token": "t"}
        }));
        assert_eq!(
            clean,
            json!({
                "client_id": "c", "client_secret": "[removed]",
                "deep": [{"Token": "[removed]", "text": "Bearer [removed], ok"}],
                "svantic_auth": {"scheme": "shared_secret", "token": "[removed]"}
            })
        );
        assert_eq!(super::query("a=1&token=x"), "a=1&token=[removed]");
        assert!(super::query_has_secret("x=eyJa.b.c"));
        assert!(!super::query_has_secret("instance_id=eyJ"));
    }
}
