//! An agent that leaves while calls arrive.

use std::time::Duration;

use svantic_gateway::{Answer, DispatchError};

use super::super::{
    joined::{Joined, RECORDED_WITHIN},
    stage::Stage,
};
use crate::{failure::Failure, terminal::say};

const CALLS: usize = 32;
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// Sends SIGTERM behind calls, and shows what became of them and what the mesh was told.
pub(super) fn play(stage: &mut Stage<'_>, mut agent: Joined) -> Result<(), Failure> {
    let gateway = stage.gateway;
    stage.log.show_new(gateway, stage.screen)?;
    let call = agent.find_order(ANSWERED_WITHIN);
    let calls: Vec<_> = (0..CALLS)
        .map(|_| gateway.begin_dispatch(call.clone()))
        .collect();
    agent.is_told_to_leave(stage)?;
    let (mut answered, mut refused, mut outside) = (0, 0, 0);
    for call in calls {
        match call.wait(ANSWERED_WITHIN) {
            Ok(Answer::Result(_)) => answered += 1,
            Ok(Answer::Error { code, .. }) if code == "AGENT_SHUTDOWN" => refused += 1,
            // It came when nobody listened any more: not taken, so not lost. The mesh knows that it never began.
            Err(DispatchError::Unreachable(_) | DispatchError::NoAgent) => outside += 1,
            other => {
                let text = format!("a call to an agent that leaves brought {other:?}");
                return Err(Failure::new(text));
            }
        }
    }
    agent.wait_for_its_end()?;
    gateway.wait_until(RECORDED_WITHIN, |seen| {
        stage.log.is_answered(seen.requests(), "/agents/deregister")
    });
    say(&format!(
        "  of {CALLS} calls {answered} were answered, {refused} refused with AGENT_SHUTDOWN, {outside} came too late for either"
    ));
    stage.log.show_new(gateway, stage.screen)?;
    agent.has_left_once(stage)
}
