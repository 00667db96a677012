//! Leaving: no new work, the running work finished, a clean farewell.

use serde_json::json;

use super::rig::{CONNECT_URL, Rig, http, jwt, millis, seconds, unreachable};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, LinkEnd, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const DEREGISTER: &str = "/agents/deregister";

fn echoed(rig: &mut Rig) {
    rig.ended(&LinkEnd::Closed {
        code: Some(1000),
        reason: "client_close".to_owned(),
    });
}

/// Close handshake and deregistration, both answered.
fn farewell(rig: &mut Rig, disconnect: u64) {
    assert_eq!(rig.closes, [(rig.conn, 1000, "client_close".into())]);
    echoed(rig);
    let request = rig.reply(DEREGISTER, 200, &json!({"ok":true}));
    assert_eq!(
        Rig::body(&request),
        json!({"agent_type":"desk","instance_id":"box-1"})
    );
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    assert_nothing_left(rig);
}

/// Nothing happens after the end.
fn assert_nothing_left(rig: &mut Rig) {
    assert_eq!((rig.machine.state(), rig.finished), (State::Closed, 1));
    assert!(rig.machine.poll_timeout().is_none());
    assert!(rig.machine.token().is_none(), "the token is wiped");
    assert!(!rig.machine.connected());
    rig.order.clear();
    let (now, conn) = (rig.now(), rig.conn);
    rig.machine.handle_inbound(now, conn);
    rig.machine.handle_text(
        now,
        conn,
        r#"{"type":"dispatch","id":"d"}"#.to_owned().into(),
    );
    rig.machine.handle_pong(now, conn, &[0; 8]);
    rig.machine
        .handle_closed(now, conn, &LinkEnd::Broken(String::new()));
    rig.machine.handle_dialed(now, conn, Dialed::Open);
    for id in 0..20 {
        rig.machine.handle_reply(
            now,
            id,
            &Reply::Http(http(200, &json!({"token": jwt(9, 60)}))),
        );
    }
    rig.machine.handle_timeout(now);
    rig.collect();
    assert!(rig.order.is_empty(), "{:?}", rig.order);
    let late = [
        rig.connect(),
        rig.disconnect(seconds(1)),
        rig.refresh_token(Some("x")),
        rig.re_register(),
        rig.create_session(&json!({})),
        rig.close_session("s"),
    ];
    for id in late {
        let error = rig.error(id);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::InvalidState, "CLOSED")
        );
    }
    let spec = r#"{"name":"x","description":"d"}"#;
    let capability = crate::agent::Capability::parse(spec).unwrap();
    assert_eq!(rig.machine.define(capability).unwrap_err().code(), "CLOSED");
}

#[test]
pub(super) fn an_idle_agent_says_draining_and_leaves() {
    let mut rig = Rig::ready(&json!({}));
    let disconnect = rig.disconnect(seconds(30));
    assert_eq!(rig.frames()[0]["payload"]["status"], "draining");
    assert_eq!(rig.machine.state(), State::Draining);
    farewell(&mut rig, disconnect);
}

#[test]
pub(super) fn running_work_is_finished_and_proven_and_new_work_refused() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("running");
    let disconnect = rig.disconnect(seconds(30));
    assert_eq!(rig.machine.link(), LinkState::Ready);
    rig.frames();
    rig.echo("new");
    assert_eq!(rig.frames()[0]["payload"]["code"], "AGENT_SHUTDOWN");
    rig.pong();
    rig.advance_alive(seconds(5));
    rig.answer("running", "1").unwrap();
    assert_eq!(
        rig.machine.link(),
        LinkState::Ready,
        "the answer is not proven yet"
    );
    rig.pong();
    farewell(&mut rig, disconnect);
    assert!(rig.events_of(EventKind::ResultDropped).is_empty());
}

#[test]
pub(super) fn at_the_bound_the_hung_are_cancelled_and_nothing_contradicts_draining() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 2}));
    rig.echo("h1");
    rig.echo("h2");
    let disconnect = rig.disconnect(seconds(10));
    rig.advance_alive(millis(9_900));
    assert!(!rig.is_done(disconnect));
    rig.advance(millis(100));
    let frames = rig.frames();
    let of = |kind: &str| {
        frames
            .iter()
            .filter(|f| f["type"] == kind)
            .collect::<Vec<_>>()
    };
    let codes: Vec<_> = of("error")
        .iter()
        .map(|f| f["payload"]["code"].clone())
        .collect();
    assert_eq!(codes, ["AGENT_SHUTDOWN", "AGENT_SHUTDOWN"]);
    let beats = of("heartbeat");
    let first = beats
        .iter()
        .position(|f| f["payload"]["status"] == "draining")
        .unwrap();
    for beat in &beats[first..] {
        assert_eq!(beat["payload"]["status"], "draining");
    }
    assert_eq!(rig.events_of(EventKind::DispatchCancelled).len(), 2);
    assert_eq!(rig.order.last().unwrap(), "close");
    assert_eq!(
        rig.answer("h1", "1").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    farewell(&mut rig, disconnect);
}

#[test]
pub(super) fn a_second_disconnect_does_not_wait() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("hung");
    let first = rig.disconnect(seconds(30));
    let second = rig.disconnect(seconds(30));
    let third = rig.disconnect(seconds(30));
    echoed(&mut rig);
    rig.reply(DEREGISTER, 404, &json!({}));
    for id in [first, second, third] {
        assert_eq!(rig.result(id), Ok(Output::Nothing));
    }
    assert_nothing_left(&mut rig);
}

#[test]
pub(super) fn stop_does_not_wait_and_ends_everything_that_is_waited_for() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("hung");
    let session = rig.create_session(&json!({}));
    rig.requests.clear();
    let refresh = rig.refresh_token(None);
    rig.requests.clear();
    rig.stop();
    rig.stop();
    assert_eq!(rig.closes.len(), 1);
    echoed(&mut rig);
    rig.reply(DEREGISTER, 200, &json!({}));
    for id in [session, refresh] {
        let error = rig.error(id);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Cancelled, "CANCELLED")
        );
    }
    assert_nothing_left(&mut rig);
    rig.order.clear();
    rig.stop();
    assert_eq!(rig.order, ["finished"], "whoever asks again is told again");
}

#[test]
pub(super) fn a_silent_peer_and_a_silent_mesh_cost_6_seconds() {
    let mut rig = Rig::ready(&json!({}));
    let disconnect = rig.disconnect(seconds(30));
    rig.advance(millis(999));
    assert!(rig.aborts.is_empty());
    rig.advance(millis(1));
    assert_eq!(rig.aborts, [1]);
    rig.take(DEREGISTER);
    rig.advance(millis(4_999));
    assert!(!rig.is_done(disconnect));
    rig.advance(millis(1));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    assert_nothing_left(&mut rig);
}

#[test]
pub(super) fn disconnect_works_in_every_state() {
    type Lead = fn(&mut Rig);
    let leads: [(LinkState, Lead); 9] = [
        (LinkState::Idle, |_| {}),
        (LinkState::Authenticating, |rig| {
            rig.connect();
        }),
        (LinkState::Registering, |rig| {
            rig.connect();
            rig.token_ok();
        }),
        (LinkState::Dialing, |rig| {
            rig.connect();
            rig.token_ok();
            rig.register_ok();
        }),
        (LinkState::Handshaking, |rig| {
            rig.connect();
            rig.token_ok();
            rig.register_ok();
            rig.dialed(Dialed::Open);
        }),
        (LinkState::Suspect, |rig| {
            rig.connect();
            rig.reach_ready();
            rig.advance(seconds(10));
        }),
        (LinkState::Backoff, |rig| {
            rig.connect();
            rig.reach_ready();
            rig.broken();
        }),
        (LinkState::AuthBlocked, |rig| {
            rig.connect();
            rig.reach_ready();
            rig.closed(4401);
            rig.reply("/auth/get_token", 401, &json!({}));
        }),
        (LinkState::Conflict, |rig| {
            rig.connect();
            rig.reach_ready();
            rig.closed(4409);
        }),
    ];
    for (state, lead) in leads {
        for stop in [false, true] {
            let mut rig = Rig::new();
            lead(&mut rig);
            assert_eq!(rig.machine.link(), state);
            rig.completed.retain(|(_, result)| result.is_err());
            let pending = rig.completed.len();
            let disconnect = if stop {
                rig.stop();
                None
            } else {
                Some(rig.disconnect(seconds(30)))
            };
            if state == LinkState::Suspect {
                echoed(&mut rig);
            }
            // Whatever the farewell waits for comes.
            while let Some(path) = rig.next_path() {
                match path {
                    "/auth/get_token" => rig.token_ok(),
                    "/agents/register" => rig.register_ok(),
                    _ => break,
                };
            }
            if !rig.requests.is_empty() {
                rig.reply(DEREGISTER, 200, &json!({}));
            }
            assert_eq!(rig.machine.state(), State::Closed, "{state:?}");
            if let Some(id) = disconnect {
                assert_eq!(rig.result(id), Ok(Output::Nothing));
            }
            for (_, result) in rig.completed.drain(pending..) {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
            }
            assert_nothing_left(&mut rig);
        }
    }
}

#[test]
pub(super) fn work_that_runs_while_the_link_is_down_is_delivered_before_leaving() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("running");
    rig.broken();
    let disconnect = rig.disconnect(seconds(30));
    assert_eq!(
        rig.machine.link(),
        LinkState::Backoff,
        "the work is not done"
    );
    rig.answer("running", "1").unwrap();
    rig.next_timeout();
    rig.frames();
    rig.reach_ready();
    assert_eq!(
        rig.frame_types()[..3],
        ["hello", "heartbeat", "dispatch_result"]
    );
    rig.pong();
    farewell(&mut rig, disconnect);
}

#[test]
pub(super) fn the_bound_holds_without_a_link_and_the_undelivered_is_reported() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("running");
    rig.echo("answered");
    rig.broken();
    rig.answer("answered", "1").unwrap();
    let disconnect = rig.disconnect(seconds(2));
    while !rig.is_done(disconnect) {
        if rig.machine.link() == LinkState::Dialing {
            rig.dialed(Dialed::Failed(unreachable()));
        }
        if rig.requests.is_empty() {
            rig.next_timeout();
        } else {
            rig.answer_request(DEREGISTER, &Reply::Failed(unreachable()));
        }
    }
    assert_eq!(rig.now, seconds(2));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
    let dropped = rig.events_of(EventKind::ResultDropped);
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    assert_nothing_left(&mut rig);
}

#[test]
pub(super) fn heartbeats_go_on_while_draining() {
    let mut rig = Rig::ready(&json!({"dispatch_timeout_ms": 600_000}));
    rig.echo("slow");
    rig.disconnect(seconds(300));
    rig.frames();
    rig.advance_alive(seconds(100));
    let beats = rig.frames();
    assert!(
        beats.len() == 3 && beats.iter().all(|f| f["payload"]["status"] == "draining"),
        "{beats:?}"
    );
    rig.answer("slow", "1").unwrap();
}

#[test]
pub(super) fn dispatches_after_our_close_are_left_to_the_mesh() {
    let mut rig = Rig::ready(&json!({}));
    let disconnect = rig.disconnect(seconds(30));
    rig.frames();
    rig.echo("late");
    assert!(rig.frames().is_empty() && rig.delivered.is_empty());
    farewell(&mut rig, disconnect);
}

#[test]
pub(super) fn a_failed_connect_that_had_registered_is_undone_by_disconnect() {
    let mut rig = Rig::with(&json!({"fail_fast": true}));
    let connect = rig.connect();
    rig.token_ok();
    rig.reply(
        "/agents/register",
        200,
        &json!({"connect_url": CONNECT_URL}),
    );
    rig.dialed(Dialed::Failed(unreachable()));
    rig.error(connect);
    let disconnect = rig.disconnect(seconds(30));
    rig.reply(DEREGISTER, 200, &json!({}));
    assert_eq!(rig.result(disconnect), Ok(Output::Nothing));
}
