//! The mesh in a process of its own, for tests that count the memory of theirs.
//!
//! It prints one line with `url`, `client_id` and `client_secret`, then obeys the lines that it reads and answers each
//! with `done`: `reconnect N` resets the agent's socket N times and waits for it to be back each time; `dispatch N`
//! sends N dispatches of `echo` and waits for every answer. It ends with its input.

use std::collections::VecDeque;
use std::io::{BufRead, Write};

use serde_json::json;
use svantic_gateway::{DispatchRequest, Gateway, Options};
use svantic_rig::GUARD;

/// So many dispatches are under way at once.
const WINDOW: usize = 200;

fn main() {
    let gateway = Gateway::start(Options {
        frame_log_limit: 16,
        ..Options::default()
    })
    .expect("a gateway");
    let greeting = json!({
        "url": gateway.url(),
        "client_id": gateway.client_id(),
        "client_secret": gateway.client_secret(),
    });
    say(&greeting.to_string());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (what, count) = line.split_once(' ').expect("a command and a number");
        let count: usize = count.parse().expect("a number");
        match what {
            "reconnect" => (0..count).for_each(|_| reconnect(&gateway)),
            "dispatch" => dispatch(&gateway, count),
            _ => panic!("no such command: {what}"),
        }
        assert!(
            gateway.violations().is_empty(),
            "{:?}",
            gateway.violations()
        );
        say("done");
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("a reader");
    out.flush().expect("a reader");
}

fn reconnect(gateway: &Gateway) {
    let welcomes = gateway.agents()[0].welcomes;
    let id = gateway.agents()[0].instance_id.clone();
    assert!(gateway.abort(&id), "a socket to reset");
    let back = gateway.wait_until(GUARD, |seen| {
        let agent = seen.agent(&id);
        agent.is_some_and(|agent| agent.ready && agent.welcomes > welcomes)
    });
    assert!(back, "the agent did not come back");
}

fn dispatch(gateway: &Gateway, count: usize) {
    let mut under_way = VecDeque::new();
    for _ in 0..count {
        if under_way.len() == WINDOW {
            wait(under_way.pop_front());
        }
        under_way.push_back(gateway.begin_dispatch(DispatchRequest::new("echo", json!({"n": 1}))));
    }
    while !under_way.is_empty() {
        wait(under_way.pop_front());
    }
}

fn wait(pending: Option<svantic_gateway::PendingDispatch>) {
    pending.map(|it| it.wait(GUARD).expect("an answer"));
}
