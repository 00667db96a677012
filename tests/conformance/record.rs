//! Everything that was seen of a run, in one order: the driver's lines, the gateway's requests and messages.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svantic_gateway::{Direction, FrameKind, FrameRecord, Gateway, Snapshot};

use crate::scenario::INSTANCE;

/// The names of the events, by their number in the C ABI.
const EVENTS: [&str; 23] = [
    "state",
    "token_refreshed",
    "registered",
    "dispatch_cancelled",
    "log",
    "connected",
    "disconnected",
    "backoff",
    "auth_failed",
    "token_expiring",
    "token_expired",
    "instance_forgotten",
    "superseded",
    "draining",
    "result_dropped",
    "dispatch_refused",
    "missed",
    "failed",
    "fence_unsupported",
    "credential_fallback",
    "token_wanted",
    "session_closed",
    "stalled",
];

/// How often the watcher of the gateway looks whether the run is over.
const RHYTHM: Duration = Duration::from_millis(20);

/// The observations of a run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    observations: Mutex<Vec<Value>>,
    grown: Condvar,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.observations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, observation: Value) {
        self.lock().push(observation);
        self.grown.notify_all();
    }

    pub(crate) fn all(&self) -> Vec<Value> {
        self.lock().clone()
    }

    /// What came after the first `known`, as soon as there is something; nothing if it is `until` first.
    pub(crate) fn after(&self, known: usize, until: Instant) -> Vec<Value> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .grown
            .wait_timeout_while(self.lock(), left, |all| all.len() <= known);
        let (all, _) = waited.unwrap_or_else(PoisonError::into_inner);
        all[known.min(all.len())..].to_vec()
    }
}

/// One line of a driver; `commands` are those that it was given so far, the first being its own connect.
pub(crate) fn line(text: &str, commands: &[String]) -> Value {
    let Ok(mut line) = serde_json::from_str::<Value>(text) else {
        return json!({"type": "not_json", "text": text});
    };
    match line["type"].as_str() {
        Some("event") => {
            let number = line["event"]
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            let name = number.and_then(|number| EVENTS.get(number.wrapping_sub(1)));
            let named = line["name"].as_str();
            if named.is_some() && named != name.copied() {
                return json!({"type": "misnamed", "line": line});
            }
            json!({"type": "event", "event": name, "data": line["data"].take()})
        }
        Some("done") => {
            let tag = line["tag"].as_i64().unwrap_or(-1);
            let command = usize::try_from(tag).ok().and_then(|tag| commands.get(tag));
            let command = command.map_or("leave", |command| command.as_str());
            // In pull delivery an error stands apart from a result; a completion function has one argument for both.
            let result = if line["error"].is_null() {
                line["result"].take()
            } else {
                line["error"].take()
            };
            json!({"type": "done", "command": command, "status": line["status"].take(), "result": result})
        }
        _ => line,
    }
}

/// What has been taken over from the gateway.
#[derive(Debug, Default)]
struct Taken {
    frames: usize,
    requests: BTreeSet<u64>,
}

impl Taken {
    fn new_ones(&mut self, seen: &Snapshot<'_>) -> Vec<Value> {
        let mut new = Vec::new();
        for request in seen.requests() {
            // One without a status has no reply yet.
            if request.status.is_some() && self.requests.insert(request.seq) {
                let mut observation = json!(request);
                observation["type"] = "request".into();
                new.push(observation);
            }
        }
        for frame in seen.frames(INSTANCE).skip(self.frames) {
            new.push(message(frame));
        }
        self.frames = seen.frames(INSTANCE).count();
        new
    }
}

fn message(frame: &FrameRecord) -> Value {
    let content = match frame.kind {
        FrameKind::Text | FrameKind::Http => frame.json().unwrap_or_else(|| json!(frame.text)),
        _ => json!(frame.text),
    };
    let from = match frame.direction {
        Direction::FromAgent => "agent",
        Direction::ToAgent => "mesh",
    };
    json!({"type": "frame", "from": from, "kind": frame.kind, "connection": frame.connection, "frame": content})
}

/// Takes over what the gateway sees, until `is_over` and nothing is left.
pub(crate) fn watch(gateway: &Gateway, record: &Record, is_over: impl Fn() -> bool) {
    let mut taken = Taken::default();
    loop {
        // Asked first, so that what came before the end is not missed.
        let last = is_over();
        let mut new = Vec::new();
        let wait = if last { Duration::ZERO } else { RHYTHM };
        gateway.wait_until(wait, |seen| {
            new = taken.new_ones(seen);
            !new.is_empty()
        });
        for observation in new {
            record.push(observation);
        }
        if last {
            return;
        }
    }
}
