//! What the end of an open link means (`reliability.md` 5.4).

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, jwt, millis, seconds};
use crate::error::ErrorKind;
use crate::machine::action::{LinkEnd, Output};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

/// The wait until the next dial, with a mesh that answers everything on the way.
fn wait_after(rig: &mut Rig) -> Duration {
    let start = rig.now;
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    rig.next_timeout();
    rig.now - start
}

#[test]
pub(super) fn the_first_window_follows_from_the_close_code() {
    let none = LinkEnd::Closed {
        code: None,
        reason: String::new(),
    };
    let with = |code| LinkEnd::Closed {
        code: Some(code),
        reason: String::new(),
    };
    let mut cases = vec![
        (none, 3),
        (LinkEnd::Broken("reset".to_owned()), 3),
        (LinkEnd::Violation("not UTF-8".to_owned()), 8),
    ];
    for (window, codes) in [
        (10, &[1000, 1001, 1012, 1013][..]),
        (3, &[1005, 1006, 1009, 1011, 1014, 1015, 4408, 3000, 4999]),
        (8, &[1002, 1003, 1007, 1010, 4400]),
    ] {
        cases.extend(codes.iter().map(|code| (with(*code), window)));
    }
    for (end, window) in cases {
        let mut rig = Rig::ready(&json!({}));
        rig.ended(&end);
        assert_eq!(rig.machine.state(), State::Reconnecting, "{end:?}");
        assert_eq!(rig.events_of(EventKind::Disconnected).len(), 1, "{end:?}");
        assert!(wait_after(&mut rig) <= seconds(window), "{end:?}");
        assert_eq!(rig.machine.link(), LinkState::Dialing, "{end:?}");
        // The seed is the same everywhere, so the waits are in proportion to the windows.
        let mut crash = Rig::ready(&json!({}));
        crash.broken();
        let (one, other) = (rig.now.as_secs_f64() / 3.0, crash.now.as_secs_f64());
        assert!((one * 3.0 / f64::from(u32::try_from(window).unwrap()) - other / 3.0).abs() < 4.0);
    }
}

#[test]
pub(super) fn windows_grow_until_the_link_has_been_ready_for_30_s() {
    let mut rig = Rig::ready(&json!({}));
    let mut window_start = rig.now;
    for window in [3, 4, 8, 16, 30, 30] {
        rig.broken();
        wait_after(&mut rig);
        let window_end =
            window_start.max(rig.now.min(window_start + seconds(window))) + seconds(window);
        assert!(rig.now <= window_end, "{:?} {window_end:?}", rig.now);
        window_start += seconds(window);
        rig.reach_ready();
        rig.advance_alive(seconds(1));
    }
    rig.advance_alive(seconds(40));
    rig.broken();
    assert!(
        wait_after(&mut rig) <= seconds(3),
        "the back-off has started over"
    );
    assert_eq!(
        rig.events_of(EventKind::Backoff).last().unwrap()["attempt"],
        1
    );
}

#[test]
pub(super) fn a_flapping_gateway_is_dialed_at_most_40_times_in_10_minutes() {
    for code in [1001, 1006, 1008, 4401, 4409] {
        let mut rig = Rig::ready(&json!({}));
        let (start, mut dials) = (rig.now, 1);
        while rig.now - start < seconds(600) && rig.machine.state() != State::Failed {
            match rig.machine.link() {
                LinkState::Ready => {
                    rig.advance(seconds(1));
                    rig.closed(code);
                }
                LinkState::Authenticating | LinkState::Registering | LinkState::Dialing => {
                    dials += 1;
                    rig.reach_ready();
                }
                _ => rig.next_timeout(),
            }
        }
        assert!(dials <= 40, "{code}: {dials} dials");
    }
}

#[test]
pub(super) fn the_callers_own_windows_replace_ours() {
    let mut rig = Rig::ready(&json!({"reconnect_delays_ms": [100, 200]}));
    for window in [100, 200, 200] {
        rig.closed(1012);
        assert!(wait_after(&mut rig) <= millis(2 * window));
        rig.reach_ready();
    }
}

#[test]
pub(super) fn an_auth_close_renews_the_token_and_dials_at_once_one_time() {
    for code in [1008, 4401, 4403] {
        let mut rig = Rig::ready(&json!({}));
        rig.closed(code);
        assert_eq!(rig.machine.link(), LinkState::Authenticating, "{code}");
        rig.reach_ready();
        assert_eq!(rig.now, Duration::ZERO, "without a wait");
        assert_eq!(rig.machine.state(), State::Connected);
        rig.closed(code);
        assert_eq!(
            rig.machine.state(),
            State::Blocked,
            "{code}: the fresh token is refused too"
        );
        assert_eq!(rig.events_of(EventKind::AuthFailed).len(), 1);
        rig.next_timeout();
        assert!(rig.now <= seconds(5));
        rig.reach_ready();
        assert_eq!(rig.machine.state(), State::Connected);
    }
}

#[test]
pub(super) fn a_mesh_that_closes_at_each_expiry_costs_one_redial_each_and_no_wait() {
    let mut rig = Rig::ready(&json!({}));
    for _ in 0..10 {
        rig.advance_alive(seconds(20));
        let before = rig.now;
        rig.closed(4401);
        rig.reach_ready();
        assert_eq!((rig.now, rig.machine.state()), (before, State::Connected));
    }
}

#[test]
pub(super) fn an_auth_close_before_the_welcome_fails_connect_with_an_auth_error() {
    let token = jwt(1, 60);
    let mut rig = Rig::with(&json!({"client_id":null,"client_secret":null,"token":token}));
    let connect = rig.connect();
    rig.register_ok();
    rig.dialed(crate::machine::action::Dialed::Open);
    rig.closed(4401);
    let error = rig.error(connect);
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.message().contains("4401"), "{error}");
}

#[test]
pub(super) fn an_auth_close_of_a_supplied_token_waits_for_another() {
    let token = jwt(1, 3600);
    let mut rig = Rig::ready(&json!({"client_id":null,"client_secret":null,"token":token}));
    rig.closed(4401);
    assert_eq!(rig.machine.state(), State::Blocked);
    rig.advance(seconds(600));
    assert!(
        rig.requests.is_empty() && rig.dials.is_empty(),
        "the server is left in peace"
    );
    rig.refresh_token(Some(&jwt(2, 3600)));
    assert_eq!(
        rig.machine.link(),
        LinkState::Registering,
        "at once; after so long the mesh may have forgotten the instance"
    );
    rig.reach_ready();
}

#[test]
pub(super) fn three_protocol_closes_in_a_row_are_final() {
    let mut rig = Rig::ready(&json!({}));
    for _ in 0..2 {
        rig.closed(4400);
        wait_after(&mut rig);
        rig.reach_ready();
    }
    rig.closed(4400);
    assert_eq!(rig.machine.state(), State::Failed);
    let failed = rig.events_of(EventKind::Failed);
    assert!(
        failed[0]["message"].as_str().unwrap().contains("4400"),
        "{failed:?}"
    );
}

#[test]
pub(super) fn protocol_closes_of_links_that_were_stable_are_not_added_up() {
    let mut rig = Rig::ready(&json!({}));
    for _ in 0..5 {
        rig.closed(1002);
        wait_after(&mut rig);
        rig.reach_ready();
        rig.advance_alive(seconds(41));
    }
    assert_eq!(rig.machine.state(), State::Connected);
}

#[test]
pub(super) fn the_second_supersession_in_10_minutes_is_final() {
    let mut rig = Rig::ready(&json!({}));
    rig.closed(4409);
    assert_eq!(rig.machine.state(), State::Blocked);
    assert_eq!(rig.events_of(EventKind::Superseded).len(), 1);
    let start = rig.now;
    rig.next_timeout();
    assert!(rig.now - start >= seconds(30) && rig.now - start <= seconds(60));
    rig.reach_ready();
    rig.advance_alive(seconds(601));
    rig.closed(4409);
    assert_eq!(rig.machine.state(), State::Blocked, "the first is long ago");
    rig.next_timeout();
    rig.reach_ready();
    rig.closed(4409);
    assert_eq!(rig.machine.state(), State::Failed);
    let failed = rig.events_of(EventKind::Failed);
    assert!(
        failed[0]["hint"].as_str().unwrap().contains("instance_id"),
        "{failed:?}"
    );
}

#[test]
pub(super) fn without_auto_reconnect_the_first_loss_is_final() {
    for silent in [false, true] {
        let mut rig = Rig::ready(&json!({"auto_reconnect": false}));
        if silent {
            rig.advance(seconds(20));
        } else {
            rig.closed(1001);
        }
        assert_eq!(rig.machine.state(), State::Failed);
        assert_eq!(rig.events_of(EventKind::Failed).len(), 1);
        assert!(rig.machine.poll_timeout().is_none());
        let connect = rig.connect();
        let error = rig.error(connect);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::InvalidState, "CLOSED")
        );
        assert!(error.message().contains("has given up"), "{error}");
    }
}

#[test]
pub(super) fn without_auto_reconnect_the_first_connect_still_has_its_deadline() {
    let mut rig = Rig::with(&json!({"auto_reconnect": false}));
    let connect = rig.connect();
    rig.reply("/auth/get_token", 503, &json!({}));
    rig.next_timeout();
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
}

#[test]
pub(super) fn news_of_a_former_connection_changes_nothing() {
    let mut rig = Rig::ready(&json!({}));
    let old = rig.conn;
    rig.broken();
    wait_after(&mut rig);
    rig.reach_ready();
    rig.forget();
    let (now, end) = (rig.now(), LinkEnd::Broken(String::new()));
    rig.machine.handle_closed(now, old, &end);
    rig.machine.handle_text(
        now,
        old,
        r#"{"type":"dispatch","id":"d"}"#.to_owned().into(),
    );
    rig.machine.handle_pong(now, old, &1_u64.to_be_bytes());
    rig.machine
        .handle_dialed(now, old, crate::machine::action::Dialed::Open);
    rig.collect();
    assert_eq!(rig.machine.state(), State::Connected);
    assert!(rig.order.is_empty(), "{:?}", rig.order);
    assert!(
        rig.machine.snapshot(now)["counters"]["stale_inputs"]
            .as_u64()
            .unwrap()
            >= 3
    );
}

#[test]
pub(super) fn what_was_not_delivered_when_all_is_given_up_is_reported() {
    let mut rig = Rig::ready(&json!({"auto_reconnect": false}));
    rig.echo("running");
    rig.echo("answered");
    rig.answer("answered", "1").unwrap();
    rig.broken();
    assert_eq!(rig.machine.state(), State::Failed);
    assert_eq!(
        rig.events_of(EventKind::DispatchCancelled),
        [&json!({"dispatch_id":"running","reason":"failed"})]
    );
    assert_eq!(
        rig.events_of(EventKind::ResultDropped),
        [&json!({"dispatch_id":"answered","reason":"failed"})]
    );
    assert_eq!(
        rig.answer("running", "1").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

/// A sentence about an end that nobody gave a reason for ends where it ends.
#[test]
fn an_end_without_a_reason_is_told_in_whole_sentences() {
    for (code, reason, told) in [
        (Some(1012), "back soon", "with code 1012: back soon"),
        (Some(1012), "", "with code 1012"),
        (Some(1012), "\u{7}", "with code 1012"),
        (None, "", "without a close code or a reason"),
    ] {
        let mut rig = Rig::ready(&json!({}));
        let reason = reason.to_owned();
        rig.ended(&LinkEnd::Closed { code, reason });
        let message = &rig.events_of(EventKind::Backoff)[0]["message"];
        let message = message.as_str().unwrap();
        assert!(
            message.ends_with(&format!("the connection ended {told}")),
            "{message}"
        );
    }
}
