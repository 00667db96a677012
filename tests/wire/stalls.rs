//! A mesh that falls silent at each stage: everything ends by its deadline and says where it hung.

use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Faults, Gateway, Options, Stage};

use crate::abi::{Agent, gateway, sees};

fn stall(gateway: &Gateway, stage: Stage) {
    gateway.set_faults(Faults {
        stall: Some(stage),
        ..Faults::default()
    });
}

struct Row {
    stage: Stage,
    step: &'static str,
    path: &'static str,
    /// The time span that ends this stage before the deadline of connect does.
    limit: &'static str,
    code: &'static str,
}

const fn row(
    stage: Stage,
    step: &'static str,
    path: &'static str,
    limit: &'static str,
    code: &'static str,
) -> Row {
    Row {
        stage,
        step,
        path,
        limit,
        code,
    }
}

const STAGES: &[Row] = &[
    row(
        Stage::Accept,
        "exchanging the credentials",
        "/auth/get_token",
        "http_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Token,
        "exchanging the credentials",
        "/auth/get_token",
        "http_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Register,
        "registering the agent",
        "/agents/register",
        "http_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Upgrade,
        "dialing the WebSocket",
        "/agents/connect",
        "stage_timeout_ms",
        "TIMEOUT",
    ),
    row(
        Stage::Welcome,
        "waiting for the mesh's welcome",
        "/agents/connect",
        "welcome_timeout_ms",
        "NO_WELCOME",
    ),
];

#[test]
fn connect_ends_at_its_own_deadline() {
    for Row {
        stage, step, path, ..
    } in STAGES
    {
        let gateway = gateway();
        stall(&gateway, *stage);
        let agent = Agent::of(&gateway, &json!({"timeout_ms": 250}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&[
            "timed out after 250 ms",
            step,
            path,
            &gateway.address().to_string(),
            "[TIMEOUT]",
        ]);
        failure.says(&["check `svantic_url`"]);
        agent.is(State::Idle);
        gateway.set_faults(Faults::default());
        agent
            .connect()
            .unwrap_or_else(|failure| panic!("{stage:?}: {failure:?}"));
        agent.serves(&gateway);
    }
}

#[test]
fn a_stage_ends_by_its_own_limit() {
    for Row {
        stage,
        step,
        path,
        limit,
        code,
    } in STAGES
    {
        let gateway = gateway();
        stall(&gateway, *stage);
        let agent = Agent::of(&gateway, &json!({"fail_fast": true, *limit: 150}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&[
            "150 ms",
            step,
            path,
            &gateway.address().to_string(),
            &format!("[{code}]. "),
        ]);
        agent.is(State::Idle);
        // Without fail_fast it is tried again, and works when the mesh has found its tongue.
        let other = Agent::of(&gateway, &json!({*limit: 150}));
        other.connect_async(5);
        let backoff = other.event("backoff");
        assert_eq!(backoff["cause"], *code);
        gateway.set_faults(Faults::default());
        assert_eq!(other.done(5)["status"], 0, "{stage:?}");
        other.serves(&gateway);
    }
}

#[test]
fn a_silent_tls_handshake() {
    let gateway = Gateway::start(Options {
        tls: true,
        ..Options::default()
    })
    .unwrap();
    stall(&gateway, Stage::Tls);
    for more in [
        json!({"timeout_ms": 250}),
        json!({"fail_fast": true, "http_timeout_ms": 150}),
    ] {
        let agent = Agent::of(&gateway, &more);
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Timeout, "{failure:?}");
        failure.says(&[&gateway.url(), "exchanging the credentials"]);
    }
}

#[test]
fn session_calls_that_are_never_answered() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"http_timeout_ms": 400}));
    let session = agent.create_session(0).unwrap();
    // Once by the deadline of the call, once by that of its HTTP request.
    for (timeout_ms, said) in [(100, "100 ms"), (0, "400 ms")] {
        stall(&gateway, Stage::SessionInit);
        let failure = agent.create_session(timeout_ms).unwrap_err();
        assert_eq!(failure.status, Status::Timeout);
        failure.says(&[
            said,
            "opening a session",
            "/sessions/init",
            &gateway.url(),
            "[TIMEOUT]",
        ]);
        stall(&gateway, Stage::SessionClose);
        let failure = agent.close_session(&session, timeout_ms).unwrap_err();
        assert_eq!(failure.status, Status::Timeout);
        failure.says(&[
            said,
            "closing a session",
            "/sessions/close",
            &gateway.url(),
            "[TIMEOUT]",
        ]);
        gateway.set_faults(Faults::default());
    }
    agent.serves(&gateway);
    agent.close_session(&session, 0).unwrap();
}

#[test]
fn token_and_registration_while_connected() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({"timeout_ms": 200}));
    stall(&gateway, Stage::Token);
    let failure = agent.refresh_token(None).unwrap_err();
    assert_eq!(failure.status, Status::Timeout);
    failure.says(&["200 ms", "/auth/get_token", &gateway.url()]);
    stall(&gateway, Stage::Register);
    let failure = agent.re_register().unwrap_err();
    assert_eq!(failure.status, Status::Timeout);
    failure.says(&["200 ms", "/agents/register", &gateway.url()]);
    agent.is(State::Connected);
    agent.serves(&gateway);
    gateway.set_faults(Faults::default());
    agent.refresh_token(None).unwrap();
    agent.re_register().unwrap();
}

#[test]
fn disconnect_returns_without_the_meshs_goodbye() {
    for stage in [Stage::Close, Stage::Deregister] {
        let gateway = gateway();
        let agent = Agent::connected(&gateway, &json!({}));
        stall(&gateway, stage);
        agent.disconnect().unwrap();
        agent.is(State::Closed);
        let record = gateway.agent(agent.id()).unwrap();
        // The close handshake was given up for the call behind it; that one was sent and not waited for.
        assert_eq!(record.registered, stage == Stage::Deregister, "{stage:?}");
        sees(&gateway, "the farewell", |seen| {
            seen.requests()
                .iter()
                .any(|request| request.path == "/agents/deregister")
        });
    }
}

#[test]
fn disconnect_in_the_middle_of_a_stalled_connect() {
    for stage in [
        Stage::Accept,
        Stage::Token,
        Stage::Register,
        Stage::Upgrade,
        Stage::Welcome,
    ] {
        let gateway = gateway();
        stall(&gateway, stage);
        let agent = Agent::of(&gateway, &json!({}));
        agent.connect_async(3);
        agent.enters("connecting");
        if stage != Stage::Accept {
            sees(&gateway, "the stalled request", |seen| {
                let last = seen.requests().last();
                last.is_some_and(|request| match stage {
                    Stage::Token => request.path == "/auth/get_token",
                    Stage::Register => request.path == "/agents/register",
                    _ => request.path == "/agents/connect",
                })
            });
        }
        agent.disconnect().unwrap();
        agent.is(State::Closed);
        assert_eq!(
            agent.done(3)["status"],
            Status::Cancelled as i32,
            "{stage:?}"
        );
    }
}
