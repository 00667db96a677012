//! Calls by POST at the limits: overload, draining, the end, and before there is a mesh.

use serde_json::json;

use super::rig::{millis, seconds};
use super::rig_calls::{Desk, echo};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};
use crate::protocol::limits::MAX_ID_BYTES;

const LATER: i64 = -32603;

#[test]
fn who_finds_every_slot_taken_may_come_again() {
    let mut desk = Desk::new(&json!({"max_in_flight": 1, "max_queued_dispatches": 1}));
    let runs = desk.send(&echo("d1", 1));
    let waits = desk.stream(&echo("d2", 1));
    let refused = desk.send(&echo("d3", 1));
    let streamed = desk.stream(&echo("d4", 1));
    for call in [refused, streamed] {
        assert_eq!(
            desk.refusal(call),
            (503, LATER, "AGENT_OVERLOADED".to_owned())
        );
    }
    assert_eq!(desk.delivered(), ["d1"]);
    desk.rig.answer("d1", "1").unwrap();
    assert_eq!(desk.result(runs), 1);
    assert_eq!(desk.delivered(), ["d2"]);
    desk.rig.answer("d2", "2").unwrap();
    assert_eq!(desk.parts(waits).len(), 2);
    let again = desk.send(&echo("d3", 1));
    assert_eq!(desk.delivered(), ["d3"], "the refusal is not remembered");
    desk.rig.answer("d3", "3").unwrap();
    assert_eq!(desk.result(again), 3);
    assert_eq!(desk.snapshot("counters")["refused"], 2);
}

#[test]
fn who_never_got_a_slot_is_told_so_in_time() {
    let mut desk = Desk::new(&json!({"max_in_flight": 1}));
    desk.send(&echo("d1", 1));
    desk.rig.advance(seconds(1));
    let (plain, stream) = (desk.send(&echo("d2", 1)), desk.stream(&echo("d3", 1)));
    desk.rig.advance(seconds(58));
    desk.rig.advance(millis(1500));
    // The first has run into its own deadline and made room.
    assert_eq!(desk.delivered(), ["d1", "d2"]);
    desk.rig.advance(seconds(1));
    assert!(desk.is_answered(plain) && desk.is_answered(stream));
    let last = desk.parts(stream).pop().unwrap();
    assert!(last.body.starts_with("data: ") && last.body.contains("AGENT_OVERLOADED"));
}

#[test]
fn so_many_wait_for_one_dispatch_and_no_more() {
    let mut desk = Desk::new(&json!({}));
    let calls: Vec<_> = (0..256).map(|_| desk.send(&echo("d1", 1))).collect();
    let one_more = desk.send(&echo("d1", 1));
    assert_eq!(desk.refusal(one_more).0, 503);
    assert_eq!(desk.snapshot("calls_waiting"), 256);
    desk.rig.answer("d1", "1").unwrap();
    for call in calls {
        assert_eq!(desk.result(call), 1);
    }
    let late = desk.send(&echo("d1", 1));
    assert_eq!(desk.result(late), 1);
}

#[test]
fn of_a_tenant_no_more_is_kept_than_tells_it_from_others() {
    let mut desk = Desk::new(&json!({}));
    let names = ["a", "b"].map(|end| "x".repeat(100_000) + end);
    for (n, name) in names.iter().enumerate() {
        let mut data = echo("d1", 1);
        data["session_context"] = json!({"tenant_id": name});
        let (first, again) = (desk.send(&data), desk.send(&data));
        assert_eq!(desk.rig.delivered.len(), 1, "another for {n}");
        let dispatch = desk.rig.delivered.pop().unwrap();
        let request: serde_json::Value = serde_json::from_str(dispatch.request.text()).unwrap();
        assert_eq!(request["tenant_id"], *name.as_str());
        let kept = desk.rig.machine.inbox.posted.get(&dispatch.id).unwrap();
        assert!(kept.tenant.as_ref().unwrap().len() <= MAX_ID_BYTES);
        desk.rig.answer(&dispatch.id, &n.to_string()).unwrap();
        assert_eq!(
            (desk.result(first), desk.result(again)),
            (json!(n), json!(n))
        );
    }
}

#[test]
fn while_draining_what_runs_is_finished_and_nothing_is_begun() {
    let mut desk = Desk::registered(&json!({"max_in_flight": 1}));
    let runs = desk.send(&echo("d1", 1));
    let waits = desk.send(&echo("d2", 1));
    let disconnect = desk.rig.disconnect(seconds(30));
    assert_eq!(desk.rig.machine.state(), State::Draining);
    let refused = desk.send(&echo("d3", 1));
    for call in [waits, refused] {
        assert_eq!(
            desk.refusal(call),
            (503, LATER, "AGENT_SHUTDOWN".to_owned())
        );
    }
    let joins = desk.send(&echo("d1", 1));
    assert!(!desk.rig.is_done(disconnect));
    desk.rig.answer("d1", "1").unwrap();
    assert_eq!(
        (desk.result(runs), desk.result(joins)),
        (json!(1), json!(1))
    );
    assert_eq!(desk.rig.machine.link(), LinkState::Closing);
    let late = desk.send(&echo("d1", 1));
    assert_eq!(desk.result(late), 1, "the farewell hides no answer");
    while desk.rig.next_path() == Some("/agents/heartbeat") {
        desk.rig.reply("/agents/heartbeat", 200, &json!({}));
    }
    desk.rig.reply("/agents/deregister", 200, &json!({}));
    assert!(desk.rig.result(disconnect).is_ok());
    let events = desk.rig.events.len();
    let closed = desk.send(&echo("d1", 1));
    assert_eq!(
        desk.refusal(closed),
        (503, LATER, "AGENT_SHUTDOWN".to_owned())
    );
    assert_eq!(
        desk.rig.events.len(),
        events,
        "after the end nobody hears of it"
    );
}

#[test]
fn a_drain_ends_in_time_and_a_stop_at_once_and_everybody_is_told() {
    for stopped in [false, true] {
        let mut desk = Desk::registered(&json!({"max_in_flight": 2}));
        let calls = [
            desk.send(&echo("d1", 1)),
            desk.stream(&echo("d2", 1)),
            desk.send(&echo("d3", 1)),
            desk.send(&echo("d1", 1)),
        ];
        if stopped {
            desk.rig.stop();
        } else {
            desk.rig.disconnect(seconds(5));
            assert!(desk.is_answered(calls[2]));
            desk.rig.advance(seconds(5));
        }
        for call in calls {
            assert!(desk.is_answered(call), "{call}");
            let last = desk.parts(call).pop().unwrap();
            assert!(last.body.contains("AGENT_SHUTDOWN"));
        }
        assert_eq!(desk.rig.machine.link(), LinkState::Closing);
        assert!(desk.rig.answer("d1", "1").is_err());
    }
}

#[test]
fn an_agent_that_is_given_up_leaves_nobody_waiting() {
    let mut desk = Desk::registered(&json!({"max_in_flight": 1}));
    let calls = [
        desk.send(&echo("d1", 1)),
        desk.stream(&echo("d2", 1)),
        desk.send(&echo("d1", 1)),
    ];
    while desk.rig.now < seconds(35) {
        desk.rig.advance(seconds(1));
        if desk.rig.next_path().is_some() {
            desk.rig
                .reply("/agents/heartbeat", 200, &json!({"ok": true}));
        }
    }
    while desk.rig.next_path().is_none() {
        desk.rig.advance(seconds(1));
    }
    let forgotten = json!({"code": "INSTANCE_NOT_FOUND"});
    desk.rig.reply("/agents/heartbeat", 404, &forgotten);
    let mismatch = json!({"code": "DEPLOYMENT_MODE_MISMATCH"});
    desk.rig.reply("/agents/register", 409, &mismatch);
    assert_eq!(desk.rig.machine.state(), State::Failed);
    for call in calls {
        assert!(desk.is_answered(call), "{call}");
    }
    let late = desk.send(&echo("d9", 1));
    assert_eq!(
        desk.refusal(late),
        (503, LATER, "AGENT_SHUTDOWN".to_owned())
    );
}

#[test]
fn before_the_mesh_knows_it_and_while_it_does_not_an_agent_answers() {
    let mut desk = Desk::new(&json!({"fail_fast": true}));
    let early = desk.send(&echo("d1", 1));
    let connect = desk.rig.connect();
    desk.rig.token_ok();
    desk.rig
        .reply("/agents/register", 502, &json!({"code": "PROBE_FAILED"}));
    assert!(desk.rig.result(connect).is_err());
    assert_eq!(desk.rig.machine.state(), State::Idle);
    let between = desk.send(&echo("d2", 1));
    desk.rig.answer("d1", "1").unwrap();
    desk.rig.answer("d2", "2").unwrap();
    assert_eq!(
        (desk.result(early), desk.result(between)),
        (json!(1), json!(2))
    );
    let call = desk.send(&echo("d3", 1));
    let disconnect = desk.rig.disconnect(seconds(5));
    assert!(!desk.rig.is_done(disconnect), "it waits for what runs");
    desk.rig.answer("d3", "3").unwrap();
    assert_eq!(desk.result(call), 3);
}

#[test]
fn without_a_mesh_there_is_nothing_to_connect_to() {
    let changes =
        json!({"local": true, "public_url": null, "client_id": null, "client_secret": null});
    let mut desk = Desk::new(&changes);
    let connect = desk.rig.connect();
    assert_eq!(desk.rig.error(connect).code(), "LOCAL");
    let call = desk.send(&echo("d1", 1));
    desk.rig.answer("d1", "1").unwrap();
    assert_eq!(desk.result(call), 1);
    assert_eq!(desk.rig.machine.not_ready(desk.rig.now()), None);
    assert!(desk.rig.events_of(EventKind::Log).is_empty());
    assert!(desk.rig.requests.is_empty());
    let disconnect = desk.rig.disconnect(seconds(1));
    assert!(desk.rig.result(disconnect).is_ok());
}
