//! Operations that are cancelled while the mesh keeps silent about them.

use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Answer, Faults, Gateway, Stage};

use crate::abi::{Agent, answer, code, echo, gateway, requests, sees};

fn stall(gateway: &Gateway, stage: Stage) {
    gateway.set_faults(Faults {
        stall: Some(stage),
        ..Faults::default()
    });
}

/// It was pending, and ends with CANCELLED.
#[track_caller]
fn cancels(agent: &Agent, tag: usize, said: &[&str]) {
    agent.cancel(tag).expect("it is pending");
    let done = agent.done(tag);
    assert_eq!(done["status"], Status::Cancelled as i32, "{done}");
    assert_eq!(done["error"]["code"], "CANCELLED");
    let message = done["error"]["message"].as_str().unwrap();
    for part in said {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert_eq!(agent.cancel(tag).unwrap_err().status, Status::NotFound);
}

#[track_caller]
fn asked(gateway: &Gateway, path: &str) {
    sees(gateway, path, |seen| {
        seen.requests().iter().any(|request| request.path == path)
    });
}

#[test]
fn connect_at_every_stage_and_then_again() {
    for (stage, path, step) in [
        (Stage::Accept, "", "exchanging the credentials"),
        (
            Stage::Token,
            "/auth/get_token",
            "exchanging the credentials",
        ),
        (Stage::Register, "/agents/register", "registering the agent"),
        (Stage::Upgrade, "/agents/connect", "dialing the WebSocket"),
        (Stage::Welcome, "/agents/connect", "welcome"),
    ] {
        let gateway = gateway();
        stall(&gateway, stage);
        // No limit of a stage passes meanwhile: what is stuck would hold up the next connect.
        let agent = Agent::of(
            &gateway,
            &json!({"http_timeout_ms": 600_000, "stage_timeout_ms": 600_000,
                "attempt_timeout_ms": 600_000, "welcome_timeout_ms": 600_000}),
        );
        agent.connect_async(3);
        agent.enters("connecting");
        if !path.is_empty() {
            asked(&gateway, path);
        }
        if stage == Stage::Welcome {
            sees(&gateway, "the hello", |seen| {
                seen.frames(agent.id()).next().is_some()
            });
        }
        cancels(&agent, 3, &["connect was cancelled", step]);
        agent.is(State::Idle);
        let token = agent.token();
        assert_eq!(token.is_ok(), !path.is_empty() && stage != Stage::Token);
        let before = requests(&gateway, path);
        gateway.set_faults(Faults::default());
        agent
            .connect()
            .unwrap_or_else(|failure| panic!("{stage:?}: {failure:?}"));
        // The step is made anew: what was stuck does not hold it up, nor is it waited for.
        assert_eq!(
            requests(&gateway, path) > before,
            !path.is_empty(),
            "{stage:?}"
        );
        agent.serves(&gateway);
    }
}

#[test]
fn a_registration_that_was_under_way_is_undone_by_whoever_leaves() {
    for free in [false, true] {
        let gateway = gateway();
        stall(&gateway, Stage::Register);
        let agent = Agent::of(&gateway, &json!({}));
        agent.connect_async(3);
        asked(&gateway, "/agents/register");
        cancels(&agent, 3, &["registering the agent"]);
        assert_eq!(requests(&gateway, "/agents/deregister"), 0);
        if free {
            drop(agent);
        } else {
            agent.disconnect().unwrap();
        }
        // Whether the mesh has taken it, only the mesh knows.
        asked(&gateway, "/agents/deregister");
    }
}

#[test]
fn a_session_that_is_opened_after_all_is_closed_again() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    stall(&gateway, Stage::SessionInit);
    agent.create_session_async(4);
    asked(&gateway, "/sessions/init");
    cancels(
        &agent,
        4,
        &["create_session was cancelled", "opening a session"],
    );
    assert!(gateway.sessions().is_empty());
    // Now the mesh answers.
    gateway.set_faults(Faults::default());
    asked(&gateway, "/sessions/close");
    sees(&gateway, "the closing", |seen| {
        seen.sessions().count() == 1 && seen.sessions().all(|session| session.status != "active")
    });
    agent.serves(&gateway);
}

#[test]
fn an_announcement() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let before = requests(&gateway, "/agents/register");
    stall(&gateway, Stage::Register);
    agent.re_register_async(5);
    sees(&gateway, "the announcement", |seen| {
        let paths = seen.requests().iter().map(|request| request.path.as_str());
        paths.filter(|path| *path == "/agents/register").count() > before
    });
    cancels(&agent, 5, &["re_register was cancelled", "registering"]);
    agent.is(State::Connected);
    gateway.set_faults(Faults::default());
    agent.re_register().unwrap();
    agent.serves(&gateway);
}

#[test]
fn a_disconnect_that_waits_for_a_handler() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"drain_timeout_ms": 600_000}));
    let pending = gateway.begin_dispatch(echo(json!({"n": 1})).to(agent.id()));
    agent.dispatch();
    agent.disconnect_async(6);
    agent.event("draining");
    cancels(&agent, 6, &["disconnect was cancelled"]);
    let ended: Answer = answer(&pending);
    assert_eq!(code(&ended), "AGENT_SHUTDOWN");
    agent.enters("closed");
    let record = gateway.agent(agent.id()).unwrap();
    assert!(!record.registered && record.open_sockets == 0);
}
