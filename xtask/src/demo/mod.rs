//! `cargo xtask demo`: an agent in C joins a local gateway, works, changes and leaves, and each step is shown
//! from the gateway's side: what is printed is what it recorded, not what was meant to happen.

mod agent_process;
mod compile;
mod conversation;
mod request_log;

use std::time::{Duration, Instant};

use svantic_gateway::{AgentRecord, Direction, FrameKind, Gateway, Options};

use crate::{
    checkout::Checkout,
    failure::Failure,
    library,
    prerequisites::{self, C_COMPILER},
    terminal::{Colour, Terminal, say},
};
use agent_process::AgentProcess;
use conversation::{Call, Expected};
use request_log::RequestLog;

const STEPS: usize = 7;
const READY_WITHIN: Duration = Duration::from_secs(20);
const CHANGED_WITHIN: Duration = Duration::from_secs(15);
const GONE_WITHIN: Duration = Duration::from_secs(15);

pub(crate) fn run(here: &Checkout) -> Result<(), Failure> {
    let screen = Terminal::for_stdout();
    screen.step(1, STEPS, "Looking for a C compiler");
    let compiler = prerequisites::check(&[C_COMPILER])?[0];
    say(&format!("  found {compiler}"));

    screen.step(
        2,
        STEPS,
        "Building libsvantic (dev profile, which builds fastest)",
    );
    let library_folder = library::build_for_development(here)?;
    let built = Instant::now();

    screen.step(3, STEPS, "Starting the local gateway, which plays the mesh");
    let gateway = Gateway::start(Options::default())
        .map_err(|error| Failure::new(format!("the gateway did not start: {error}")))?;
    say(&format!("  listening on {}", gateway.url()));

    screen.step(4, STEPS, "Compiling and starting the agent");
    let program = compile::agent(here, compiler, &library_folder, screen)?;
    let mut agent = AgentProcess::start(&program, &gateway, screen)?;
    let mut log = RequestLog::default();
    let instance = joins(&gateway, &mut agent, &mut log, screen)?;

    screen.step(5, STEPS, "Sending it work");
    conversation::hold(&gateway, &instance, screen, &first_calls())?;

    screen.step(
        6,
        STEPS,
        "SIGHUP: a fresh token, one more capability, a session",
    );
    changes(&gateway, &instance, &mut agent, &mut log, screen)?;

    screen.step(
        7,
        STEPS,
        "SIGTERM: the agent finishes what is running and leaves",
    );
    leaves(&gateway, &instance, &mut agent, &mut log, screen)?;
    sum_up(&gateway, screen, built.elapsed());
    Ok(())
}

/// Waits for the welcome and returns the instance id that the agent chose.
fn joins(
    gateway: &Gateway,
    agent: &mut AgentProcess,
    log: &mut RequestLog,
    screen: Terminal,
) -> Result<String, Failure> {
    let mut instance = None;
    agent.wait_until(gateway, READY_WITHIN, "became ready", |seen| {
        let ready = seen.agents().find(|agent| agent.ready);
        instance = ready.map(|agent| agent.instance_id.clone());
        instance.is_some()
    })?;
    log.show_new(gateway, screen)?;
    let instance = instance.unwrap_or_default();
    say(&format!("  {instance} is connected"));
    Ok(instance)
}

fn first_calls() -> [Call; 4] {
    [
        Call {
            what: "a result",
            skill: "find_order",
            args: r#"{"order_id":"A17"}"#,
            expected: Expected::Result(r#"{"order_id":"A17","state":"shipped"}"#),
        },
        Call {
            what: "a schema violation",
            skill: "find_order",
            args: r#"{"order_id":17}"#,
            expected: Expected::Error("INVALID_ARGS", "order_id"),
        },
        Call {
            what: "a handler that fails",
            skill: "find_order",
            args: r#"{"order_id":"Z99"}"#,
            expected: Expected::Error("HANDLER_ERROR", "no such order"),
        },
        Call {
            what: "an unknown skill",
            skill: "cancel_order",
            args: r#"{"order_id":"A17"}"#,
            expected: Expected::Error("UNKNOWN_SKILL", "cancel_order"),
        },
    ]
}

fn changes(
    gateway: &Gateway,
    instance: &str,
    agent: &mut AgentProcess,
    log: &mut RequestLog,
    screen: Terminal,
) -> Result<(), Failure> {
    agent.signal(rustix::process::Signal::HUP)?;
    agent.wait_until(gateway, CHANGED_WITHIN, "closed its session", |seen| {
        log.is_answered(seen.requests(), "/sessions/close")
    })?;
    let asked = log.show_new(gateway, screen)?;
    for path in ["/auth/get_token", "/agents/register", "/sessions/init"] {
        if !asked.iter().any(|request| request.path == path) {
            return Err(Failure::new(format!(
                "the agent did not call {path} after SIGHUP"
            )));
        }
    }
    let record = record_of(gateway, instance)?;
    if record.connections != 1 {
        return Err(Failure::new(
            "the agent dialled again, although none of this needs a new socket",
        ));
    }
    if gateway
        .sessions()
        .iter()
        .any(|session| session.status != "completed")
    {
        return Err(Failure::new("a session was left open"));
    }
    say("  still on its first WebSocket: none of this needs a new one\n");
    let learned = Call {
        what: "the new capability",
        skill: "cancel_order",
        args: r#"{"order_id":"A17"}"#,
        expected: Expected::Result(r#"{"state":"cancelled"}"#),
    };
    conversation::hold(gateway, instance, screen, &[learned])
}

fn leaves(
    gateway: &Gateway,
    instance: &str,
    agent: &mut AgentProcess,
    log: &mut RequestLog,
    screen: Terminal,
) -> Result<(), Failure> {
    agent.signal(rustix::process::Signal::TERM)?;
    let ended = agent.wait_for_exit(GONE_WITHIN)?;
    if !ended.success() {
        return Err(Failure::new(format!(
            "the agent ended with {ended}, not with exit status 0"
        )));
    }
    // The process may be gone before the gateway has written everything down.
    let mut goodbye = None;
    gateway.wait_until(CHANGED_WITHIN, |seen| {
        let closes = seen.frames(instance).filter(|frame| {
            frame.kind == FrameKind::Close && frame.direction == Direction::FromAgent
        });
        goodbye = closes.map(|frame| frame.text.clone()).next();
        goodbye.is_some() && log.is_answered(seen.requests(), "/agents/deregister")
    });
    let said_draining = gateway.frames(instance).iter().any(|frame| {
        let payload = frame.json().unwrap_or_default();
        payload["type"] == "heartbeat" && payload["payload"]["status"] == "draining"
    });
    if said_draining {
        say("  told the mesh with a heartbeat that it is draining");
    }
    let goodbye = goodbye.ok_or_else(|| Failure::new("the agent left without a close frame"))?;
    say(&format!("  closed the WebSocket: {goodbye}"));
    log.show_new(gateway, screen)?;
    let record = record_of(gateway, instance)?;
    if record.registered || record.deregistrations != 1 {
        let times = record.deregistrations;
        return Err(Failure::new(format!(
            "the agent deregistered {times} times instead of once"
        )));
    }
    let violations = gateway.violations();
    if !violations.is_empty() {
        let violations = violations.join("\n  ");
        return Err(Failure::new(format!(
            "the agent broke the protocol:\n  {violations}"
        )));
    }
    say("  the agent's process ended with exit status 0");
    Ok(())
}

fn record_of(gateway: &Gateway, instance: &str) -> Result<AgentRecord, Failure> {
    let record = gateway.agent(instance);
    record.ok_or_else(|| Failure::new(format!("the gateway no longer knows {instance}")))
}

fn sum_up(gateway: &Gateway, screen: Terminal, took: Duration) {
    let ledger = gateway.ledger();
    let answers: usize = ledger
        .entries()
        .iter()
        .map(|entry| entry.answers.len())
        .sum();
    let dispatches = ledger.entries().len();
    let heading = screen.paint(Colour::Heading, "What just happened");
    say(&format!(
        "\n{heading}
  A program of one C file became an agent on the mesh through libsvantic.so and its header. It got
  {dispatches} dispatches and gave {answers} answers; those that did not fit the schema or named no capability were
  refused by the library and never reached its code. It renewed its token, learned a capability and
  kept a session without a new connection, and left nothing open. The gateway saw no breach of the
  protocol. All this took {:.1} s after the build.

Where to look next
  examples/c/agent.c   the agent you just saw
  include/svantic.h    every function it can call, with its manual
  README.md            how to build your own against it
  cargo run -p svantic-gateway -- serve --watch
                       a gateway for your own agent, which shows every frame",
        took.as_secs_f64(),
    ));
}
