//! Refusals that may pass: retried within the deadline of `connect`, with the wait that was asked for.

use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Endpoint, Faults, Refusal};

use crate::abi::{Agent, refusing, requests};
use crate::connect_refused::{REGISTER, TOKEN, with_body, with_wait};

/// One refusal, then none: connect goes on by itself.
#[test]
fn passing_refusals_are_retried_within_the_deadline() {
    for (refusal, tokens, registrations) in [
        (Refusal::new(Endpoint::Token, 500), 2, 1),
        (Refusal::new(Endpoint::Token, 502), 2, 1),
        (with_body(Endpoint::Token, 200, "hello"), 2, 1),
        // The token is renewed once for a 401, and shown again.
        (Refusal::new(Endpoint::Register, 401), 2, 2),
        (Refusal::new(Endpoint::Register, 403), 1, 2),
        (Refusal::new(Endpoint::Register, 408), 1, 2),
        (Refusal::new(Endpoint::Register, 500), 1, 2),
        (
            Refusal::new(Endpoint::Register, 502).code("BAD_GATEWAY"),
            1,
            2,
        ),
        (Refusal::new(Endpoint::Register, 503), 1, 2),
    ] {
        let shown = format!("{refusal:?}");
        let gateway = refusing(vec![refusal.times(1)]);
        let agent = Agent::connected(&gateway, &json!({}));
        assert_eq!(requests(&gateway, TOKEN), tokens, "{shown}");
        assert_eq!(requests(&gateway, REGISTER), registrations, "{shown}");
        agent.serves(&gateway);
    }
}

#[test]
fn a_retry_after_within_the_deadline_is_waited_for() {
    let gateway = refusing(vec![with_wait(Endpoint::Register, 429, "1").times(1)]);
    let agent = Agent::connected(&gateway, &json!({}));
    let backoff = agent.event("backoff");
    assert_eq!(backoff["cause"], "HTTP_429");
    assert!(backoff["delay_ms"].as_u64().unwrap() >= 1000, "{backoff}");
    assert_eq!(requests(&gateway, REGISTER), 2);
}

#[test]
fn a_retry_after_beyond_the_deadline_ends_it_at_once() {
    let gateway = refusing(vec![with_wait(Endpoint::Token, 429, "45").times(1)]);
    let agent = Agent::of(&gateway, &json!({}));
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Remote);
    failure.says(&["HTTP 429", "Retry-After 45 s"]);
    agent.is(State::Idle);
    assert_eq!(requests(&gateway, TOKEN), 1);
    agent.connect().unwrap();
}

#[test]
fn a_token_that_is_refused_again_is_not_renewed_for_ever() {
    let gateway = refusing(vec![
        Refusal::new(Endpoint::Register, 401).code("UNAUTHORIZED"),
    ]);
    let agent = Agent::of(&gateway, &json!({}));
    let failure = agent.connect().unwrap_err();
    assert_eq!(failure.status, Status::Auth);
    failure.says(&[
        "registering the agent",
        "HTTP 401",
        "[UNAUTHORIZED]",
        REGISTER,
    ]);
    agent.is(State::Idle);
    assert_eq!(
        (requests(&gateway, TOKEN), requests(&gateway, REGISTER)),
        (2, 2)
    );
    gateway.set_faults(Faults::default());
    agent.connect().unwrap();
}

/// A 403 without a code may be a proxy's: it is retried, and the deadline tells what it was.
#[test]
fn a_refusal_that_does_not_pass_ends_at_the_deadline() {
    for status in [403, 500, 502] {
        let gateway = refusing(vec![Refusal::new(Endpoint::Register, status)]);
        let agent = Agent::of(&gateway, &json!({"timeout_ms": 400}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Remote, "{failure:?}");
        failure.says(&["registering the agent", &format!("HTTP {status}"), REGISTER]);
        agent.is(State::Idle);
        assert!(requests(&gateway, REGISTER) > 1, "it was not retried");
        assert_eq!(requests(&gateway, TOKEN), 1);
    }
}

#[test]
fn a_retry_after_that_makes_no_sense_is_none() {
    for wait in [
        "soon",
        "-1",
        "1.5",
        "99999999999999999999",
        "",
        "Fri, 99 Foo 2026 08:00:00 GMT",
    ] {
        let gateway = refusing(vec![with_wait(Endpoint::Token, 503, wait).times(1)]);
        let agent = Agent::connected(&gateway, &json!({}));
        assert!(
            agent.event("backoff")["delay_ms"].as_u64().unwrap() <= 50,
            "{wait:?}"
        );
    }
    // Nobody waits for longer than five minutes, whatever is asked.
    let gateway = refusing(vec![with_wait(Endpoint::Token, 503, "999999")]);
    let agent = Agent::of(&gateway, &json!({}));
    agent.connect().unwrap_err().says(&["Retry-After 300 s"]);
}
