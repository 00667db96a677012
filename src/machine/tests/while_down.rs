//! While the link is down, and after: heartbeats over HTTP, registrations, sessions, capabilities
//! (`reliability.md` 5.1, 5.3, R-36, R-37).

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::rig::{CONNECT_URL, Rig, http, seconds, unreachable};
use crate::machine::action::{Dialed, Output, Reply};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

const REGISTER: &str = "/agents/register";
const HEARTBEAT: &str = "/agents/heartbeat";

/// A link that was lost long after its registration.
fn cut() -> Rig {
    let mut rig = Rig::ready(&json!({}));
    rig.advance_alive(seconds(60));
    rig.broken();
    rig.forget();
    rig
}

fn unreachable_until(rig: &mut Rig, end: Duration, beat: &Reply) -> Vec<Duration> {
    let mut beats = Vec::new();
    while rig.now < end {
        let due = rig.machine.poll_timeout().unwrap().min(end);
        rig.advance(due - rig.now);
        for request in std::mem::take(&mut rig.beats) {
            beats.push(rig.now);
            rig.machine.handle_reply(rig.now(), request.id, beat);
            rig.collect();
        }
        match rig.machine.link() {
            LinkState::Dialing => rig.dialed(Dialed::Failed(unreachable())),
            LinkState::Registering => {
                let request = rig.requests.remove(0);
                let failed = Reply::Failed(unreachable());
                rig.machine.handle_reply(rig.now(), request.id, &failed);
                rig.collect();
            }
            _ => {}
        }
    }
    beats
}

fn ok() -> Reply {
    Reply::Http(http(200, &json!({"ok": true})))
}

#[test]
pub(super) fn after_30_s_without_a_link_the_instance_is_kept_alive_over_http() {
    let mut rig = cut();
    let start = rig.now;
    let beats = unreachable_until(&mut rig, start + seconds(300), &ok());
    assert!((8..=10).contains(&beats.len()), "{beats:?}");
    let first = beats[0] - start;
    assert!((seconds(30)..=seconds(39)).contains(&first), "{first:?}");
    for pair in beats.windows(2) {
        assert_eq!(pair[1] - pair[0], seconds(30));
    }

    let mut rig = cut();
    rig.advance(seconds(29));
    assert!(rig.beats.is_empty(), "a short outage costs nothing");
    let mut hosted = Rig::with(&json!({"public_url": "https://desk.example/a2a"}));
    hosted.connect();
    hosted.token_ok();
    hosted.register_ok();
    hosted.advance(seconds(120));
    assert!(hosted.beats.is_empty(), "it has no link to be without");
}

#[test]
pub(super) fn the_beats_show_the_true_status_and_stop_with_the_outage() {
    let mut rig = Rig::ready(&json!({"max_in_flight": 1, "dispatch_timeout_ms": 600_000}));
    rig.advance_alive(seconds(60));
    rig.echo("d1");
    rig.broken();
    rig.next_timeout();
    rig.advance(seconds(40));
    assert_eq!(rig.machine.link(), LinkState::Dialing);
    let beat = rig.beats.remove(0);
    assert_eq!(Rig::body(&beat)["status"], "busy");
    assert_eq!(Rig::body(&beat)["current_sessions"], 1);
    assert!(Rig::bearer(&beat).is_some());
    rig.disconnect(seconds(300));
    rig.machine.handle_reply(rig.now(), beat.id, &ok());
    rig.advance(seconds(30));
    let beat = rig.beats.remove(0);
    assert_eq!(Rig::body(&beat)["status"], "draining");
    rig.machine.handle_reply(rig.now(), beat.id, &ok());
    rig.reach_ready();
    rig.advance_alive(seconds(120));
    assert!(rig.beats.is_empty());
}

#[test]
pub(super) fn no_beat_without_a_valid_token_or_while_another_is_under_way() {
    let mut rig = cut();
    rig.next_timeout();
    rig.advance(seconds(120));
    assert_eq!(rig.beats.len(), 1, "the first has not been answered");
    let token = super::rig::jwt(100, 70);
    let mut rig = Rig::ready(&json!({"client_id":null,"client_secret":null,"token":token}));
    rig.advance_alive(seconds(60));
    rig.broken();
    rig.next_timeout();
    rig.advance(seconds(120));
    assert!(rig.beats.is_empty());
}

#[test]
pub(super) fn an_outage_of_more_than_90_s_ends_with_a_registration() {
    let mut rig = cut();
    let start = rig.now;
    unreachable_until(&mut rig, start + seconds(85), &ok());
    // The registrations for a fresh address are the only ones so far.
    rig.order.clear();
    unreachable_until(&mut rig, start + seconds(200), &ok());
    while rig.machine.link() != LinkState::Registering {
        assert_ne!(
            rig.machine.link(),
            LinkState::Dialing,
            "not without a registration"
        );
        rig.next_timeout();
    }
    rig.register_ok();
    rig.dialed(Dialed::Open);
    rig.welcome();
    assert_eq!(rig.machine.state(), State::Connected);
    assert!(
        rig.events_of(EventKind::InstanceForgotten).is_empty(),
        "nobody said so"
    );
}

#[test]
pub(super) fn a_404_for_a_beat_means_forgotten_and_the_next_attempt_registers() {
    let mut rig = cut();
    rig.next_timeout();
    rig.advance(seconds(40));
    let beat = rig.beats.remove(0);
    let gone = Reply::Http(http(404, &json!({"code": "INSTANCE_NOT_FOUND"})));
    rig.machine.handle_reply(rig.now(), beat.id, &gone);
    rig.collect();
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);
    rig.dialed(Dialed::Failed(unreachable()));
    rig.next_timeout();
    assert_eq!(rig.machine.link(), LinkState::Registering);
    rig.reach_ready();
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);

    // A dial that comes through all the same registers then.
    rig.advance_alive(seconds(60));
    rig.broken();
    rig.next_timeout();
    rig.advance(seconds(40));
    let beat = rig.beats.remove(0);
    rig.machine.handle_reply(rig.now(), beat.id, &gone);
    rig.collect();
    rig.dialed(Dialed::Open);
    rig.welcome();
    rig.register_ok();
    assert_eq!(rig.machine.link(), LinkState::Ready);
}

fn session(rig: &mut Rig, id: &str) {
    let create = rig.create_session(&json!({}));
    rig.reply("/sessions/init", 200, &json!({"session_id": id}));
    assert!(rig.result(create).is_ok());
}

fn closed_sessions(rig: &Rig) -> Vec<&str> {
    let closed = rig.events_of(EventKind::SessionClosed);
    closed
        .iter()
        .map(|data| {
            assert_eq!(data["reason"], "instance_forgotten");
            data["session_id"].as_str().unwrap()
        })
        .collect()
}

fn with_sessions() -> Rig {
    let mut rig = Rig::ready(&json!({}));
    for id in ["s1", "s2", "s3", "s4"] {
        session(&mut rig, id);
    }
    rig.close_session("s2");
    rig.reply("/sessions/close", 200, &json!({}));
    rig.close_session("s3");
    rig.reply("/sessions/close", 404, &json!({}));
    rig.advance_alive(seconds(60));
    rig.broken();
    rig.forget();
    rig
}

#[test]
pub(super) fn r_37_an_instance_forgotten_in_a_90_s_outage_registers_once_and_its_sessions_are_reported()
 {
    let mut rig = with_sessions();
    let end = rig.now + seconds(95);
    unreachable_until(&mut rig, end, &Reply::Failed(unreachable()));
    while rig.machine.link() != LinkState::Registering {
        rig.next_timeout();
    }
    // A registration would hide that the mesh had forgotten us, so it is asked first.
    rig.reply(HEARTBEAT, 404, &json!({"code": "INSTANCE_NOT_FOUND"}));
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);
    assert_eq!(closed_sessions(&rig), ["s1", "s4"]);
    rig.reply(REGISTER, 200, &json!({"connect_url": CONNECT_URL}));
    assert!(rig.requests.is_empty(), "one registration, then the dial");
    rig.dialed(Dialed::Open);
    rig.welcome();
    assert_eq!(rig.machine.state(), State::Connected);
    rig.forget();
    rig.advance_alive(seconds(60));
    rig.broken();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(http(
        404,
        &json!({"code":"INSTANCE_NOT_FOUND"}),
    )));
    assert!(closed_sessions(&rig).is_empty(), "each is reported once");
}

#[test]
pub(super) fn r_37_a_mesh_that_still_knows_the_instance_keeps_its_sessions() {
    let mut rig = with_sessions();
    let end = rig.now + seconds(95);
    unreachable_until(&mut rig, end, &Reply::Failed(unreachable()));
    while rig.machine.link() != LinkState::Registering {
        rig.next_timeout();
    }
    rig.reply(HEARTBEAT, 200, &json!({"ok": true}));
    rig.register_ok();
    rig.dialed(Dialed::Open);
    rig.welcome();
    assert!(closed_sessions(&rig).is_empty());
}

#[test]
pub(super) fn r_37_sessions_are_reported_when_the_upgrade_or_a_beat_says_so() {
    let gone = http(404, &json!({"code": "INSTANCE_NOT_FOUND"}));
    let mut rig = with_sessions();
    rig.next_timeout();
    rig.dialed(Dialed::Refused(gone.clone()));
    assert_eq!(closed_sessions(&rig), ["s1", "s4"]);
    assert_eq!(rig.machine.link(), LinkState::Registering);

    let mut rig = with_sessions();
    rig.next_timeout();
    rig.advance(seconds(40));
    let beat = rig.beats.remove(0);
    rig.machine
        .handle_reply(rig.now(), beat.id, &Reply::Http(gone));
    rig.collect();
    assert_eq!(closed_sessions(&rig), ["s1", "s4"]);
}

fn names(request: &Value) -> Vec<String> {
    let tools = request["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Answers every registration, as a mesh that keeps the last list.
fn register_all(rig: &mut Rig, mesh: &mut Vec<String>) {
    while rig.requests.iter().any(|request| request.path == REGISTER) {
        let request = rig.register_ok();
        *mesh = names(&Rig::body(&request));
    }
}

#[test]
pub(super) fn r_36_after_every_reconnect_the_mesh_has_the_local_list() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut rig = Rig::seeded(&json!({}), seed);
        let (mut mesh, mut defined) = (Vec::new(), 0);
        rig.connect();
        rig.token_ok();
        let mut reconnects = 0;
        while reconnects < 10 {
            match rng.u8(0..5) {
                0 => {
                    rig.define(&format!("skill_{defined}"));
                    defined += 1;
                }
                1 => drop(rig.re_register()),
                2 if rig.machine.link() == LinkState::Ready => rig.broken(),
                _ => match rig.machine.link() {
                    LinkState::Dialing => rig.dialed(Dialed::Open),
                    LinkState::Handshaking => {
                        rig.welcome();
                        register_all(&mut rig, &mut mesh);
                        let local = names(&rig.machine.agent().registration());
                        assert_eq!(mesh, local, "seed {seed}");
                        reconnects += 1;
                    }
                    LinkState::Backoff => rig.next_timeout(),
                    _ => register_all(&mut rig, &mut mesh),
                },
            }
        }
    }
}

#[test]
pub(super) fn r_36_what_is_announced_during_an_outage_is_one_call_with_the_last_list() {
    let mut rig = Rig::ready(&json!({}));
    rig.broken();
    let announcements: Vec<_> = (0..5)
        .map(|n| {
            rig.define(&format!("skill_{n}"));
            rig.re_register()
        })
        .collect();
    assert!(rig.requests.is_empty());
    rig.next_timeout();
    let request = rig.register_ok();
    assert_eq!(names(&Rig::body(&request)).len(), 7);
    for id in announcements {
        assert_eq!(rig.result(id), Ok(Output::Nothing));
    }
    rig.dialed(Dialed::Open);
    rig.welcome();
    assert!(rig.requests.is_empty(), "once");
}

#[test]
pub(super) fn r_36_an_answer_that_comes_late_does_not_leave_an_older_list() {
    let mut rig = Rig::ready(&json!({}));
    rig.define("early");
    rig.re_register();
    let slow = rig.take(REGISTER);
    rig.broken();
    rig.define("late");
    rig.next_timeout();
    rig.reach_ready();
    let reply = Reply::Http(http(200, &json!({"connect_url": CONNECT_URL})));
    rig.machine.handle_reply(rig.now(), slow.id, &reply);
    rig.collect();
    let request = rig.register_ok();
    assert_eq!(
        names(&Rig::body(&request)).len(),
        4,
        "nobody knows which list came last"
    );
    assert!(rig.requests.is_empty());
}
