//! A proxy that wants credentials of its own (407, T17).

use serde_json::{Value, json};

use super::rig::{Rig, http, jwt, seconds};
use crate::machine::State;
use crate::machine::action::{Dialed, Output};
use crate::machine::event::EventKind;

fn supplied(token: &str) -> Value {
    json!({"client_id":null,"client_secret":null,"token":token})
}

#[test]
pub(super) fn it_does_not_cost_a_supplied_token() {
    let token = jwt(1, 86_400);
    let mut rig = Rig::ready(&supplied(&token));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(407, &json!({}))));
    assert_eq!(rig.machine.state(), State::Blocked);
    assert_eq!(rig.events_of(EventKind::AuthFailed).len(), 1);
    let start = rig.now;
    rig.next_timeout();
    assert!(rig.now - start <= seconds(5), "it is tried again by itself");
    rig.reach_ready();
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn it_does_not_cost_a_fetched_token_either() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(407, &json!({}))));
    rig.next_timeout();
    assert!(rig.requests.is_empty(), "no new token is asked for");
    rig.reach_ready();
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn connect_can_be_called_again_with_the_same_token() {
    let token = jwt(1, 86_400);
    let mut rig = Rig::with(&supplied(&token));
    let connect = rig.connect();
    rig.reply("/agents/register", 407, &json!({}));
    rig.error(connect);
    let connect = rig.connect();
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

#[test]
pub(super) fn a_token_that_dies_meanwhile_is_not_shown_again() {
    let token = jwt(1, 60);
    let mut rig = Rig::ready(&supplied(&token));
    rig.advance_alive(seconds(59));
    rig.broken();
    rig.next_timeout();
    if rig.machine.state() != State::Blocked {
        rig.dialed(Dialed::Refused(http(407, &json!({}))));
    }
    rig.advance(seconds(600));
    assert_eq!(rig.machine.state(), State::Blocked);
    assert!(rig.requests.is_empty());
}
