//! What the agent asked of the mesh over HTTP, told in the order in which the gateway recorded it.

use serde_json::Value;
use svantic_gateway::{Gateway, RequestRecord};

use crate::{
    failure::Failure,
    terminal::{Colour, Column, Terminal},
};

/// Knows which requests have been shown already.
#[derive(Default)]
pub(super) struct RequestLog {
    shown: usize,
}

impl RequestLog {
    /// Whether a request to `path` has come since the last [`show_new`](Self::show_new), and has its reply.
    pub(super) fn is_answered(&self, requests: &[RequestRecord], path: &str) -> bool {
        let new = requests.iter().skip(self.shown);
        new.filter(|request| request.path == path)
            .any(|request| request.status.is_some())
    }

    /// Shows the requests that came since the last time; one that was refused is a failure.
    pub(super) fn show_new(
        &mut self,
        gateway: &Gateway,
        screen: Terminal,
    ) -> Result<Vec<RequestRecord>, Failure> {
        let new: Vec<_> = gateway.requests().into_iter().skip(self.shown).collect();
        self.shown += new.len();
        if new.is_empty() {
            return Ok(new);
        }
        let table = screen.table([
            Column {
                title: "REQUEST",
                width: 24,
            },
            Column {
                title: "STATUS",
                width: 6,
            },
            Column {
                title: "WHAT IT DID",
                width: 77,
            },
        ]);
        for request in &new {
            let status = status_text(request);
            let colour = if is_good(request) {
                Colour::Good
            } else {
                Colour::Refused
            };
            table.row([
                (
                    format!("{} {}", request.method, request.path),
                    Colour::Plain,
                ),
                (status, colour),
                (meaning(request), Colour::Plain),
            ]);
        }
        match new.iter().find(|request| !is_good(request)) {
            None => Ok(new),
            Some(refused) => {
                let text = format!("the gateway refused {} {}", refused.method, refused.path);
                Err(Failure::new(text))
            }
        }
    }
}

/// Everything the gateway was asked, for whoever looks for what went wrong.
pub(super) fn seen_by(gateway: &Gateway) -> String {
    let requests = gateway.requests();
    if requests.is_empty() {
        return "The gateway has not heard from it at all.".to_owned();
    }
    let lines = requests.iter().map(|request| {
        let status = status_text(request);
        format!("  {} {} {status}", request.method, request.path)
    });
    let lines: Vec<String> = lines.collect();
    format!("What the gateway was asked:\n{}", lines.join("\n"))
}

fn status_text(request: &RequestRecord) -> String {
    request
        .status
        .map_or("none".to_owned(), |status| status.to_string())
}

fn is_good(request: &RequestRecord) -> bool {
    matches!(request.status, Some(101 | 200..=299))
}

fn meaning(request: &RequestRecord) -> String {
    match request.path.as_str() {
        "/auth/get_token" => "exchanged the credentials for a token".to_owned(),
        "/agents/register" => format!("registered with {}", skills(&request.body)),
        "/agents/connect" => "opened the WebSocket".to_owned(),
        "/agents/heartbeat" => format!("said how it is: {}", status_in(&request.body)),
        "/sessions/init" => "opened a session".to_owned(),
        "/sessions/close" => {
            let id = request.body["session_id"].as_str().unwrap_or("?");
            format!("closed the session {id}")
        }
        "/agents/deregister" => "took its registration back".to_owned(),
        _ => String::new(),
    }
}

/// Raw, or in an envelope.
fn status_in(heartbeat: &Value) -> &str {
    let inside = heartbeat.get("payload").unwrap_or(heartbeat);
    inside["status"].as_str().unwrap_or("?")
}

fn skills(registration: &Value) -> String {
    let skills = registration["agent_card"]["skills"].as_array();
    let names: Vec<&str> = skills
        .into_iter()
        .flatten()
        .filter_map(|skill| skill["id"].as_str())
        .collect();
    if names.is_empty() {
        "no capability".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_heartbeat_is_told_by_its_status() {
        let raw = json!({"instance_id": "i", "status": "draining"});
        assert_eq!(super::status_in(&raw), "draining");
        assert_eq!(super::status_in(&json!({"payload": raw})), "draining");
        assert_eq!(super::status_in(&json!({})), "?");
    }

    #[test]
    fn a_registration_is_told_by_its_capabilities() {
        let body =
            json!({"agent_card": {"skills": [{"id": "find_order"}, {"id": "cancel_order"}]}});
        assert_eq!(super::skills(&body), "find_order, cancel_order");
        assert_eq!(super::skills(&json!({})), "no capability");
    }
}
