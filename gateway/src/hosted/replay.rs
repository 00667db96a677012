//! A dispatch that was seen on its way and is sent again by somebody who should not (security.md S-11).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::forgery::Forgery;
use crate::{dispatch::DispatchRequest, shared::Shared};

/// A replay that has been asked for.
pub(crate) struct Replay {
    /// Of the ledger's entry of the replay itself.
    pub(crate) id: String,
    pub(crate) instance_id: String,
    pub(crate) request: Arc<DispatchRequest>,
    pub(crate) deadline: Instant,
}

/// Sends what is replayed, after the dispatch it repeats; that one is made first unless it has been.
pub(crate) async fn run(shared: &Shared, replay: Replay) {
    let wire_id = replay.request.id.clone();
    let wire_id = wire_id.unwrap_or_else(|| format!("d-{}", uuid::Uuid::new_v4().simple()));
    let seen = || shared.read(|state| state.hosted.captured(&wire_id));
    if seen().is_none() {
        let left = replay.deadline.saturating_duration_since(Instant::now());
        let first = DispatchRequest {
            id: Some(wire_id.clone()),
            instance_id: Some(replay.instance_id.clone()),
            timeout: Some(left),
            forge: None,
            ..DispatchRequest::clone(&replay.request)
        };
        let first = shared.change(|state| state.begin_dispatch(&first, Duration::ZERO));
        // Refused or answered: what counts is that it was sent.
        let _ = first.outcome().await;
    }
    let body = match seen() {
        None => {
            let why = "the dispatch that was to be replayed has not been sent or is too long ago";
            return shared.change(|state| state.replay_failed(&replay.id, why));
        }
        Some(body) if replay.request.forge == Some(Forgery::Replayed) => body,
        Some(body) => with_other_content(&body, &replay.request).into(),
    };
    shared.change(|state| state.post_replay(&replay, wire_id, body));
}

/// The call with its own token and this skill and these arguments, which are made to differ if they do not.
fn with_other_content(body: &str, request: &DispatchRequest) -> String {
    let mut call: Value = serde_json::from_str(body).unwrap_or_default();
    let parts = call.pointer_mut("/params/message/parts");
    let mut parts = parts.and_then(Value::as_array_mut).into_iter().flatten();
    if let Some(data) = parts.find_map(|part| part.get_mut("data")) {
        let before = data.clone();
        if let Some(skill_id) = &request.skill_id {
            data["skill_id"] = skill_id.as_str().into();
        }
        if let Some(args) = &request.args {
            data["args"] = args.clone();
        }
        if *data == before {
            if !data["args"].is_object() {
                data["args"] = json!({});
            }
            data["args"]["replayed"] = true.into();
        }
    }
    call.to_string()
}
