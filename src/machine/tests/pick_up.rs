//! An application that stops taking dispatches (`reliability.md` R-27b).

use serde_json::{Value, json};

use super::rig::{Rig, millis, seconds};
use crate::machine::event::EventKind;

/// The heartbeats since the last look, as statuses.
fn statuses(rig: &mut Rig) -> Vec<String> {
    let frames = rig.frames();
    let beats = frames.iter().filter(|frame| frame["type"] == "heartbeat");
    beats
        .map(|frame| frame["payload"]["status"].as_str().unwrap().to_owned())
        .collect()
}

fn stalls(rig: &Rig) -> Vec<Value> {
    let events = rig.events_of(EventKind::Stalled).into_iter();
    events.cloned().collect()
}

fn rig(changes: &Value) -> Rig {
    let mut rig = Rig::ready(changes);
    rig.advance_alive(seconds(10));
    rig.forget();
    rig
}

/// R-27b as it stands there.
#[test]
fn a_pull_that_stops_for_25_s_with_5_dispatches_makes_exactly_two_changes_of_status() {
    let mut rig = rig(&json!({"heartbeat_interval_ms": 1000}));
    rig.stopped = true;
    for n in 0..5 {
        rig.echo(&format!("d{n}"));
    }
    rig.advance_alive(millis(9_999));
    assert!(
        statuses(&mut rig)
            .iter()
            .all(|status| status == "available")
    );
    rig.advance(millis(1));
    let stall = json!({"stalled": true, "oldest_ms": 10_000});
    assert_eq!(stalls(&rig), std::slice::from_ref(&stall), "at once");
    rig.advance_alive(seconds(15));
    let told = statuses(&mut rig);
    assert!(told.len() >= 14, "the heartbeats go on: {told:?}");
    assert!(told.iter().all(|status| status == "unhealthy"), "{told:?}");
    let health = rig.machine.not_ready(rig.now()).unwrap();
    assert!(health.contains("pick dispatches up"), "{health}");
    rig.pick_up(5);
    rig.stopped = false;
    rig.advance_alive(seconds(1));
    let told = statuses(&mut rig);
    assert_eq!(told.last().unwrap(), "available", "within a second");
    rig.advance_alive(seconds(60));
    assert!(
        statuses(&mut rig)
            .iter()
            .all(|status| status == "available")
    );
    assert_eq!(stalls(&rig), [stall, json!({"stalled": false})]);
}

#[test]
fn the_status_is_told_at_once_and_not_with_the_next_heartbeat() {
    let mut rig = rig(&json!({"heartbeat_interval_ms": 3_600_000}));
    rig.stopped = true;
    rig.echo("d1");
    rig.advance_alive(seconds(9));
    assert!(statuses(&mut rig).is_empty());
    rig.advance(seconds(1));
    assert_eq!(statuses(&mut rig), ["unhealthy"]);
    rig.pick_up(1);
    rig.advance_alive(seconds(1));
    assert_eq!(statuses(&mut rig), ["available"]);
}

#[test]
fn one_picked_up_of_several_that_wait_too_long_changes_nothing() {
    let mut rig = rig(&json!({"max_in_flight": 3}));
    rig.stopped = true;
    for id in ["a", "b", "c"] {
        rig.echo(id);
    }
    rig.advance_alive(seconds(11));
    for _ in 0..2 {
        rig.pick_up(1);
        rig.advance_alive(seconds(3));
    }
    assert_eq!(stalls(&rig).len(), 1);
    rig.forget();
    rig.pick_up(1);
    rig.advance_alive(seconds(1));
    assert_eq!(stalls(&rig), [json!({"stalled": false})]);
    assert_eq!(statuses(&mut rig), ["busy"], "back to what is true");
}

#[test]
fn work_that_is_picked_up_in_time_is_no_stall_however_long_it_runs() {
    let mut rig = rig(&json!({}));
    rig.stopped = true;
    for n in 0..100 {
        rig.echo(&format!("d{n}"));
        rig.advance_alive(seconds(9));
        rig.pick_up(1);
    }
    assert!(stalls(&rig).is_empty());
}

#[test]
fn a_stall_without_a_link_is_told_with_the_next_one() {
    let mut rig = rig(&json!({}));
    rig.stopped = true;
    rig.echo("d1");
    rig.broken();
    rig.advance(seconds(11));
    assert_eq!(stalls(&rig).len(), 1);
    assert!(statuses(&mut rig).is_empty());
    rig.reach_ready();
    assert_eq!(statuses(&mut rig), ["unhealthy"], "before any other");
}

#[test]
fn an_agent_that_drains_says_so_whatever_it_does_not_pick_up() {
    let mut rig = rig(&json!({"heartbeat_interval_ms": 1000}));
    rig.stopped = true;
    rig.echo("d1");
    rig.disconnect(seconds(300));
    rig.advance_alive(seconds(20));
    assert!(statuses(&mut rig).iter().all(|status| status == "draining"));
    rig.stop();
    rig.advance(seconds(20));
    assert_eq!(stalls(&rig).len(), 1, "and nothing after the end");
}
