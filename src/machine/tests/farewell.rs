//! The last words: deregistering with what it takes, in a bounded time (T45 and T46).

use serde_json::json;

use super::rig::{CONNECT_URL, Rig, http, jwt, millis, seconds, unreachable};
use crate::machine::State;
use crate::machine::action::{Dialed, Output, Reply};
use crate::machine::event::EventKind;

const TOKEN: &str = "/auth/get_token";
const REGISTER: &str = "/agents/register";
const DEREGISTER: &str = "/agents/deregister";

/// A rig whose link is down and whose token has died.
fn without_token() -> Rig {
    let mut rig = Rig::new();
    rig.token_lifetime_s = 60;
    rig.connect();
    rig.reach_ready();
    rig.advance_alive(seconds(30));
    rig.broken();
    rig.now = seconds(100);
    rig
}

fn assert_closed(rig: &mut Rig, disconnect: u64) {
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    assert_eq!((rig.machine.state(), rig.finished), (State::Closed, 1));
    assert!(rig.requests.is_empty() && rig.machine.poll_timeout().is_none());
}

#[test]
pub(super) fn a_dead_token_is_renewed_first() {
    let mut rig = without_token();
    let disconnect = rig.disconnect(seconds(0));
    rig.advance(seconds(2));
    rig.token_ok();
    let request = rig.take(DEREGISTER);
    assert_eq!(Rig::bearer(&request), Some(jwt(2, 60)));
    assert_eq!(request.timeout, seconds(3), "all within 5 s");
    let reply = Reply::Http(http(200, &json!({})));
    rig.machine.handle_reply(rig.now(), request.id, &reply);
    rig.collect();
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn without_another_token_we_go_without_a_word() {
    for refused in [false, true] {
        let mut rig = without_token();
        let disconnect = rig.disconnect(seconds(0));
        if refused {
            rig.reply(TOKEN, 401, &json!({}));
        } else {
            rig.advance(millis(4_999));
            assert!(!rig.is_done(disconnect));
            rig.advance(millis(1));
            rig.requests.clear();
        }
        assert_closed(&mut rig, disconnect);
    }
}

#[test]
pub(super) fn a_registration_on_its_way_is_awaited_and_undone() {
    let accepted = Reply::Http(http(200, &json!({"connect_url": CONNECT_URL})));
    for reply in [accepted, Reply::Failed(unreachable())] {
        let mut rig = Rig::new();
        rig.connect();
        rig.token_ok();
        let disconnect = rig.disconnect(seconds(30));
        assert!(!rig.is_done(disconnect));
        rig.answer_request(REGISTER, &reply);
        assert!(rig.dials.is_empty());
        rig.reply(DEREGISTER, 200, &json!({}));
        assert_closed(&mut rig, disconnect);
    }
}

#[test]
pub(super) fn a_registration_that_is_refused_leaves_nothing_to_undo() {
    let mut rig = Rig::new();
    rig.connect();
    rig.token_ok();
    let disconnect = rig.disconnect(seconds(30));
    rig.reply(REGISTER, 403, &json!({"code":"NOT_ALLOWED"}));
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn a_registration_that_hangs_costs_5_s() {
    let mut rig = Rig::new();
    rig.connect();
    rig.token_ok();
    let disconnect = rig.disconnect(seconds(30));
    rig.advance(seconds(5));
    rig.requests.clear();
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn an_announcement_on_its_way_is_awaited_before_deregistering() {
    let mut rig = Rig::ready(&json!({}));
    let announce = rig.re_register();
    let disconnect = rig.disconnect(seconds(30));
    rig.closed(1000);
    rig.reply(REGISTER, 200, &json!({"connect_url": CONNECT_URL}));
    rig.reply(DEREGISTER, 200, &json!({}));
    assert!(rig.error(announce).code() == "CANCELLED");
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn a_token_that_comes_during_the_farewell_changes_nothing() {
    let mut rig = Rig::ready(&json!({}));
    rig.refresh_token(None);
    let disconnect = rig.disconnect(seconds(30));
    rig.token_ok();
    assert!(rig.requests.is_empty(), "the close handshake comes first");
    rig.closed(1000);
    rig.reply(DEREGISTER, 200, &json!({}));
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn a_final_refusal_while_draining_ends_it_well() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 2}));
    rig.echo("running");
    rig.echo("answered");
    rig.answer("answered", "1").unwrap();
    rig.broken();
    let disconnect = rig.disconnect(seconds(300));
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(403, &json!({"code":"NOT_ALLOWED"}))));
    assert!(rig.events_of(EventKind::Failed).is_empty());
    assert_eq!(
        rig.events_of(EventKind::DispatchCancelled),
        [&json!({"dispatch_id":"running","reason":"shutdown"})]
    );
    let said = rig.events_of(EventKind::Log);
    assert!(said[0]["message"].as_str().unwrap().contains("NOT_ALLOWED"));
    rig.reply(DEREGISTER, 200, &json!({}));
    assert_eq!(rig.events_of(EventKind::ResultDropped).len(), 2);
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn so_does_a_final_close_while_draining() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("running");
    let disconnect = rig.disconnect(seconds(300));
    for _ in 0..2 {
        rig.closed(4400);
        rig.next_timeout();
        rig.reach_ready();
    }
    rig.closed(4400);
    rig.reply(DEREGISTER, 200, &json!({}));
    assert_closed(&mut rig, disconnect);
}

#[test]
pub(super) fn a_connect_whose_time_ends_during_the_farewell_does_not_undo_it() {
    let mut rig = Rig::new();
    let connect = rig.connect_within(seconds(2));
    rig.token_ok();
    rig.stop();
    assert_eq!(rig.error(connect).code(), "CANCELLED");
    rig.advance(seconds(3));
    assert_eq!(rig.machine.state(), State::Draining);
    rig.advance(seconds(2));
    assert_eq!((rig.machine.state(), rig.finished), (State::Closed, 1));
}

/// Whether the mesh has taken it, nobody has heard.
fn given_up_registrations() -> Vec<(&'static str, Rig)> {
    let registering = || {
        let mut rig = Rig::new();
        let connect = rig.connect_within(seconds(8));
        rig.token_ok();
        (rig, connect)
    };
    let (mut cancelled, connect) = registering();
    assert!(cancelled.cancel(connect));
    let (mut overdue, _) = registering();
    overdue.advance(seconds(8));
    let (mut unanswered, _) = registering();
    unanswered.answer_request(REGISTER, &Reply::Failed(unreachable()));
    let (mut unreadable, _) = registering();
    unreadable.reply(REGISTER, 200, &json!("taken"));
    vec![
        ("cancelled", cancelled),
        ("overdue", overdue),
        ("unanswered", unanswered),
        ("unreadable", unreadable),
    ]
}

#[test]
pub(super) fn a_registration_that_was_given_up_is_undone() {
    for (why, mut rig) in given_up_registrations() {
        assert!(rig.requests.is_empty() && !rig.machine.connected(), "{why}");
        let disconnect = rig.disconnect(seconds(0));
        rig.reply(DEREGISTER, 200, &json!({}));
        assert_closed(&mut rig, disconnect);
    }
}

#[test]
pub(super) fn a_registration_that_was_given_up_counts_for_nothing_else() {
    for (why, mut rig) in given_up_registrations() {
        let create = rig.create_session(&json!({}));
        assert_eq!(rig.error(create).code(), "NOT_CONNECTED", "{why}");
        if rig.machine.state() == State::Idle {
            rig.connect();
        } else {
            rig.next_timeout();
        }
        assert!(!rig.machine.connected(), "{why}");
        rig.register_ok();
        assert!(rig.machine.connected(), "{why}");
    }
}
