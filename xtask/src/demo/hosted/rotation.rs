//! Another secret while calls are under way: agents that hold both lose none.

use std::{collections::VecDeque, time::Duration};

use serde_json::json;
use svantic_gateway::{Answer, DispatchRequest, PendingDispatch};

use super::super::{conversation, joined::Joined, stage::Stage};
use crate::{failure::Failure, terminal::say};

/// For each agent, half of them signed with either secret.
const CALLS: usize = 500;
/// To each agent: fewer than it verifies at once without turning any away (64).
const AT_ONCE: usize = 16;
/// Of the last of those that wait together, on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// Keeps calls under way at all agents while the secret changes.
pub(super) fn play(stage: &Stage<'_>, agents: &[Joined], next: &str) -> Result<(), Failure> {
    let gateway = stage.gateway;
    let mut waiting = VecDeque::new();
    for number in 0..CALLS {
        if number == CALLS / 2 {
            gateway.set_dispatch_secret(None, Some(next));
        }
        for agent in agents {
            if waiting.len() == AT_ONCE * agents.len() {
                take_oldest(&mut waiting)?;
            }
            let call = DispatchRequest::new("find_order", json!({"order_id": "A17"}))
                .to(&agent.instance)
                .within(ANSWERED_WITHIN);
            waiting.push_back(gateway.begin_dispatch(call));
        }
    }
    while !waiting.is_empty() {
        take_oldest(&mut waiting)?;
    }
    conversation::exactly_one_answer_each(gateway)?;
    let (calls, at_once) = (CALLS * agents.len(), AT_ONCE * agents.len());
    say(&format!(
        "  each of {calls} calls was answered once, the first half signed with the old secret, the others with the new one;\n  \
         up to {at_once} were under way when it changed, and no agent was started anew"
    ));
    Ok(())
}

fn take_oldest(waiting: &mut VecDeque<PendingDispatch>) -> Result<(), Failure> {
    let Some(call) = waiting.pop_front() else {
        return Ok(());
    };
    let answer = call
        .wait(ANSWERED_WITHIN)
        .map_err(|error| Failure::new(format!("a call was lost: {error}")))?;
    let shipped = Answer::Result(json!({"order_id": "A17", "state": "shipped"}));
    if answer == shipped {
        return Ok(());
    }
    Err(Failure::new(format!("a call brought {answer:?}")))
}
