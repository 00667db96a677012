//! A connection that is cut: the agent comes back by itself, and the calls that came meanwhile are answered.

use std::time::{Duration, Instant};

use serde_json::json;
use svantic_gateway::Answer;

use super::{conversation, joined::Joined, stage::Stage};
use crate::{failure::Failure, terminal::say};

/// Fewer than the library takes without refusing any (`max_pending_dispatches`).
const CALLS: usize = 1000;
/// The first window of a redial is 3 s long; a busy machine may take longer.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Resets the agent's socket, as a lost network would, and calls at once.
pub(super) fn play(stage: &mut Stage<'_>, agent: &mut Joined) -> Result<(), Failure> {
    let (gateway, instance) = (stage.gateway, agent.instance.as_str());
    let before = stage.record_of(instance)?.connections;
    if !gateway.abort(instance) {
        return Err(Failure::new("there was no connection to cut"));
    }
    let cut = Instant::now();
    let call = agent.find_order(BACK_WITHIN);
    let calls: Vec<_> = (0..CALLS)
        .map(|_| gateway.begin_dispatch(call.clone()))
        .collect();
    agent
        .process
        .wait_until(gateway, BACK_WITHIN, "came back", |seen| {
            let record = seen.agent(instance);
            record.is_some_and(|agent| agent.ready && agent.connections > before)
        })?;
    let back = cut.elapsed();
    stage.log.show_new(gateway, stage.screen)?;
    let shipped = Answer::Result(json!({"order_id": "A17", "state": "shipped"}));
    for call in calls {
        let answer = call.wait(BACK_WITHIN).map_err(|error| {
            Failure::new(format!(
                "a call that came during the outage was lost: {error}"
            ))
        })?;
        if answer != shipped {
            return Err(Failure::new(format!(
                "a call that came during the outage brought {answer:?}"
            )));
        }
    }
    let answered = cut.elapsed().saturating_sub(back);
    conversation::exactly_one_answer_each(gateway)?;
    say(&format!(
        "  connected again after {:.1} s, by itself; each of the {CALLS} calls was answered once, the last one {:.2} s \
         later",
        back.as_secs_f64(),
        answered.as_secs_f64(),
    ));
    Ok(())
}
