//! Where tokens come from: the second client secret (T3), and the application (`reliability.md` 6.5).

use serde_json::{Value, json};

use super::rig::{CLIENT_SECRET, Rig, http, jwt, seconds};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, Output};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State, Transition};

const TOKEN: &str = "/auth/get_token";
const NEXT: &str = "s3cret-of-tomorrow";

fn rotating() -> Rig {
    Rig::with(&json!({"client_secret_next": NEXT}))
}

fn refused(rig: &mut Rig, status: u16) -> Value {
    let request = rig.reply(TOKEN, status, &json!({"code": "REVOKED", "error": NEXT}));
    Rig::body(&request)["client_secret"].clone()
}

#[test]
pub(super) fn t3_a_refused_secret_falls_back_to_the_other_which_is_first_from_then_on() {
    let mut rig = rotating();
    let connect = rig.connect();
    assert_eq!(refused(&mut rig, 401), CLIENT_SECRET);
    assert_eq!(rig.machine.link(), LinkState::Authenticating);
    assert_eq!(
        rig.events_of(EventKind::CredentialFallback),
        [&json!({"used": "client_secret_next"})]
    );
    let request = rig.token_ok();
    assert_eq!(Rig::body(&request)["client_secret"], NEXT);
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    assert!(rig.machine.transitions_taken().any(|t| t == Transition::T3));

    rig.refresh_token(None);
    assert_eq!(refused(&mut rig, 403), NEXT, "the one that worked is first");
    assert_eq!(
        rig.events_of(EventKind::CredentialFallback)[1],
        &json!({"used": "client_secret"})
    );
    assert_eq!(Rig::body(&rig.token_ok())["client_secret"], CLIENT_SECRET);
    let shown = format!("{:?} {}", rig.events, rig.machine.snapshot(rig.now()));
    assert!(
        !shown.contains(NEXT) && !shown.contains(CLIENT_SECRET),
        "{shown}"
    );
}

#[test]
pub(super) fn t3_both_refused_is_blocked_and_what_is_no_refusal_is_no_fallback() {
    let mut rig = Rig::ready(&json!({"client_secret_next": NEXT}));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(401, &json!({}))));
    assert_eq!(refused(&mut rig, 401), CLIENT_SECRET);
    assert_eq!(refused(&mut rig, 401), NEXT);
    assert_eq!(rig.machine.state(), State::Blocked);
    assert!(rig.requests.is_empty());
    rig.next_timeout();
    rig.reply(TOKEN, 500, &json!({}));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(rig.events_of(EventKind::CredentialFallback).len(), 1);
    rig.next_timeout();
    assert_eq!(
        refused(&mut rig, 401),
        CLIENT_SECRET,
        "neither has worked since"
    );
    rig.reach_ready();
    assert_eq!(rig.machine.state(), State::Connected);
}

fn provided(changes: &Value) -> Rig {
    let mut all = json!({"client_id":null,"client_secret":null,"token_provider":true});
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    Rig::with(&all)
}

fn wanted(rig: &mut Rig) -> Vec<Value> {
    let wanted = rig.events_of(EventKind::TokenWanted);
    let wanted = wanted.into_iter().cloned().collect();
    rig.events.clear();
    wanted
}

fn give(rig: &mut Rig, n: u64, lifetime_s: u64) {
    let refresh = rig.refresh_token(Some(&jwt(n, lifetime_s)));
    assert_eq!(rig.result(refresh), Ok(Output::Nothing));
}

#[test]
pub(super) fn the_application_is_asked_when_a_token_is_missing_expiring_or_refused() {
    let mut rig = provided(&json!({}));
    let connect = rig.connect();
    assert_eq!(
        wanted(&mut rig),
        [json!({"generation":1,"reason":"missing"})]
    );
    assert!(rig.requests.is_empty() && rig.machine.link() == LinkState::Authenticating);
    rig.advance(seconds(9));
    assert!(wanted(&mut rig).is_empty(), "asked once");
    give(&mut rig, 1, 100);
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));

    rig.advance_alive(seconds(69));
    assert!(wanted(&mut rig).is_empty());
    rig.advance_alive(seconds(12));
    assert_eq!(
        wanted(&mut rig),
        [json!({"generation":2,"reason":"expiring"})]
    );
    give(&mut rig, 2, 100);
    assert_eq!(rig.machine.link(), LinkState::Ready, "the socket stays");

    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(401, &json!({}))));
    assert_eq!(
        wanted(&mut rig),
        [json!({"generation":3,"reason":"refused"})]
    );
    let same = rig.refresh_token(Some(&jwt(2, 100)));
    assert_eq!(rig.error(same).code(), "TOKEN_EXPIRED", "it was refused");
    assert_eq!(
        rig.machine.link(),
        LinkState::Authenticating,
        "it still waits"
    );
    give(&mut rig, 3, 100);
    rig.reach_ready();
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn a_first_token_of_the_configuration_is_used_and_renewed_by_the_application() {
    let mut rig = provided(&json!({"token": jwt(7, 100)}));
    let connect = rig.connect();
    assert_eq!(Rig::bearer(&rig.register_ok()), Some(jwt(7, 100)));
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    rig.advance_alive(seconds(81));
    assert_eq!(wanted(&mut rig).len(), 1);
}

#[test]
pub(super) fn an_application_that_is_silent_for_10_s_is_a_failed_attempt() {
    let mut rig = provided(&json!({"fail_fast": true}));
    let connect = rig.connect();
    rig.advance(seconds(9));
    assert!(!rig.is_done(connect));
    rig.advance(seconds(1));
    let error = rig.error(connect);
    assert_eq!(
        (error.kind(), error.code(), error.is_retryable()),
        (ErrorKind::Timeout, "TOKEN_PROVIDER_TIMEOUT", true)
    );
    assert!(error.to_string().contains("refresh_token"), "{error}");

    // With a link it is asked again, and the old token is used meanwhile.
    let mut rig = provided(&json!({"token": jwt(1, 100), "token_provider_timeout_ms": 2000}));
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(81));
    rig.advance_alive(seconds(12));
    let reasons = wanted(&mut rig);
    assert!(reasons.len() >= 2, "{reasons:?}");
    assert!(reasons.iter().all(|data| data["generation"] == 2));
    assert_eq!(rig.machine.state(), State::Connected);
    give(&mut rig, 2, 100);
    rig.advance_alive(seconds(60));
    assert!(wanted(&mut rig).is_empty());

    // Without one it waits and asks again.
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(401, &json!({}))));
    rig.advance(seconds(2));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    rig.events.clear();
    rig.next_timeout();
    assert_eq!(wanted(&mut rig).len(), 1);
    give(&mut rig, 3, 100);
    rig.reach_ready();
}

#[test]
pub(super) fn an_application_can_be_asked_to_renew_now() {
    let mut rig = provided(&json!({"token": jwt(1, 100)}));
    rig.connect();
    rig.reach_ready();
    rig.events.clear();
    let (first, second) = (rig.refresh_token(None), rig.refresh_token(None));
    assert_eq!(wanted(&mut rig).len(), 1, "one at a time");
    give(&mut rig, 2, 100);
    assert_eq!(rig.result(first), Ok(Output::Nothing));
    assert_eq!(rig.result(second), Ok(Output::Nothing));
    rig.advance_alive(seconds(11));
    assert!(rig.machine.state() == State::Connected && wanted(&mut rig).is_empty());
}

#[test]
pub(super) fn an_application_that_drains_is_still_asked_for_the_token_of_the_farewell() {
    let mut rig = provided(&json!({"token": jwt(1, 100)}));
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(75));
    rig.closed(4401);
    rig.events.clear();
    let disconnect = rig.disconnect(seconds(1));
    rig.advance(seconds(20));
    assert_eq!(
        rig.result(disconnect),
        Ok(Output::Nothing),
        "it ends in any case"
    );
}
