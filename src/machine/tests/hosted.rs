//! A hosted agent: registered, with heartbeats over HTTP, and no socket.

use serde_json::{Value, json};

use super::rig::{Rig, jwt, seconds};
use crate::machine::action::Output;
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const HEARTBEAT: &str = "/agents/heartbeat";
const REGISTER: &str = "/agents/register";

fn changes() -> Value {
    json!({"public_url": "https://desk.example/a2a"})
}

fn hosted() -> Rig {
    let mut rig = Rig::with(&changes());
    let connect = rig.connect();
    rig.token_ok();
    let request = rig.reply(REGISTER, 200, &json!({"ok":true,"connect_url":null}));
    assert_eq!(Rig::body(&request)["url"], "https://desk.example/a2a");
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    rig
}

#[test]
pub(super) fn it_is_connected_by_its_registration_and_beats_over_http() {
    let mut rig = hosted();
    assert_eq!(
        (rig.machine.state(), rig.machine.link()),
        (State::Connected, LinkState::Hosted)
    );
    assert!(rig.dials.is_empty());
    rig.advance(seconds(9));
    let request = rig.reply(HEARTBEAT, 200, &json!({"ok":true}));
    assert_eq!(Rig::body(&request)["status"], "available");
    rig.advance(seconds(30));
    rig.reply(HEARTBEAT, 200, &json!({"ok":true}));
    let disconnect = rig.disconnect(seconds(5));
    rig.reply(HEARTBEAT, 200, &json!({}));
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
}

/// Otherwise the mesh hears of an instance that it has just let go.
#[test]
fn the_last_heartbeat_is_answered_before_the_registration_is_taken_back() {
    let mut rig = hosted();
    let disconnect = rig.disconnect(seconds(5));
    assert_eq!(rig.next_path(), Some(HEARTBEAT));
    assert_eq!(rig.requests.len(), 1, "only the heartbeat is on its way");
    let request = rig.reply(HEARTBEAT, 200, &json!({}));
    assert_eq!(Rig::body(&request)["status"], "draining");
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
}

#[test]
fn a_last_heartbeat_that_nobody_answers_costs_the_farewell_half_of_its_time() {
    let mut rig = hosted();
    let disconnect = rig.disconnect(seconds(60));
    let started = rig.now;
    assert_eq!(rig.next_path(), Some(HEARTBEAT));
    rig.next_timeout();
    assert!(rig.now - started < seconds(5));
    assert_eq!(rig.requests.len(), 2, "deregistered all the same");
    rig.reply(HEARTBEAT, 404, &json!({}));
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    assert_eq!(rig.machine.state(), State::Closed);
}

#[test]
pub(super) fn a_probe_that_failed_is_named_with_its_url() {
    let mut rig = Rig::with(&changes());
    let connect = rig.connect();
    rig.token_ok();
    rig.reply(
        REGISTER,
        502,
        &json!({"code":"PROBE_FAILED","error":"no card"}),
    );
    let error = rig.error(connect).to_string();
    assert!(
        error.contains("https://desk.example/a2a/.well-known/agent-card.json"),
        "{error}"
    );
    assert_eq!(rig.machine.state(), State::Idle);
}

#[test]
pub(super) fn when_forgotten_it_registers_again() {
    let mut rig = hosted();
    rig.advance(seconds(9));
    rig.reply(HEARTBEAT, 401, &json!({}));
    rig.token_ok();
    rig.reply(HEARTBEAT, 200, &json!({"ok":true}));
    rig.advance(seconds(30));
    rig.reply(HEARTBEAT, 404, &json!({"code":"INSTANCE_NOT_FOUND"}));
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);
    rig.reply(REGISTER, 503, &json!({}));
    assert_eq!(rig.machine.state(), State::Reconnecting);
    rig.next_timeout();
    rig.reply(REGISTER, 200, &json!({"ok":true}));
    assert_eq!(rig.machine.state(), State::Connected);
    let announce = rig.re_register();
    rig.reply(REGISTER, 200, &json!({"ok":true}));
    assert_eq!(rig.result(announce), Ok(Output::Nothing));
    rig.stop();
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.machine.state(), State::Closed);
}

#[test]
pub(super) fn heartbeats_that_are_refused_again_and_again_do_not_fetch_tokens_in_a_loop() {
    let mut rig = hosted();
    rig.advance(seconds(9));
    rig.reply(HEARTBEAT, 401, &json!({"code":"UNAUTHORIZED"}));
    let fresh = rig.token_ok();
    assert!(fresh.bearer.is_none());
    let again = rig.reply(HEARTBEAT, 401, &json!({"code":"UNAUTHORIZED"}));
    assert_eq!(Rig::bearer(&again), Some(jwt(2, 86_400)), "at once");
    assert_eq!(rig.machine.state(), State::Blocked);
    assert_eq!(rig.events_of(EventKind::AuthFailed).len(), 1);
    assert!(rig.requests.is_empty());
    let (start, mut tokens) = (rig.now, 0);
    while rig.now - start < seconds(3600) {
        match rig.next_path() {
            Some(HEARTBEAT) => {
                rig.reply(HEARTBEAT, 401, &json!({}));
            }
            Some(_) => {
                tokens += 1;
                rig.token_ok();
            }
            None => rig.next_timeout(),
        }
    }
    assert!((10..=40).contains(&tokens), "{tokens} tokens in an hour");
    while rig.machine.state() != State::Connected {
        if rig.requests.is_empty() {
            rig.next_timeout();
        } else {
            rig.token_ok();
        }
    }
    rig.advance(seconds(9));
    rig.reply(HEARTBEAT, 200, &json!({}));
    rig.advance(seconds(30));
    rig.reply(HEARTBEAT, 401, &json!({}));
    assert_eq!(
        rig.machine.state(),
        State::Connected,
        "the count starts anew"
    );
    rig.token_ok();
}

#[test]
pub(super) fn a_refusal_that_crosses_a_newer_token_is_none_of_it() {
    let mut rig = hosted();
    rig.advance(seconds(9));
    let refresh = rig.refresh_token(None);
    let old = rig.take(HEARTBEAT);
    rig.token_ok();
    assert_eq!(rig.result(refresh), Ok(Output::Nothing));
    rig.requests.insert(0, old);
    rig.reply(HEARTBEAT, 401, &json!({}));
    let again = rig.reply(HEARTBEAT, 200, &json!({}));
    assert_eq!(Rig::bearer(&again), Some(jwt(2, 86_400)));
    assert!(rig.requests.is_empty());
}

#[test]
pub(super) fn a_supplied_token_that_is_refused_waits_for_another() {
    let mut changes = changes();
    for (key, value) in [
        ("client_id", json!(null)),
        ("client_secret", json!(null)),
        ("token", json!(jwt(1, 86_400))),
    ] {
        changes[key] = value;
    }
    let mut rig = Rig::with(&changes);
    rig.connect();
    rig.reply(REGISTER, 200, &json!({"ok":true}));
    rig.advance(seconds(9));
    rig.reply(HEARTBEAT, 401, &json!({}));
    assert_eq!(rig.machine.state(), State::Blocked);
    rig.advance(seconds(600));
    assert!(rig.requests.is_empty());
    rig.refresh_token(Some(&jwt(2, 86_400)));
    assert_eq!(rig.machine.state(), State::Connected);
    rig.advance(seconds(9));
    rig.reply(HEARTBEAT, 200, &json!({}));
}
