//! Those who call a [`Rig`] by POST: requests as a server takes them in, and responses as it gives them out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::rig::{Rig, machine_of};
use crate::config::Config;
use crate::hosted::{self, Head, ResponsePart, Site, Trouble};
use crate::machine::action::{CallId, Response};
use crate::verification::Verification;

/// A hosted agent, and who calls it.
pub(super) struct Desk {
    pub(super) rig: Rig,
    site: Site,
    verification: Option<Arc<Verification>>,
    next_call: CallId,
    /// What each call got.
    got: BTreeMap<CallId, Vec<ResponsePart>>,
    pub(super) headers: Vec<(&'static str, &'static str)>,
}

/// A message for the agent, around this data part.
pub(super) fn message(method: &str, message_id: &str, data: &Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": method,
        "params": {"message": {
            "kind": "message", "role": "user", "messageId": message_id,
            "parts": [{"kind": "data", "data": data}],
        }},
    })
}

/// The data part of a call to `echo`.
pub(super) fn echo(dispatch_id: &str, n: u64) -> Value {
    json!({"skill_id": "echo", "args": {"n": n}, "dispatch_id": dispatch_id})
}

impl Desk {
    /// An agent that has not connected.
    pub(super) fn new(changes: &Value) -> Self {
        Self::seeded(changes, 7)
    }

    pub(super) fn seeded(changes: &Value, seed: u64) -> Self {
        let mut whole = json!({"public_url": "https://desk.example"});
        for (key, value) in changes.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let config: Config = super::rig::config(&whole);
        let site = Site::new(&config);
        let verification = Verification::new(&config).unwrap().map(Arc::new);
        let rig = Rig::of(machine_of(config, verification.clone(), seed));
        Self {
            rig,
            site,
            verification,
            next_call: 1,
            got: BTreeMap::new(),
            headers: Vec::new(),
        }
    }

    /// One that is registered, with everything that led there forgotten.
    pub(super) fn registered(changes: &Value) -> Self {
        let mut desk = Self::new(changes);
        let connect = desk.rig.connect();
        desk.rig.token_ok();
        let reply = json!({"ok": true, "tenant_id": "t1"});
        desk.rig.reply("/agents/register", 200, &reply);
        assert!(desk.rig.result(connect).is_ok());
        desk.rig.forget();
        desk
    }

    /// What the connector does with a body.
    pub(super) fn post(&mut self, body: &[u8]) -> CallId {
        let id = self.next_call;
        self.next_call += 1;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let head = Head {
            method: Method::POST,
            path: "/send".to_owned(),
            headers,
            peer: None,
        };
        let now = self.rig.now();
        let unix_time = Duration::from_millis(now.unix_ms);
        let verification = self.verification.as_deref();
        let (site, mut made) = (&self.site, String::new());
        match hosted::read(site, &head, body, verification, unix_time, &mut made) {
            Ok(call) => {
                self.rig.machine.handle_call(now, id, call);
                self.rig.collect();
            }
            Err(Trouble::Response(part)) => {
                self.got.insert(id, vec![part]);
            }
            Err(Trouble::Unauthenticated(cause)) => {
                self.rig.machine.call_refused(now, cause);
                self.rig.collect();
                let part = hosted::render(Response::Unauthenticated);
                self.got.insert(id, vec![part]);
            }
        }
        id
    }

    /// `message/send` with this data part, whose message has an id of its own.
    pub(super) fn send(&mut self, data: &Value) -> CallId {
        let message_id = format!("m{}", self.next_call);
        let body = message("message/send", &message_id, data);
        self.post(body.to_string().as_bytes())
    }

    /// The same as a stream.
    pub(super) fn stream(&mut self, data: &Value) -> CallId {
        let message_id = format!("m{}", self.next_call);
        let body = message("message/stream", &message_id, data);
        self.post(body.to_string().as_bytes())
    }

    /// What a call has got so far; nothing comes after the last part.
    pub(super) fn parts(&mut self, call: CallId) -> Vec<ResponsePart> {
        for (id, response) in std::mem::take(&mut self.rig.responses) {
            let is_last = response.is_last();
            let parts = self.got.entry(id).or_default();
            assert!(
                parts.last().is_none_or(|part| part.more),
                "call {id} has had its last part"
            );
            let part = hosted::render(response);
            assert_eq!(part.more, !is_last);
            assert_eq!(part.head.is_some(), parts.is_empty() && !part.cancelled);
            parts.push(part);
        }
        self.got.get(&call).cloned().unwrap_or_default()
    }

    pub(super) fn is_answered(&mut self, call: CallId) -> bool {
        self.parts(call).last().is_some_and(|part| !part.more)
    }

    /// The status and the body of a call that got its response in one part.
    pub(super) fn answer(&mut self, call: CallId) -> (u16, Value) {
        let mut parts = self.parts(call);
        assert_eq!(parts.len(), 1, "call {call} has no response in one part");
        let part = parts.remove(0);
        let (status, headers) = part.head.unwrap();
        let retried = headers.iter().any(|(name, _)| *name == "retry-after");
        assert_eq!(retried, status == 503);
        (status, serde_json::from_str(&part.body).unwrap())
    }

    /// The result in an answer of A2A 0.3.
    pub(super) fn result(&mut self, call: CallId) -> Value {
        let (status, body) = self.answer(call);
        assert_eq!(status, 200);
        body["result"]["parts"][0]["data"]["result"].clone()
    }

    /// Status, number of the JSON-RPC error and the platform's code.
    pub(super) fn refusal(&mut self, call: CallId) -> (u16, i64, String) {
        let (status, body) = self.answer(call);
        let error = &body["error"];
        let code = error["data"]["code"].as_str().unwrap_or_default();
        (status, error["code"].as_i64().unwrap(), code.to_owned())
    }

    /// The ids of the dispatches that the application was given since the last look.
    pub(super) fn delivered(&mut self) -> Vec<String> {
        let delivered = std::mem::take(&mut self.rig.delivered);
        delivered.iter().map(|d| d.id.to_string()).collect()
    }

    pub(super) fn snapshot(&self, key: &str) -> Value {
        self.rig.machine.snapshot(self.rig.now())[key].clone()
    }
}
