//! Many calls at once: an event loop is given them in batches and answers in batches, and none is lost or answered twice.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde_json::json;
use svantic_gateway::{Answer, DispatchRequest, PendingDispatch};

use super::{conversation, joined::Joined, stage::Stage};
use crate::{failure::Failure, terminal::say};

const CALLS: usize = 5000;
/// Fewer than the library takes without refusing any (`max_pending_dispatches`).
const AT_ONCE: usize = 1000;
/// Of the last of those that wait together, on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// Sends the next call whenever the oldest one is answered.
pub(super) fn play(stage: &mut Stage<'_>, agent: &mut Joined) -> Result<(), Failure> {
    let gateway = stage.gateway;
    let call = DispatchRequest::new("find_order", json!({"order_id": "A17"}))
        .to(&agent.instance)
        .within(ANSWERED_WITHIN);
    let began = Instant::now();
    let mut waiting = VecDeque::new();
    for _ in 0..CALLS {
        if waiting.len() == AT_ONCE {
            take_oldest(&mut waiting)?;
        }
        waiting.push_back(gateway.begin_dispatch(call.clone()));
    }
    while !waiting.is_empty() {
        take_oldest(&mut waiting)?;
    }
    let took = began.elapsed();
    conversation::exactly_one_answer_each(gateway)?;
    say(&format!(
        "  each of the {CALLS} calls was answered once, all of them within {:.2} s, by a library and a gateway that are \
         not optimised",
        took.as_secs_f64(),
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
