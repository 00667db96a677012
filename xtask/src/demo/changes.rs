//! What an agent changes while it is connected: its token, its capabilities, its sessions.

use std::time::Duration;

use svantic_gateway::A2aMethod;

use super::{
    conversation::{self, Call, Expected},
    joined::Joined,
    stage::Stage,
};
use crate::{failure::Failure, terminal::say};

const CHANGED_WITHIN: Duration = Duration::from_secs(15);

/// SIGHUP, to which the example answers with all of it at once.
pub(super) fn play(stage: &mut Stage<'_>, agent: &mut Joined) -> Result<(), Failure> {
    let gateway = stage.gateway;
    agent.process.signal(rustix::process::Signal::HUP)?;
    agent
        .process
        .wait_until(gateway, CHANGED_WITHIN, "closed its session", |seen| {
            stage.log.is_answered(seen.requests(), "/sessions/close")
        })?;
    let asked = stage.log.show_new(gateway, stage.screen)?;
    for path in ["/auth/get_token", "/agents/register", "/sessions/init"] {
        if !asked.iter().any(|request| request.path == path) {
            return Err(Failure::new(format!(
                "the agent did not call {path} after SIGHUP"
            )));
        }
    }
    if stage.record_of(&agent.instance)?.connections != 1 {
        return Err(Failure::new(
            "the agent dialled again, although none of this needs a new socket",
        ));
    }
    let sessions = gateway.sessions();
    if sessions.iter().any(|session| session.status != "completed") {
        return Err(Failure::new("a session was left open"));
    }
    say("  still on its first WebSocket: none of this needs a new one\n");
    let learned = Call {
        what: "the new capability",
        skill: "cancel_order",
        args: r#"{"order_id":"A17"}"#,
        by: A2aMethod::MessageSend,
        expected: Expected::Result(r#"{"state":"cancelled"}"#),
    };
    conversation::hold(stage, std::slice::from_ref(agent), &[learned])
}
