//! `POST /_gateway/rotate`: what dispatches are signed with from now on.

use serde::Deserialize;
use serde_json::json;

use super::secrets;
use crate::{reply::Reply, shared::Shared};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// Of this instance only.
    instance_id: Option<String>,
    /// A new one is made without it.
    secret: Option<String>,
}

/// The reply has the secret; nothing else the gateway says ever has.
pub(crate) fn rotate(shared: &Shared, body: &[u8]) -> Reply {
    let rotation: Rotation = match serde_json::from_slice(body) {
        Ok(rotation) => rotation,
        // Its text would quote the body.
        Err(_) => return Reply::bad_request("rotate takes {instance_id?, secret?}, both texts"),
    };
    if rotation.secret.as_deref() == Some("") {
        return Reply::bad_request("an empty secret signs nothing");
    }
    let secret = rotation.secret.unwrap_or_else(secrets::random);
    let reply = Reply::ok(&json!({"ok": true, "dispatch_secret": secret}));
    shared.change(|state| {
        let secrets = &mut state.hosted.secrets;
        secrets.set(rotation.instance_id.as_deref(), Some(secret));
    });
    reply
}
