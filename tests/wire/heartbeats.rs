//! What the mesh is told of the agent: heartbeats, load, the way out.

use std::time::Duration;

use serde_json::json;
use svantic::ffi::status::svantic_state as State;
use svantic_gateway::{Answer, Direction, Gateway};

use crate::abi::{Agent, answer, code, echo, gateway, sees};

fn tells(gateway: &Gateway, agent: &Agent, status: &str) {
    sees(gateway, status, |seen| {
        seen.agent(agent.id())
            .is_some_and(|record| record.status == status)
    });
}

#[test]
fn come_at_the_interval_with_the_whole_payload() {
    let gateway = gateway();
    let more = json!({"heartbeat_interval_ms": 100, "max_concurrent_sessions": 3});
    let agent = Agent::connected(&gateway, &more);
    let of_agent = |frame: &&svantic_gateway::FrameRecord| {
        frame.direction == Direction::FromAgent
            && frame.frame_type().as_deref() == Some("heartbeat")
    };
    sees(&gateway, "six heartbeats", |seen| {
        seen.frames(agent.id()).filter(of_agent).count() >= 6
    });
    let frames = gateway.frames(agent.id());
    let beats: Vec<_> = frames.iter().filter(of_agent).collect();
    for beat in &beats {
        let payload = beat.json().unwrap()["payload"].take();
        assert_eq!(
            payload,
            json!({
                "instance_id": agent.id(), "status": "available", "current_sessions": 0,
                "max_concurrent_sessions": 3, "consecutive_failures": 0,
            })
        );
    }
    // Never sooner than they should; how much later is up to the machine.
    for pair in beats.windows(2) {
        let apart = pair[1].at.saturating_sub(pair[0].at);
        assert!(apart >= Duration::from_millis(30), "{apart:?}");
    }
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn tell_when_the_agent_is_busy_and_when_it_is_available_again() {
    let gateway = gateway();
    // No regular heartbeat comes within the time of a test.
    let only_changes = json!({
        "max_in_flight": 2, "max_queued_dispatches": 0, "heartbeat_interval_ms": 3_600_000,
    });
    let agent = Agent::connected(&gateway, &only_changes);
    let running: Vec<_> = (0..2)
        .map(|_| gateway.begin_dispatch(echo(json!({})).to(agent.id())))
        .collect();
    tells(&gateway, &agent, "busy");
    let heartbeat = gateway.agent(agent.id()).unwrap().last_heartbeat.unwrap();
    assert_eq!(heartbeat["current_sessions"], 2);
    let excess = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    assert_eq!(code(&answer(&excess)), "AGENT_OVERLOADED");
    assert_eq!(
        agent.event("dispatch_refused"),
        json!({"dispatch_id": excess.id(), "code": "AGENT_OVERLOADED"})
    );
    for pending in &running {
        agent.dispatch();
        agent.resolve(pending.id(), &json!(1)).unwrap();
    }
    tells(&gateway, &agent, "available");
    agent.serves(&gateway);
}

#[test]
fn tell_how_many_handlers_failed_in_a_row() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"heartbeat_interval_ms": 50}));
    let failures = |wanted: u64| {
        sees(&gateway, "the count of failures", |seen| {
            let heartbeat = seen
                .agent(agent.id())
                .and_then(|record| record.last_heartbeat.clone());
            heartbeat.is_some_and(|heartbeat| heartbeat["consecutive_failures"] == wanted)
        });
    };
    for n in 1..=3 {
        let pending = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
        agent.dispatch();
        agent
            .reject(pending.id(), "HANDLER_ERROR", "no such order")
            .unwrap();
        let message = "capability \"echo\" failed: no such order".to_owned();
        assert_eq!(
            answer(&pending),
            Answer::Error {
                code: "HANDLER_ERROR".to_owned(),
                message
            }
        );
        failures(n);
    }
    agent.serves(&gateway);
    failures(0);
}

#[test]
fn tell_that_the_agent_drains() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let running = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    agent.dispatch();
    agent.disconnect_async(9);
    tells(&gateway, &agent, "draining");
    agent.is(State::Draining);
    assert_eq!(agent.event("draining")["in_flight"], 1);
    let late = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    assert_eq!(code(&answer(&late)), "AGENT_SHUTDOWN");
    agent
        .resolve(running.id(), &json!("finished in peace"))
        .unwrap();
    assert_eq!(answer(&running), Answer::Result(json!("finished in peace")));
    assert_eq!(agent.done(9)["status"], 0);
    agent.is(State::Closed);
    let record = gateway.agent(agent.id()).unwrap();
    assert_eq!(
        (
            record.registered,
            record.deregistrations,
            record.open_sockets
        ),
        (false, 1, 0)
    );
    let frames = gateway.frames(agent.id());
    let close = frames
        .iter()
        .rfind(|frame| frame.kind == svantic_gateway::FrameKind::Close);
    assert_eq!(close.unwrap().text, "1000 client_close");
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn what_is_not_finished_in_time_is_answered_with_agent_shutdown() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"drain_timeout_ms": 50}));
    let running = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    agent.dispatch();
    agent.disconnect().unwrap();
    assert_eq!(code(&answer(&running)), "AGENT_SHUTDOWN");
    assert_eq!(
        agent.event("dispatch_cancelled"),
        json!({"dispatch_id": running.id(), "reason": "shutdown"})
    );
    agent
        .resolve(running.id(), &json!("too late"))
        .unwrap_err()
        .says(&["DISPATCH_ENDED"]);
    assert_eq!(gateway.ledger().get(running.id()).unwrap().answers.len(), 1);
}

#[test]
fn tell_that_the_application_has_stopped_pulling_and_that_it_goes_on() {
    let gateway = gateway();
    let timers = json!({"heartbeat_interval_ms": 100, "pick_up_timeout_ms": 400});
    let agent = Agent::connected(&gateway, &timers);
    tells(&gateway, &agent, "available");
    // Nothing is pulled from here until the gateway has heard of it.
    let waiting: Vec<_> = (0..5)
        .map(|_| gateway.begin_dispatch(echo(json!({})).to(agent.id())))
        .collect();
    tells(&gateway, &agent, "unhealthy");
    assert_eq!(agent.snapshot()["health"]["ready"], false);
    let beats = |seen: &svantic_gateway::Snapshot<'_>| {
        let of = |frame: &&svantic_gateway::FrameRecord| {
            frame.frame_type().as_deref() == Some("heartbeat")
        };
        seen.frames(agent.id()).filter(of).count()
    };
    let mut before = None;
    sees(&gateway, "heartbeats that go on", |seen| {
        beats(seen) >= 10 + *before.get_or_insert_with(|| beats(seen))
    });
    assert_eq!(gateway.statuses(agent.id()), ["available", "unhealthy"]);
    for pending in &waiting {
        agent.dispatch();
        agent.resolve(pending.id(), &json!(1)).unwrap();
    }
    tells(&gateway, &agent, "available");
    assert_eq!(
        gateway.statuses(agent.id()),
        ["available", "unhealthy", "available"]
    );
    assert_eq!(agent.event("stalled")["stalled"], true);
    assert_eq!(agent.event("stalled"), json!({"stalled": false}));
    assert_eq!(agent.snapshot()["health"]["ready"], true);
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn what_finds_no_slot_waits_for_one() {
    let gateway = gateway();
    let limits = json!({"max_in_flight": 1, "max_queued_dispatches": 2});
    let agent = Agent::connected(&gateway, &limits);
    let pending: Vec<_> = (0..3)
        .map(|n| gateway.begin_dispatch(echo(json!({"n": n})).to(agent.id())))
        .collect();
    let excess = gateway.begin_dispatch(echo(json!({})).to(agent.id()));
    assert_eq!(code(&answer(&excess)), "AGENT_OVERLOADED");
    let snapshot = agent.snapshot();
    assert_eq!(
        (&snapshot["in_flight"], &snapshot["queue"]["items"]),
        (&json!(1), &json!(2))
    );
    agent.resolve(pending[1].id(), &json!(0)).unwrap_err();
    for (n, one) in pending.iter().enumerate() {
        assert_eq!(agent.dispatch()["dispatch_id"], one.id(), "in order");
        agent.resolve(one.id(), &json!(n)).unwrap();
        assert_eq!(answer(one), Answer::Result(json!(n)));
    }
    assert_eq!(gateway.violations(), [""; 0]);
}

#[test]
fn the_snapshot_tells_how_the_agent_is() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    let health = &agent.snapshot()["health"];
    assert_eq!(
        (&health["live"], &health["ready"]),
        (&json!(true), &json!(false))
    );
    agent.connect().unwrap();
    let snapshot = agent.snapshot();
    assert_eq!(
        snapshot["health"],
        json!({"live": true, "ready": true, "reason": null})
    );
    assert!(snapshot["since_ms"].is_u64() && snapshot["last_outbound_age_ms"].is_u64());
    let events = snapshot["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["name"] == "connected"));
    assert!(
        events
            .iter()
            .all(|event| event.as_object().unwrap().len() == 2)
    );
    agent.disconnect().unwrap();
    let health = &agent.snapshot()["health"];
    assert_eq!(
        (&health["live"], &health["ready"]),
        (&json!(true), &json!(false))
    );
}
