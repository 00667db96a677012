//! Operations that are cancelled before they have ended.

use serde_json::json;

use super::rig::{Rig, http, seconds};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, OperationId, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const INIT: &str = "/sessions/init";
const CLOSE: &str = "/sessions/close";

#[track_caller]
fn is_cancelled(rig: &mut Rig, id: OperationId, part: &str) {
    let error = rig.error(id);
    let (kind, code) = (error.kind(), error.code());
    assert_eq!((kind, code), (ErrorKind::Cancelled, "CANCELLED"));
    assert!(error.message().contains(part), "{error}");
    assert!(!rig.cancel(id), "it ends once");
}

/// A step on the way to the link: where it leads, and what the error of a connect that is cancelled there says.
type Stage = (LinkState, &'static str, fn(&mut Rig));

const STAGES: &[Stage] = &[
    (
        LinkState::Authenticating,
        "exchanging the credentials",
        |_| {},
    ),
    (LinkState::Registering, "registering the agent", |rig| {
        rig.token_ok();
    }),
    (LinkState::Dialing, "dialing the WebSocket", |rig| {
        rig.register_ok();
    }),
    (
        LinkState::Handshaking,
        "waiting for the mesh's welcome",
        |rig| rig.dialed(Dialed::Open),
    ),
    (LinkState::Backoff, "code 1012", |rig| rig.closed(1012)),
];

#[test]
fn a_cancelled_connect_leaves_nothing_behind_at_any_stage() {
    for stage in 0..STAGES.len() {
        let mut rig = Rig::new();
        let connect = rig.connect();
        for (.., reach) in &STAGES[..=stage] {
            reach(&mut rig);
        }
        let (link, part, _) = STAGES[stage];
        assert_eq!(rig.machine.link(), link);
        assert!(rig.cancel(connect));
        is_cancelled(&mut rig, connect, part);
        assert_eq!(rig.machine.state(), State::Idle);
        assert!(!rig.machine.connected());
        assert!(rig.requests.is_empty(), "{link:?}: a request goes on");
        let dialed = matches!(link, LinkState::Dialing | LinkState::Handshaking);
        assert_eq!(rig.aborts.len(), usize::from(dialed), "{link:?}");
        // An hour later nothing has happened.
        rig.advance(seconds(3600));
        assert!(rig.requests.is_empty() && rig.machine.state() == State::Idle);
        rig.forget();

        let again = rig.connect();
        rig.reach_ready();
        assert_eq!(rig.result(again), Ok(Output::Nothing), "{link:?}");
    }
}

#[test]
fn a_registration_that_nobody_waited_for_any_more_is_undone_in_the_end() {
    for cancelled in [true, false] {
        let mut rig = Rig::new();
        let connect = rig.connect();
        rig.token_ok();
        assert_eq!(rig.machine.link(), LinkState::Registering);
        if cancelled {
            assert!(rig.cancel(connect));
        } else {
            rig.advance(seconds(30));
        }
        rig.error(connect);
        assert_eq!(rig.machine.state(), State::Idle);
        assert!(!rig.machine.connected());
        assert!(rig.requests.is_empty(), "the mesh may have taken it");
        let leaving = rig.disconnect(seconds(30));
        rig.reply("/agents/deregister", 200, &json!({"ok": true}));
        assert_eq!(rig.result(leaving), Ok(Output::Nothing));
        assert_eq!(rig.machine.state(), State::Closed);
    }
}

#[test]
fn a_connect_that_has_not_registered_anything_leaves_without_a_word() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    assert!(rig.cancel(connect));
    rig.error(connect);
    let leaving = rig.disconnect(seconds(30));
    assert_eq!(rig.result(leaving), Ok(Output::Nothing));
    assert!(rig.requests.is_empty());
}

#[test]
fn a_token_that_somebody_else_waits_for_is_still_fetched() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    let refresh = rig.refresh_token(None);
    assert!(rig.cancel(connect));
    rig.token_ok();
    assert_eq!(rig.result(refresh), Ok(Output::Nothing));
    assert_eq!(rig.machine.state(), State::Idle, "and nothing follows");
}

#[test]
fn an_announcement_that_waits_for_the_way_there_ends_with_it() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    rig.token_ok();
    rig.register_ok();
    let announce = rig.re_register();
    assert!(!rig.is_done(announce));
    assert!(rig.cancel(connect));
    is_cancelled(&mut rig, connect, "dialing");
    is_cancelled(&mut rig, announce, "connect was cancelled");
}

#[test]
fn a_reply_that_was_there_already_is_not_the_next_attempts() {
    let mut rig = Rig::new();
    let connect = rig.connect();
    let late = rig.requests[0].id;
    assert!(rig.cancel(connect));
    let again = rig.connect();
    let reply = Reply::Http(http(401, &json!({"code": "BAD_CREDENTIALS"})));
    rig.machine.handle_reply(rig.now(), late, &reply);
    rig.collect();
    rig.reach_ready();
    assert_eq!(rig.result(again), Ok(Output::Nothing));
}

#[test]
fn the_application_is_asked_for_a_token_anew_by_the_next_connect() {
    let no_secret = json!({"client_id": null, "client_secret": null, "token_provider": true});
    let mut rig = Rig::with(&no_secret);
    for _ in 0..2 {
        let connect = rig.connect();
        assert_eq!(rig.events_of(EventKind::TokenWanted).len(), 1);
        assert!(rig.cancel(connect));
        is_cancelled(&mut rig, connect, "exchanging the credentials");
        assert!(
            rig.machine.poll_timeout().is_none(),
            "nobody's time runs out"
        );
        rig.forget();
    }
}

#[test]
fn a_session_that_opens_for_nobody_is_closed_again() {
    let mut rig = Rig::ready(&json!({}));
    let create = rig.create_session(&json!({}));
    assert!(rig.cancel(create));
    is_cancelled(&mut rig, create, "opening a session");
    rig.reply(INIT, 200, &json!({"session_id": "s1"}));
    // Even if its token is refused meanwhile.
    rig.reply(CLOSE, 401, &json!({}));
    rig.token_ok();
    let close = rig.reply(CLOSE, 200, &json!({"ok": true}));
    assert_eq!(Rig::body(&close), json!({"session_id": "s1"}));
    assert!(rig.requests.is_empty() && rig.completed.is_empty());
    assert!(rig.events_of(EventKind::Log).is_empty());
}

#[test]
fn a_session_that_stays_open_for_nobody_is_told() {
    let mut rig = Rig::ready(&json!({}));
    let create = rig.create_session(&json!({}));
    assert!(rig.cancel(create));
    rig.result(create).unwrap_err();
    rig.reply(INIT, 200, &json!({"session_id": "s1"}));
    rig.reply(CLOSE, 500, &json!({"code": "OOPS"}));
    let told = rig.events_of(EventKind::Log)[0]["message"].to_string();
    assert!(told.contains("s1") && told.contains("OOPS"), "{told}");
    assert!(rig.completed.is_empty());
}

#[test]
fn a_session_that_does_not_open_needs_no_closing() {
    let mut rig = Rig::ready(&json!({}));
    for (status, body) in [
        (401, json!({})),
        (500, json!({})),
        (200, json!({"id": "odd"})),
    ] {
        let create = rig.create_session(&json!({}));
        assert!(rig.cancel(create));
        rig.result(create).unwrap_err();
        rig.reply(INIT, status, &body);
        assert!(rig.requests.is_empty(), "{status}: it is not asked again");
    }
    // Nor does one that was never asked for, since a token was missing.
    let refused = rig.create_session(&json!({}));
    rig.reply(INIT, 401, &json!({}));
    assert!(rig.cancel(refused));
    is_cancelled(&mut rig, refused, "exchanging the credentials");
    rig.token_ok();
    assert!(rig.requests.is_empty() && rig.completed.is_empty());
}

#[test]
fn the_farewell_waits_for_no_session_that_nobody_wants() {
    let mut rig = Rig::ready(&json!({}));
    let create = rig.create_session(&json!({}));
    assert!(rig.cancel(create));
    rig.result(create).unwrap_err();
    let leaving = rig.disconnect(seconds(1));
    rig.reply(INIT, 200, &json!({"session_id": "s1"}));
    assert!(
        rig.requests.is_empty(),
        "the deregistration ends the session"
    );
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({"ok": true}));
    assert_eq!(rig.result(leaving), Ok(Output::Nothing));
    assert!(rig.completed.is_empty());
}

#[test]
fn closing_a_session_goes_on_without_anybody() {
    let mut rig = Rig::ready(&json!({}));
    let create = rig.create_session(&json!({}));
    rig.reply(INIT, 200, &json!({"session_id": "s1"}));
    rig.result(create).unwrap();
    let close = rig.close_session("s1");
    assert!(rig.cancel(close));
    is_cancelled(&mut rig, close, "closing a session");
    rig.reply(CLOSE, 401, &json!({}));
    rig.token_ok();
    rig.reply(CLOSE, 200, &json!({"ok": true}));
    assert!(rig.completed.is_empty());
    // It is known to be closed: its end with the instance is no news.
    rig.broken();
    rig.advance(seconds(60));
    while rig.machine.link() != LinkState::Dialing {
        rig.next_timeout();
    }
    rig.dialed(Dialed::Refused(http(
        404,
        &json!({"code": "INSTANCE_NOT_FOUND"}),
    )));
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);
    assert!(rig.events_of(EventKind::SessionClosed).is_empty());
}

#[test]
fn what_the_mesh_was_told_stands() {
    let mut rig = Rig::ready(&json!({}));
    rig.define("later");
    let announce = rig.re_register();
    assert!(rig.cancel(announce));
    is_cancelled(&mut rig, announce, "registering the agent");
    rig.register_ok();
    assert_eq!(rig.events_of(EventKind::Registered)[0]["capabilities"], 3);

    let refresh = rig.refresh_token(None);
    assert!(rig.cancel(refresh));
    is_cancelled(&mut rig, refresh, "exchanging the credentials");
    let before = rig.events_of(EventKind::TokenRefreshed).len();
    rig.token_ok();
    assert_eq!(rig.events_of(EventKind::TokenRefreshed).len(), before + 1);
    assert!(rig.completed.is_empty());
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
fn a_cancelled_disconnect_waits_for_no_running_work_and_still_leaves() {
    let mut rig = Rig::ready(&json!({}));
    rig.dispatch("d1", &json!({"skill_id": "echo"}));
    let leave = rig.disconnect(seconds(30));
    assert!(rig.closes.is_empty(), "d1 is waited for");
    assert!(rig.cancel(leave));
    is_cancelled(&mut rig, leave, "not waited for");
    let frames = rig.frames();
    let answer = frames
        .iter()
        .find(|frame| frame["in_reply_to"] == "d1")
        .unwrap();
    assert_eq!(answer["payload"]["code"], "AGENT_SHUTDOWN");
    assert_eq!(rig.closes.len(), 1);
    let late = rig.disconnect(seconds(30));
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({"ok": true}));
    assert_eq!(rig.machine.state(), State::Closed);
    assert_eq!(rig.result(late), Ok(Output::Nothing));
    assert_eq!(rig.finished, 1);
}

#[test]
fn a_disconnect_that_is_cancelled_during_the_farewell_ends_it_no_sooner() {
    let mut rig = Rig::ready(&json!({}));
    let leave = rig.disconnect(seconds(30));
    assert_eq!(rig.machine.link(), LinkState::Closing);
    assert!(rig.cancel(leave));
    is_cancelled(&mut rig, leave, "not waited for");
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({"ok": true}));
    assert_eq!(rig.machine.state(), State::Closed);
}

#[test]
fn several_end_together_and_what_has_ended_does_not_count() {
    let mut rig = Rig::ready(&json!({}));
    let (a, b) = (rig.re_register(), rig.refresh_token(None));
    let leave = rig.disconnect(seconds(30));
    assert!(rig.machine.cancel(rig.now(), &[a, leave, 4711, b]));
    rig.collect();
    for id in [a, b, leave] {
        assert_eq!(rig.error(id).kind(), ErrorKind::Cancelled);
    }
    assert!(!rig.machine.cancel(rig.now(), &[a, leave, 4711, b]));
    rig.collect();
    assert!(rig.completed.is_empty());
}
