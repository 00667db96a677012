//! A transport whose bytes the application carries: what the library's own socket would see to, the machine has to.

use serde_json::json;

use super::raw_link::{ready, transport};
use super::rig::{millis, seconds};
use crate::machine::LinkState;
use crate::machine::action::Dialed;
use crate::machine::event::EventKind;

#[test]
fn a_socket_that_neither_opens_nor_fails_is_given_up_with_its_attempt() {
    let mut rig = ready(&json!({
        "external_socket": true, "attempt_timeout_ms": 5000, "reconnect_delays_ms": [10],
    }));
    rig.closed(1012);
    rig.next_timeout();
    assert_eq!(rig.machine.link(), LinkState::Dialing);
    let silent = rig.conn;
    rig.forget();
    rig.advance(millis(4999));
    assert_eq!(rig.machine.link(), LinkState::Dialing);
    rig.advance(millis(1));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(rig.aborts, [silent], "the application is to close it");
    let told = &rig.events_of(EventKind::Backoff)[0];
    assert_eq!(told["cause"], "TIMEOUT");
    assert!(
        told["message"].as_str().unwrap().contains("5000 ms"),
        "{told}"
    );
    rig.next_timeout();
    assert_eq!(rig.machine.link(), LinkState::Dialing);
    let now = rig.now();
    rig.machine.handle_dialed(now, silent, Dialed::Open);
    rig.collect();
    assert!(rig.sent.is_empty(), "it comes too late");
    rig.dialed(Dialed::Open);
    assert_eq!(rig.sent.len(), 1);
}

#[test]
fn the_first_connect_says_that_the_socket_did_not_open() {
    let mut rig = transport(&json!({
        "external_socket": true, "attempt_timeout_ms": 5000, "fail_fast": true,
    }));
    let connect = rig.connect();
    rig.advance(seconds(5));
    let error = rig.error(connect);
    assert_eq!(error.code(), "TIMEOUT", "{error}");
    assert_eq!(rig.aborts, [rig.conn]);
    assert_eq!(rig.machine.link(), LinkState::Idle);
}

#[test]
fn a_message_over_the_limit_costs_the_connection_and_is_not_handed_on() {
    let mut rig = ready(&json!({
        "external_socket": true, "max_frame_bytes": 1024, "reconnect_delays_ms": [10],
    }));
    let frame = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    rig.text(&frame(1024));
    assert_eq!(rig.raw.len(), 1);
    rig.text(&frame(1025));
    assert_eq!((rig.raw.len(), rig.machine.link()), (1, LinkState::Backoff));
    assert_eq!(rig.aborts, [rig.conn]);
    let told = &rig.events_of(EventKind::Disconnected)[0]["cause"];
    assert_eq!(
        told,
        "the peer sent a message of 1025 bytes, and the limit is 1024"
    );
}
