//! `connect` refused by the token endpoint or the registration: status, text, state, and whether it helps to go on.

use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Endpoint, Faults, Gateway, Override, Refusal};

use crate::abi::{Agent, gateway, gateway_without_probe, refusing, requests};

pub(crate) const TOKEN: &str = "/auth/get_token";
pub(crate) const REGISTER: &str = "/agents/register";

pub(crate) fn with_body(endpoint: Endpoint, status: u16, body: &str) -> Refusal {
    Refusal {
        body: Some(body.to_owned()),
        ..Refusal::new(endpoint, status)
    }
}

pub(crate) fn with_wait(endpoint: Endpoint, status: u16, seconds: &str) -> Refusal {
    Refusal {
        retry_after: Some(seconds.to_owned()),
        ..Refusal::new(endpoint, status)
    }
}

struct Case {
    refusal: Refusal,
    status: Status,
    code: &'static str,
    /// Besides step, URL, HTTP status and code.
    says: &'static [&'static str],
    state: State,
}

fn case(
    refusal: Refusal,
    status: Status,
    code: &'static str,
    says: &'static [&'static str],
    state: State,
) -> Case {
    Case {
        refusal,
        status,
        code,
        says,
        state,
    }
}

/// Connects with `fail_fast` while the refusal stands, and again when it does not.
fn check(cases: Vec<Case>, step: &str, path: &str) {
    for Case {
        refusal,
        status,
        code,
        says,
        state,
    } in cases
    {
        let http = format!("HTTP {}", refusal.status);
        let gateway = refusing(vec![refusal]);
        let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
        let failure = agent.connect().expect_err(&http);
        assert_eq!(failure.status, status, "{failure:?}");
        let url = format!("POST {}{path}", gateway.url());
        failure.says(&[step, &url, &http, &format!("[{code}]")]);
        failure.says(says);
        let hint = failure.text.split_once("]. ").map_or("", |(_, hint)| hint);
        assert!(hint.len() > 10, "no hint: {failure:?}");
        agent.is(state);
        gateway.set_faults(Faults::default());
        if state == State::Idle {
            agent
                .connect()
                .unwrap_or_else(|failure| panic!("{code}: {failure:?}"));
            agent.is(State::Connected);
            agent.serves(&gateway);
        } else {
            let sent = gateway.requests().len();
            let again = agent.connect().expect_err("it has given up");
            assert_eq!(again.status, Status::InvalidState);
            again.says(&["has given up", &http, "create another"]);
            assert_eq!(gateway.requests().len(), sent);
        }
        assert_eq!(gateway.violations(), [""; 0]);
    }
}

#[test]
fn by_the_token_endpoint() {
    const HINT: &str =
        "check `client_id` and `client_secret` (SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET)";
    const NOT_THE_MESH: &[&str] = &["the body holds no token", "is `svantic_url` the mesh"];
    let refusal = |status| Refusal::new(Endpoint::Token, status);
    let cases = vec![
        case(
            refusal(401).code("UNAUTHORIZED"),
            Status::Auth,
            "UNAUTHORIZED",
            &[HINT],
            State::Idle,
        ),
        case(refusal(401), Status::Auth, "HTTP_401", &[HINT], State::Idle),
        case(
            refusal(403).code("SUSPENDED"),
            Status::Auth,
            "SUSPENDED",
            &[HINT],
            State::Idle,
        ),
        case(
            refusal(400).code("INVALID_REQUEST"),
            Status::Remote,
            "INVALID_REQUEST",
            &[],
            State::Failed,
        ),
        case(
            refusal(400),
            Status::Remote,
            "HTTP_400",
            &["refused with 400 by a fault"],
            State::Idle,
        ),
        case(
            with_wait(Endpoint::Token, 429, "120").code("RATE_LIMITED"),
            Status::Remote,
            "RATE_LIMITED",
            &["Retry-After 120 s", "wait, then try again"],
            State::Idle,
        ),
        case(
            refusal(500).code("INTERNAL"),
            Status::Remote,
            "INTERNAL",
            &[],
            State::Idle,
        ),
        case(
            with_body(Endpoint::Token, 502, "<html>\r\nBad Gateway</html>"),
            Status::Remote,
            "HTTP_502",
            &["<html>  Bad Gateway</html>"],
            State::Idle,
        ),
        case(refusal(503), Status::Remote, "HTTP_503", &[], State::Idle),
        case(
            refusal(407),
            Status::Auth,
            "HTTP_407",
            &["the proxy wants credentials"],
            State::Idle,
        ),
        case(
            with_body(Endpoint::Token, 200, "hello"),
            Status::Protocol,
            "UNEXPECTED_REPLY",
            NOT_THE_MESH,
            State::Idle,
        ),
        case(
            with_body(Endpoint::Token, 200, "{}"),
            Status::Protocol,
            "UNEXPECTED_REPLY",
            NOT_THE_MESH,
            State::Idle,
        ),
        case(
            with_body(Endpoint::Token, 200, r#"{"token":null}"#),
            Status::Protocol,
            "UNEXPECTED_REPLY",
            NOT_THE_MESH,
            State::Idle,
        ),
        case(
            with_body(Endpoint::Token, 200, r#"{"token":"a b\r\nX-Evil: 1"}"#),
            Status::Protocol,
            "UNEXPECTED_REPLY",
            NOT_THE_MESH,
            State::Idle,
        ),
    ];
    check(
        cases,
        "failed while exchanging the credentials for a token",
        TOKEN,
    );
}

#[test]
fn by_the_registration() {
    const OTHER_MODE: &[&str] = &["deregister it first, or use another `instance_id`"];
    let refusal = |status| Refusal::new(Endpoint::Register, status);
    let cases = vec![
        case(
            refusal(403).code("AGENT_TYPE_NOT_ALLOWED"),
            Status::Remote,
            "AGENT_TYPE_NOT_ALLOWED",
            &["is the agent type on the tenant's allow-list?"],
            State::Failed,
        ),
        case(
            refusal(403),
            Status::Remote,
            "HTTP_403",
            &["allow-list"],
            State::Idle,
        ),
        case(
            refusal(409).code("DEPLOYMENT_MODE_MISMATCH"),
            Status::Remote,
            "DEPLOYMENT_MODE_MISMATCH",
            OTHER_MODE,
            State::Failed,
        ),
        case(
            with_body(
                Endpoint::Register,
                409,
                r#"{"error":{"code":"DEPLOYMENT_MODE_MISMATCH","message":"is hosted"}}"#,
            ),
            Status::Remote,
            "DEPLOYMENT_MODE_MISMATCH",
            &["is hosted", "deregister it first"],
            State::Failed,
        ),
        case(
            refusal(422).code("BAD_CARD"),
            Status::Remote,
            "BAD_CARD",
            &[],
            State::Failed,
        ),
        case(
            refusal(404).code("NO_TENANT"),
            Status::Remote,
            "NO_TENANT",
            &[],
            State::Failed,
        ),
        case(refusal(404), Status::Remote, "HTTP_404", &[], State::Idle),
        case(
            with_wait(Endpoint::Register, 429, "9"),
            Status::Remote,
            "HTTP_429",
            &["Retry-After 9 s"],
            State::Idle,
        ),
        case(refusal(500), Status::Remote, "HTTP_500", &[], State::Idle),
        case(refusal(502), Status::Remote, "HTTP_502", &[], State::Idle),
        case(
            with_body(Endpoint::Register, 200, "<html>login</html>"),
            Status::Protocol,
            "UNEXPECTED_REPLY",
            &["the body is not a registration reply"],
            State::Idle,
        ),
    ];
    check(cases, "failed while registering the agent", REGISTER);
}

#[test]
fn with_wrong_credentials() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({"client_secret": "not-the-secret-at-all"}));
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&[
        "UNAUTHORIZED",
        "HTTP 401",
        &gateway.url(),
        "SVANTIC_CLIENT_SECRET",
    ]);
    assert!(!failure.text.contains("not-the-secret-at-all"));
    agent.is(State::Idle);
    // Refused credentials are shown once, however much time there is.
    assert_eq!(requests(&gateway, TOKEN), 1);
    let event = agent.event("auth_failed");
    assert_eq!(event["code"], "UNAUTHORIZED");
    assert!(
        event["message"].as_str().unwrap().contains(TOKEN),
        "{event}"
    );
}

#[test]
fn the_outcome_of_connect_async_says_the_same_in_fields() {
    let gateway = refusing(vec![
        Refusal::new(Endpoint::Register, 409).code("DEPLOYMENT_MODE_MISMATCH"),
    ]);
    let agent = Agent::of(&gateway, &json!({}));
    agent.connect_async(77);
    let done = agent.done(77);
    assert_eq!(done["status"], Status::Remote as i32);
    let error = &done["error"];
    assert_eq!(error["code"], "DEPLOYMENT_MODE_MISMATCH");
    assert_eq!(error["http_status"], 409);
    assert_eq!(error["retryable"], false);
    assert!(
        error["message"].as_str().unwrap().contains(&gateway.url()),
        "{error}"
    );
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("another `instance_id`"),
        "{error}"
    );
    agent.enters("failed");
    assert_eq!(agent.event("failed"), *error);
    assert_eq!(agent.snapshot()["last_failure"], *error);
}

fn hosted(gateway: &Gateway) -> Agent {
    Agent::of(
        gateway,
        &json!({"public_url": "http://127.0.0.1:9/agents/desk"}),
    )
}

#[test]
fn a_hosted_agent_whose_card_cannot_be_fetched_learns_where_it_was_looked_for() {
    let gateway = refusing(vec![
        Refusal::new(Endpoint::Register, 502).code("PROBE_FAILED"),
    ]);
    let agent = hosted(&gateway);
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Remote);
    failure.says(&[
        "HTTP 502",
        "PROBE_FAILED",
        "http://127.0.0.1:9/agents/desk/.well-known/agent-card.json",
    ]);
    agent.is(State::Idle);
    assert_eq!(requests(&gateway, REGISTER), 1);
}

#[test]
fn the_real_probe_of_the_gateway() {
    let gateway = gateway();
    let failure = hosted(&gateway).connect().unwrap_err();
    failure.says(&[
        "HTTP 502",
        "PROBE_FAILED",
        "http://127.0.0.1:9/agents/desk/.well-known/agent-card.json",
    ]);
}

#[test]
fn the_real_refusals_of_the_gateway() {
    let gateway = gateway_without_probe();
    let hosted = hosted(&gateway);
    hosted.connect().unwrap();
    let other = Agent::of(&gateway, &json!({"instance_id": hosted.id()}));
    let failure = other.connect().unwrap_err();
    failure.says(&[
        "DEPLOYMENT_MODE_MISMATCH",
        "the instance is registered as hosted",
        "deregister it first",
    ]);
    other.is(State::Failed);
}

#[test]
fn a_reply_without_a_connect_url_is_final() {
    for extra in [Override::Null, Override::Text(String::new())] {
        let gateway = gateway();
        gateway.set_faults(Faults {
            connect_url: Some(extra.clone()),
            ..Faults::default()
        });
        let agent = Agent::of(&gateway, &json!({}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Protocol);
        failure.says(&[REGISTER, "connect_url"]);
        if extra == Override::Null {
            failure.says(&[
                "NO_CONNECT_URL",
                "is connected mode enabled for this tenant?",
            ]);
        }
        agent.is(State::Failed);
        assert_eq!(agent.event("failed")["http_status"], Value::Null);
        assert_eq!(requests(&gateway, "/agents/connect"), 0);
    }
}
