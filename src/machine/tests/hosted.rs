//! A hosted agent: registered, with heartbeats over HTTP, and no socket.

use serde_json::{Value, json};

use super::rig::{Rig, seconds};
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
