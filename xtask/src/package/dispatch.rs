//! The last proof of a package: a program that uses it joins a gateway, answers a dispatch, and leaves.

use std::{process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use svantic_gateway::{Answer, DispatchRequest, Options};

use crate::{
    demo::{agent_process::AgentProcess, start_gateway},
    failure::Failure,
    terminal::{Terminal, say},
};

const READY_WITHIN: Duration = Duration::from_mins(1);
const GONE_WITHIN: Duration = Duration::from_mins(1);

/// Starts the order desk that the examples are, under this name.
pub(super) fn is_answered_by(
    program: Command,
    name: &str,
    screen: Terminal,
) -> Result<(), Failure> {
    let gateway = start_gateway(Options::default())?;
    let mut agent = AgentProcess::start(program, name, &gateway, screen)?;
    let mut instance = None;
    agent.wait_until(&gateway, READY_WITHIN, "became ready", |seen| {
        let ready = seen.agents().find(|agent| agent.ready);
        instance = ready.map(|agent| agent.instance_id.clone());
        instance.is_some()
    })?;
    let request = DispatchRequest::new("find_order", json!({"order_id": "A17"}))
        .to(&instance.unwrap_or_default());
    let answer = gateway
        .dispatch(request)
        .map_err(|error| Failure::new(format!("the dispatch was lost: {error}")))?;
    let wanted = json!({"order_id": "A17", "state": "shipped"});
    match answer {
        Answer::Result(result) if result == wanted => {
            say(&format!(
                "  {name}: find_order {{\"order_id\":\"A17\"}} -> {result}"
            ));
        }
        other => {
            let text = format!("{name} answered {other:?} and not {wanted}");
            return Err(Failure::new(text));
        }
    }
    agent.signal(Signal::TERM)?;
    let ended = agent.wait_for_exit(GONE_WITHIN)?;
    if !ended.success() {
        return Err(Failure::new(format!(
            "after SIGTERM {name} ended with {ended}, not with exit status 0"
        )));
    }
    let violations = gateway.violations();
    if violations.is_empty() {
        return Ok(());
    }
    let violations = violations.join("\n  ");
    Err(Failure::new(format!(
        "{name} broke the protocol:\n  {violations}"
    )))
}
