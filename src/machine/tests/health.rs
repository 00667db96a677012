//! The verdict whether work can arrive (`reliability.md` R-38), and what the snapshot says.

use serde_json::{Value, json};

use super::rig::{Rig, millis, seconds};
use crate::machine::LinkState;

fn ready(rig: &Rig) -> bool {
    rig.machine.not_ready(rig.now()).is_none()
}

fn snapshot(rig: &Rig, field: &str) -> Value {
    rig.machine.snapshot(rig.now())[field].clone()
}

#[test]
fn turns_bad_within_25_s_of_a_black_hole_and_good_with_the_welcome() {
    let mut rig = Rig::ready(&json!({}));
    assert!(ready(&rig));
    let cut = rig.now;
    while ready(&rig) {
        rig.advance(millis(100));
        assert!(rig.now - cut <= seconds(25), "25 s have passed");
    }
    assert!(rig.now - cut >= seconds(10), "silence alone is no fault");
    // The rest of 60 s: attempts that lead nowhere.
    while rig.now - cut < seconds(60) {
        rig.advance(millis(100));
        assert!(!ready(&rig));
    }
    while rig.machine.link() != LinkState::Dialing {
        if rig.requests.is_empty() {
            rig.next_timeout();
        } else {
            rig.register_ok();
        }
    }
    rig.dialed(crate::machine::action::Dialed::Open);
    assert!(!ready(&rig), "not before the welcome");
    rig.welcome();
    assert!(ready(&rig));
    let disconnects = &snapshot(&rig, "counters")["disconnects"];
    assert_eq!(disconnects["half_open"], 1);
    assert_eq!(disconnects["crash"], 0);
}

#[test]
fn stays_good_for_24_h_without_a_dispatch() {
    let mut rig = Rig::ready(&json!({}));
    let end = rig.now + seconds(24 * 3600);
    while rig.now < end {
        rig.advance(seconds(1));
        rig.pong();
        if !rig.requests.is_empty() {
            rig.token_ok();
        }
        rig.forget();
        let why = rig.machine.not_ready(rig.now());
        assert_eq!(why, None, "after {:?}", rig.now);
    }
    assert_eq!(snapshot(&rig, "counters")["dispatches"], 0);
    assert!(rig.tokens > 1, "the token was renewed on the way");
}

#[test]
fn names_what_is_missing() {
    let says = |rig: &Rig, what: &str| {
        let why = rig.machine.not_ready(rig.now()).unwrap_or_default();
        assert!(why.contains(what), "{why:?} does not say {what:?}");
    };
    let mut rig = Rig::new();
    says(&rig, "no link");
    rig.connect();
    says(&rig, "authenticating");
    rig.reach_ready();
    rig.echo("runs");
    rig.disconnect(seconds(300));
    says(&rig, "draining");

    let mut rig = Rig::with(&json!({
        "client_id": null, "client_secret": null, "token": super::rig::jwt(1, 60),
    }));
    rig.connect();
    rig.reach_ready();
    assert!(ready(&rig));
    rig.advance_alive(seconds(61));
    says(&rig, "token");
    rig.refresh_token(Some(&super::rig::jwt(2, 60)));
    assert!(ready(&rig));
}

#[test]
fn a_hosted_link_is_ready() {
    let mut rig = Rig::with(&json!({"public_url": "https://agent.test"}));
    rig.connect();
    rig.token_ok();
    rig.register_ok();
    assert_eq!(rig.machine.link(), LinkState::Hosted);
    assert!(ready(&rig));
}

#[test]
fn the_snapshot_lists_what_is_open_and_what_is_not_proven() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 1}));
    rig.echo("done");
    rig.answer("done", "1").unwrap();
    rig.echo("runs");
    rig.advance(seconds(2));
    rig.echo("waits");
    rig.advance(seconds(1));
    assert_eq!(
        snapshot(&rig, "dispatches"),
        json!([
            {"id": "runs", "age_ms": 3000, "phase": "running"},
            {"id": "waits", "age_ms": 1000, "phase": "queued"},
        ])
    );
    assert_eq!(snapshot(&rig, "in_flight"), 1);
    assert_eq!(snapshot(&rig, "queue")["items"], 1);
    assert!(snapshot(&rig, "queue")["bytes"].as_u64() > Some(0));
    assert_eq!(snapshot(&rig, "outbox"), json!(["done"]));
    assert_eq!(snapshot(&rig, "dedupe_entries"), 3);
    assert_eq!(snapshot(&rig, "registration_revision"), 1);
    assert_eq!(snapshot(&rig, "next_attempt_ms"), Value::Null);
    rig.broken();
    assert!(snapshot(&rig, "next_attempt_ms").is_u64());
    rig.next_timeout();
    rig.reach_ready();
    let counters = snapshot(&rig, "counters");
    assert_eq!(counters["results_sent"], json!({"first": 1, "resend": 1}));
    assert_eq!(counters["disconnects"]["crash"], 1);
    assert_eq!(counters["token_requests_by_outcome"]["ok"], 1);
    rig.text("{");
    rig.text(r#"{"type":"invented","id":"x"}"#);
    assert_eq!(
        snapshot(&rig, "counters")["frames_rejected"],
        json!({"malformed": 1, "unexpected": 1, "without_id": 0, "closing": 0})
    );
    assert_eq!(snapshot(&rig, "counters")["frames_ignored"], 2);
}

#[test]
fn no_more_than_100_ids_of_a_kind_are_listed() {
    let mut rig = Rig::ready(&json!({}));
    for n in 0..150 {
        rig.echo(&format!("d{n}"));
    }
    assert_eq!(snapshot(&rig, "dispatches").as_array().unwrap().len(), 100);
    for n in 0..150 {
        rig.answer(&format!("d{n}"), "1").unwrap();
    }
    assert_eq!(snapshot(&rig, "outbox").as_array().unwrap().len(), 100);
    assert_eq!(snapshot(&rig, "outbox_items"), 150);
}
