mod calls;
mod cards;
mod faults;
mod fuzz;
mod replies;

use serde_json::{Value, json};

/// A request of 0.3 with these parts.
fn old(parts: &Value) -> String {
    let message = json!({"kind": "message", "role": "user", "messageId": "m1", "parts": parts});
    json!({"jsonrpc": "2.0", "id": 7, "method": "message/send", "params": {"message": message}})
        .to_string()
}

/// A request of 1.0 with these parts.
fn new(parts: &Value) -> String {
    let message = json!({"role": "ROLE_USER", "messageId": "m1", "parts": parts});
    json!({"jsonrpc": "2.0", "id": "r-1", "method": "SendMessage", "params": {"message": message}})
        .to_string()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
