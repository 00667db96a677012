//! One card that clients of both versions read.

use serde_json::{Value, json};

/// Adds to a card of 0.3 what clients of 1.0 read, which look for `supportedInterfaces` and for nothing else. Those of
/// 0.3 go by `url`, `preferredTransport` and `protocolVersion`, and pass over what they do not know.
///
/// A card without a `url`, or with interfaces of its own, stays as it is.
pub fn card(mut card: Value) -> Value {
    let Some(url) = card["url"].as_str().map(str::to_owned) else {
        return card;
    };
    if let Some(members) = card.as_object_mut() {
        members
            .entry("preferredTransport")
            .or_insert_with(|| "JSONRPC".into());
        members
            .entry("supportedInterfaces")
            .or_insert_with(|| interfaces(&url));
    }
    card
}

/// The newest first: the official clients take the first of its kind if they do not look for 1.0 itself.
fn interfaces(url: &str) -> Value {
    let interface = |version: &str| json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version});
    json!([interface("1.0"), interface("0.3")])
}
