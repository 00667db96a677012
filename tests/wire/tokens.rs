//! Tokens that expire, are renewed, are supplied, are refused.

use std::time::Duration;

use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Authorization, Endpoint, Faults, Gateway, Options, Refusal};

use crate::abi::{Agent, config, gateway, requests, sees};

const LONG: Duration = Duration::from_hours(1);

fn supplied(gateway: &Gateway, token: &str) -> Agent {
    let mut config = config(&gateway.url());
    config["token"] = token.into();
    Agent::with(config, &json!({}))
}

#[test]
fn a_token_is_renewed_before_it_expires_and_the_socket_stays() {
    let gateway = Gateway::start(Options {
        token_ttl: Duration::from_secs(2),
        ..Options::default()
    })
    .unwrap();
    let agent = Agent::connected(&gateway, &json!({}));
    let mut tokens = vec![agent.token().unwrap()];
    for generation in 2..=3 {
        let event = agent.event_with("token_refreshed", |data| data["generation"] == generation);
        assert!(event["expires_at"].is_u64(), "{event}");
        tokens.push(agent.token().unwrap());
        // Used at once by the next call.
        let session = agent.create_session(0).unwrap();
        agent.close_session(&session, 0).unwrap();
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    agent.serves(&gateway);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
    let requests = gateway.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.authorization != Authorization::Invalid),
        "{requests:#?}"
    );
}

#[test]
fn a_failed_renewal_is_tried_again_while_the_token_lives() {
    let gateway = Gateway::start(Options {
        token_ttl: Duration::from_secs(30),
        ..Options::default()
    })
    .unwrap();
    let agent = Agent::connected(&gateway, &json!({}));
    let refuse = vec![Refusal::new(Endpoint::Token, 500).code("INTERNAL").times(1)];
    gateway.set_faults(Faults {
        refuse,
        ..Faults::default()
    });
    let failure = agent.refresh_token(None).unwrap_err();
    assert_eq!(failure.status, Status::Remote);
    failure.says(&["HTTP 500", "INTERNAL", "/auth/get_token"]);
    agent.is(State::Connected);
    agent.event_with("token_refreshed", |data| data["generation"] == 2);
    agent.serves(&gateway);
}

#[test]
fn refresh_token_exchanges_the_credentials_now() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let before = agent.token().unwrap();
    agent.refresh_token(None).unwrap();
    assert_ne!(agent.token().unwrap(), before);
    assert_eq!(requests(&gateway, "/auth/get_token"), 2);
    agent.serves(&gateway);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
    let refuse = vec![Refusal::new(Endpoint::Token, 401).code("REVOKED")];
    gateway.set_faults(Faults {
        refuse,
        ..Faults::default()
    });
    let failure = agent.refresh_token(None).unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&["REVOKED", "client_secret"]);
    // The token in use is good for as long as it lives.
    agent.is(State::Connected);
    agent.create_session(0).unwrap();
}

/// A call that is refused with 401 renews the token and is repeated once.
#[test]
fn a_call_with_a_token_that_is_refused_is_repeated_with_a_fresh_one() {
    let gateway = gateway();
    let agent = Agent::connected(&gateway, &json!({}));
    let once = |endpoint| {
        let refuse = vec![Refusal::new(endpoint, 401).times(1)];
        gateway.set_faults(Faults {
            refuse,
            ..Faults::default()
        });
    };
    once(Endpoint::SessionInit);
    let session = agent.create_session(0).unwrap();
    once(Endpoint::SessionClose);
    agent.close_session(&session, 0).unwrap();
    once(Endpoint::Register);
    agent.re_register().unwrap();
    assert_eq!(requests(&gateway, "/auth/get_token"), 4);
    let refuse = vec![Refusal::new(Endpoint::SessionInit, 401).code("UNAUTHORIZED")];
    gateway.set_faults(Faults {
        refuse,
        ..Faults::default()
    });
    let failure = agent.create_session(0).unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&["opening a session", "HTTP 401", "/sessions/init"]);
    assert_eq!(requests(&gateway, "/auth/get_token"), 5);
    agent.serves(&gateway);
}

#[test]
fn session_errors_are_the_meshs_own() {
    let gateway = gateway();
    let agent = Agent::of(&gateway, &json!({}));
    let failure = agent.create_session(0).unwrap_err();
    assert_eq!(failure.status, Status::InvalidState);
    failure.says(&["NOT_CONNECTED", "call connect first"]);
    agent.connect().unwrap();
    let failure = agent.close_session("no-such-session", 0).unwrap_err();
    assert_eq!(failure.status, Status::NotFound);
    failure.says(&["HTTP 404", "SESSION_NOT_FOUND", "/sessions/close"]);
    for (status, code) in [(403, "FORBIDDEN"), (429, "RATE_LIMITED"), (500, "INTERNAL")] {
        let refuse = vec![Refusal::new(Endpoint::SessionInit, status).code(code)];
        gateway.set_faults(Faults {
            refuse,
            ..Faults::default()
        });
        let failure = agent.create_session(0).unwrap_err();
        assert_eq!(failure.status, Status::Remote);
        failure.says(&[
            "opening a session",
            &format!("HTTP {status}"),
            code,
            &gateway.url(),
        ]);
    }
    let body = Some(r#"{"ok":true}"#.to_owned());
    let refuse = vec![Refusal {
        body,
        ..Refusal::new(Endpoint::SessionInit, 200)
    }];
    gateway.set_faults(Faults {
        refuse,
        ..Faults::default()
    });
    let failure = agent.create_session(0).unwrap_err();
    assert_eq!(failure.status, Status::Protocol);
    failure.says(&["the body holds no session_id"]);
    agent.serves(&gateway);
}

#[test]
fn a_supplied_token_is_used_as_it_is() {
    let gateway = gateway();
    let token = gateway.issue_token("desk", LONG);
    let agent = supplied(&gateway, &token);
    agent.connect().unwrap();
    assert_eq!(agent.token().unwrap(), token);
    assert_eq!(requests(&gateway, "/auth/get_token"), 0);
    let failure = agent.refresh_token(None).unwrap_err();
    assert_eq!(failure.status, Status::InvalidArgument);
    let other = gateway.issue_token("desk", LONG);
    agent.refresh_token(Some(&other)).unwrap();
    assert_eq!(agent.token().unwrap(), other);
    agent.create_session(0).unwrap();
    agent.serves(&gateway);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

#[test]
fn a_supplied_token_that_is_refused_can_be_replaced() {
    let gateway = gateway();
    let agent = supplied(&gateway, "not-a-token-of-this-mesh");
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&[
        "HTTP 401",
        "UNAUTHORIZED",
        "/agents/register",
        "call refresh_token with a new one",
    ]);
    agent.is(State::Idle);
    // Shown once: a mesh is not asked again and again with a token that it refused.
    assert_eq!(gateway.requests().len(), 1);
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&["TOKEN_EXPIRED", "call refresh_token with a new one"]);
    assert_eq!(gateway.requests().len(), 1);
    agent
        .refresh_token(Some(&gateway.issue_token("desk", LONG)))
        .unwrap();
    agent.connect().unwrap();
    agent.serves(&gateway);
}

#[test]
fn a_supplied_token_that_expires_is_announced_and_replaced() {
    let gateway = gateway();
    let agent = supplied(
        &gateway,
        &gateway.issue_token("desk", Duration::from_secs(2)),
    );
    agent.connect().unwrap();
    assert!(
        agent.event("token_expiring")["seconds_left"]
            .as_u64()
            .is_some_and(|left| left < 2)
    );
    assert_eq!(agent.event("token_expired"), json!({}));
    agent.is(State::Connected);
    agent
        .create_session(0)
        .unwrap_err()
        .says(&["refresh_token"]);
    agent.serves(&gateway);
    agent
        .refresh_token(Some(&gateway.issue_token("desk", LONG)))
        .unwrap();
    agent.create_session(0).unwrap();
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
}

#[test]
fn a_blocked_agent_goes_on_with_a_new_token() {
    let gateway = gateway();
    let agent = supplied(&gateway, &gateway.issue_token("desk", LONG));
    agent.connect().unwrap();
    assert!(gateway.close(agent.id(), 4401, "revoked"));
    agent.enters("blocked");
    assert_ne!(agent.event("auth_failed")["message"], Value::Null);
    let sent = gateway.requests().len();
    agent
        .refresh_token(Some(&gateway.issue_token("desk", LONG)))
        .unwrap();
    agent.enters("connected");
    agent.serves(&gateway);
    sees(&gateway, "no more than the upgrade", |seen| {
        seen.requests().len() == sent + 1
    });
}

fn provided(gateway: &Gateway, more: &Value) -> Agent {
    let mut config = config(&gateway.url());
    config["token_provider"] = true.into();
    Agent::with(config, more)
}

/// The application gives the tokens: the first, the ones after it, and none in vain.
#[test]
fn an_application_that_issues_tokens_is_asked_for_each() {
    let gateway = gateway();
    let agent = provided(&gateway, &json!({}));
    agent.connect_async(7);
    let wanted = agent.event("token_wanted");
    assert_eq!(wanted, json!({"generation": 1, "reason": "missing"}));
    let short = gateway.issue_token("desk", Duration::from_secs(3));
    agent.refresh_token(Some(&short)).unwrap();
    assert_eq!(agent.done(7)["status"], 0);
    assert_eq!(agent.token().unwrap(), short);
    let wanted = agent.event_with("token_wanted", |data| data["generation"] == 2);
    assert_eq!(wanted["reason"], "expiring");
    let long = gateway.issue_token("desk", LONG);
    agent.refresh_token(Some(&long)).unwrap();
    agent.event_with("token_refreshed", |data| data["generation"] == 2);
    assert_eq!(agent.token().unwrap(), long);
    agent.serves(&gateway);
    assert_eq!(gateway.agent(agent.id()).unwrap().connections, 1);
    assert_eq!(requests(&gateway, "/auth/get_token"), 0);
}

#[test]
fn an_application_that_gives_no_token_is_named_as_the_cause() {
    let gateway = gateway();
    let more = json!({"token_provider_timeout_ms": 50, "fail_fast": true});
    let agent = provided(&gateway, &more);
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Timeout);
    failure.says(&["TOKEN_PROVIDER_TIMEOUT", "50 ms", "refresh_token"]);
    assert!(gateway.requests().is_empty());
    agent.is(State::Idle);
}

#[test]
fn a_refused_token_is_not_shown_a_second_time() {
    let gateway = gateway();
    let agent = supplied(&gateway, "not-a-token-of-this-mesh");
    agent.connect().unwrap_err();
    let failure = agent
        .refresh_token(Some("not-a-token-of-this-mesh"))
        .unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&["TOKEN_EXPIRED", "call refresh_token with a new one"]);
    assert_eq!(gateway.requests().len(), 1);
}

#[test]
fn a_second_client_secret_is_shown_when_the_first_is_refused() {
    let gateway = gateway();
    let mut config = config(&gateway.url());
    config["client_id"] = gateway.client_id().into();
    config["client_secret"] = "the-one-of-yesterday".into();
    config["client_secret_next"] = gateway.client_secret().into();
    let agent = Agent::with(config, &json!({}));
    agent.connect().unwrap();
    assert_eq!(
        agent.event("credential_fallback"),
        json!({"used": "client_secret_next"})
    );
    agent.refresh_token(None).unwrap();
    assert_eq!(
        requests(&gateway, "/auth/get_token"),
        3,
        "first from now on"
    );
    agent.serves(&gateway);
}
