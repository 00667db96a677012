//! Where two parts of the machine meet that are tested each on its own elsewhere.

use serde_json::{Value, json};

use super::rig::{Rig, http, jwt, millis, seconds, unreachable};
use crate::machine::action::{Dialed, Reply};
use crate::machine::event::EventKind;
use crate::machine::watch::Progress;
use crate::machine::{LinkState, State};

const TOKEN: &str = "/auth/get_token";
const HEARTBEAT: &str = "/agents/heartbeat";
const REGISTER: &str = "/agents/register";

fn hosted(changes: &Value) -> Rig {
    let mut all = json!({"public_url": "https://desk.example/a2a"});
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    let mut rig = Rig::with(&all);
    rig.connect();
    if rig.machine.link() == LinkState::Authenticating {
        rig.token_ok();
    }
    rig.reply(REGISTER, 200, &json!({"ok": true}));
    assert_eq!(rig.machine.link(), LinkState::Hosted);
    rig.forget();
    rig
}

/// Hosted x back-off x a token that comes while it lasts: the registration stands, so there is nothing left to do.
#[test]
fn a_hosted_agent_whose_token_came_during_a_back_off_is_connected_again_after_it() {
    for cut_short in [false, true] {
        let provided = json!({
            "client_id": null, "client_secret": null, "token_provider": true,
            "token": jwt(1, 86_400),
        });
        let mut rig = hosted(&provided);
        rig.advance(seconds(9));
        rig.reply(HEARTBEAT, 401, &json!({}));
        // The application is asked for another one, and is late each time.
        rig.advance(seconds(30));
        rig.reply(HEARTBEAT, 401, &json!({}));
        assert_eq!(rig.machine.link(), LinkState::AuthBlocked);
        while rig.machine.link() != LinkState::Backoff {
            rig.next_timeout();
        }
        rig.refresh_token(Some(&jwt(3, 86_400)));
        if cut_short {
            rig.network_changed();
        } else {
            rig.next_timeout();
        }
        assert_eq!(rig.machine.link(), LinkState::Hosted);
    }
}

/// Renewal x a link that outlives its token: the mesh may keep the socket, so nothing else would ask for a token again.
#[test]
fn a_token_that_died_while_the_token_endpoint_was_away_is_renewed_when_it_is_back() {
    let mut rig = Rig::ready(&json!({}));
    rig.token_lifetime_s = 60;
    rig.refresh_token(None);
    rig.token_ok();
    let down_until = rig.now + seconds(600);
    while rig.now < down_until {
        rig.advance_alive(millis(500));
        while rig.requests.iter().any(|request| request.path == TOKEN) {
            rig.answer_request(TOKEN, &Reply::Failed(unreachable()));
        }
    }
    assert_eq!(rig.machine.state(), State::Connected);
    assert!(rig.machine.not_ready(rig.now()).is_some());
    rig.advance_alive(seconds(61));
    rig.token_ok();
    assert_eq!(rig.machine.not_ready(rig.now()), None);
}

/// Renewal x refusal: the renewal of a token that is not in use any more must not be a way around the wait.
#[test]
fn r_21_holds_for_tokens_that_live_for_a_minute() {
    let mut rig = Rig::ready(&json!({}));
    rig.token_lifetime_s = 60;
    rig.broken();
    let (start, mut upgrades, mut tokens) = (rig.now, 0, 0);
    while rig.now - start < seconds(3600) {
        if rig.machine.link() == LinkState::Dialing {
            upgrades += 1;
            rig.dialed(Dialed::Refused(http(401, &json!({}))));
        } else if rig.requests.is_empty() {
            rig.next_timeout();
        } else if rig.machine.link() == LinkState::Registering {
            rig.register_ok();
        } else {
            tokens += 1;
            rig.token_ok();
        }
    }
    assert!(upgrades <= 40 && tokens <= 40, "{upgrades} {tokens}");
    assert!(upgrades >= 20, "it does go on: {upgrades}");
}

/// Hosted x forgotten: registrations that the mesh asks for are 30 s apart there too.
#[test]
fn a_mesh_that_forgets_a_hosted_agent_at_once_is_not_registered_with_in_a_loop() {
    let mut rig = hosted(&json!({}));
    let (start, mut registrations) = (rig.now, 0);
    while rig.now - start < seconds(600) {
        match rig.next_path() {
            Some(HEARTBEAT) => drop(rig.reply(HEARTBEAT, 404, &json!({"code": "NOT_FOUND"}))),
            Some(_) => {
                registrations += 1;
                rig.reply(REGISTER, 200, &json!({"ok": true}));
            }
            None => rig.next_timeout(),
        }
    }
    assert!((10..=20).contains(&registrations), "{registrations}");
}

/// Forgotten x a link that came up all the same: the registration is tried until it stands.
#[test]
fn an_instance_that_was_forgotten_while_the_link_came_up_is_registered_however_often_that_fails() {
    let mut rig = Rig::ready(&json!({"reconnect_delays_ms": [60_000]}));
    rig.broken();
    while rig.beats.is_empty() {
        rig.advance(seconds(1));
        if rig.machine.link() == LinkState::Dialing {
            rig.dialed(Dialed::Failed(unreachable()));
        }
    }
    while rig.machine.link() != LinkState::Dialing {
        rig.advance(seconds(1));
    }
    // The mesh says that it does not know us, while it takes the connection.
    let beat = rig.beats.remove(0);
    rig.requests.push(beat);
    rig.reply(HEARTBEAT, 404, &json!({"code": "NOT_FOUND"}));
    assert_eq!(rig.events_of(EventKind::InstanceForgotten).len(), 1);
    rig.dialed(Dialed::Open);
    rig.welcome();
    for _ in 0..3 {
        rig.reply(REGISTER, 503, &json!({}));
        rig.advance_alive(seconds(61));
    }
    rig.register_ok();
    assert_eq!(rig.machine.snapshot(rig.now())["registration_revision"], 1);
    rig.advance_alive(seconds(61));
    assert!(rig.requests.is_empty(), "and then no more");
}

/// Suspension x forgotten: what was registered before the sleep was not registered just now.
#[test]
fn an_instance_that_was_forgotten_while_we_slept_is_registered_at_once() {
    let mut rig = Rig::ready(&json!({}));
    rig.advance_alive(seconds(3));
    rig.suspend(seconds(600));
    rig.advance(seconds(2));
    rig.dialed(Dialed::Refused(http(404, &json!({"code": "NOT_FOUND"}))));
    assert_eq!(rig.machine.link(), LinkState::Registering);
    rig.reach_ready();
}

/// Probe x slow uplink: a ping behind a large answer that is getting through says nothing about the network.
#[test]
fn a_probe_behind_an_answer_that_is_getting_through_does_not_end_the_link() {
    let slow = |advancing: u64| {
        let mut rig = Rig::ready(&json!({}));
        rig.uplink = Some(Box::new(move |now| Progress {
            acked: 8_192 * u64::try_from(now.min(seconds(advancing)).as_millis()).unwrap(),
            ping_acked: now >= seconds(25),
            unsure: 0,
        }));
        rig.echo("large");
        rig.answer("large", "1").unwrap();
        rig.advance(seconds(5));
        rig.network_changed();
        rig
    };
    let mut rig = slow(25);
    rig.advance(seconds(20));
    assert_eq!(
        (rig.aborts.len(), rig.machine.link()),
        (0, LinkState::Suspect)
    );
    rig.pong();
    assert_eq!(rig.machine.link(), LinkState::Ready);
    // One whose bytes stopped with the change is dropped as soon as ever.
    let mut rig = slow(5);
    rig.advance(seconds(2));
    assert_eq!((rig.aborts.len(), rig.dials.len()), (1, 1));
    // And so is one on which nothing moves any more later.
    let mut rig = slow(10);
    rig.advance(seconds(16));
    assert_eq!(rig.aborts.len(), 1);
}

/// Pick-up x the end: a driver that is woken up after a failure still tells what it sees.
#[test]
fn an_application_that_has_stopped_moves_nothing_after_the_end() {
    for failed in [false, true] {
        let mut rig = Rig::ready(&json!({"auto_reconnect": false}));
        rig.stopped = true;
        rig.echo("d");
        rig.advance_alive(seconds(11));
        assert_eq!(rig.events_of(EventKind::Stalled).len(), 1);
        if failed {
            rig.broken();
            assert_eq!(rig.machine.state(), State::Failed);
        } else {
            rig.stop();
            rig.closed(1000);
            rig.reply("/agents/deregister", 200, &json!({}));
            assert_eq!(rig.machine.state(), State::Closed);
        }
        rig.forget();
        rig.time_out();
        rig.pick_up(1);
        rig.time_out();
        assert_eq!(rig.machine.poll_timeout(), None);
        assert!(rig.order.is_empty(), "{:?}", rig.order);
    }
}

/// Probe x outage: it begins when the link is given up, and not when the next one has failed.
#[test]
fn an_outage_that_begins_with_a_probe_counts_from_there() {
    let mut rig = Rig::ready(&json!({"reconnect_delays_ms": [3_600_000]}));
    rig.suspend(seconds(600));
    rig.advance(seconds(2));
    assert_eq!(rig.machine.link(), LinkState::Dialing);
    let began = rig.now;
    rig.advance(seconds(20));
    rig.dialed(Dialed::Failed(unreachable()));
    while rig.beats.is_empty() {
        rig.advance(seconds(1));
    }
    assert!(rig.now - began <= seconds(40), "{:?}", rig.now - began);
}

/// Closing x fences: what the peer proves to have read on the way out is not reported as undelivered.
#[test]
fn a_pong_before_the_close_echo_proves_the_last_answers() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d");
    rig.stop();
    assert_eq!(rig.frame_types()[0], "error");
    rig.pong();
    rig.closed(1000);
    rig.reply("/agents/deregister", 200, &json!({}));
    assert_eq!(rig.machine.state(), State::Closed);
    assert!(rig.events_of(EventKind::ResultDropped).is_empty());
}

/// The farewell x a provider that never answers: 5 s, and not the provider's 10.
#[test]
fn a_provider_that_never_answers_costs_the_farewell_its_5_s_and_no_more() {
    let provided = json!({
        "client_id": null, "client_secret": null, "token_provider": true,
        "token": jwt(1, 20),
    });
    // Asked before the farewell, or only then.
    for asked_before in [true, false] {
        let mut rig = Rig::ready(&provided);
        rig.advance_alive(seconds(if asked_before { 19 } else { 60 }));
        let left = rig.now;
        let disconnect = rig.disconnect(seconds(30));
        rig.closed(1000);
        if asked_before {
            rig.reply("/agents/deregister", 200, &json!({}));
        } else {
            rig.advance(millis(4_999));
            assert!(!rig.is_done(disconnect));
            rig.advance(millis(1));
        }
        assert!(rig.result(disconnect).is_ok());
        assert!(rig.now - left <= seconds(5));
        assert_eq!(rig.machine.poll_timeout(), None);
    }
}

/// Every command and every hint in every state on the way: none leads out of the table, and what can be asked is answered.
#[test]
fn hints_stops_and_questions_are_good_in_every_state() {
    let steps: [fn(&mut Rig); 8] = [
        |rig| drop(rig.token_ok()),
        |rig| drop(rig.register_ok()),
        |rig| rig.dialed(Dialed::Open),
        Rig::welcome,
        Rig::broken,
        Rig::next_timeout,
        |rig| rig.dialed(Dialed::Refused(http(407, &json!({})))),
        |rig| {
            rig.refresh_token(Some(&jwt(9, 3600)));
        },
    ];
    let acts: [fn(&mut Rig); 4] = [
        Rig::network_changed,
        |rig| rig.suspend(seconds(60)),
        Rig::stop,
        |rig| {
            rig.disconnect(seconds(1));
        },
    ];
    for upto in 0..=steps.len() {
        for act in acts {
            let mut rig = Rig::new();
            rig.connect();
            for step in &steps[..upto] {
                step(&mut rig);
            }
            act(&mut rig);
            let snapshot = rig.machine.snapshot(rig.now());
            assert_eq!(snapshot["state"], rig.machine.state().name());
            let _ = rig.machine.not_ready(rig.now());
            rig.stop();
            rig.advance(seconds(10));
            assert_eq!(rig.machine.state(), State::Closed);
            assert_eq!(rig.machine.poll_timeout(), None);
            assert_eq!(rig.machine.snapshot(rig.now())["state"], "closed");
            let before = rig.order.len();
            act(&mut rig);
            rig.stop();
            assert!(
                rig.order[before..]
                    .iter()
                    .all(|what| what == "finished" || what.starts_with("complete")),
                "{:?}",
                &rig.order[before..]
            );
        }
    }
}

/// Remembered answers x idleness: whatever kind of heartbeat goes out, the old ones are forgotten with it.
#[test]
fn an_idle_agent_forgets_its_old_answers_with_its_heartbeats() {
    let remembered = |rig: &Rig| rig.machine.snapshot(rig.now())["dedupe_entries"].clone();
    let answered = || {
        let mut rig = Rig::ready(&json!({}));
        rig.echo("d");
        rig.answer("d", "1").unwrap();
        rig.pong();
        rig
    };
    let mut rig = answered();
    rig.advance_alive(seconds(599));
    assert_eq!(remembered(&rig), 1);
    rig.advance_alive(seconds(61));
    assert_eq!(remembered(&rig), 0, "connected");

    let mut rig = answered();
    rig.broken();
    super::outage::away(&mut rig, seconds(660));
    assert_eq!(remembered(&rig), 0, "without a link");

    // A hosted agent answers no dispatches over a link, but shares the table with one that does.
    let mut rig = hosted(&json!({}));
    let now = rig.now();
    rig.machine
        .inbox
        .answer(now.mono, &"d".into(), "1".to_owned().into());
    assert_eq!(remembered(&rig), 1);
    rig.advance(seconds(660));
    assert_eq!(remembered(&rig), 0, "hosted");
}

/// Outbox x a link that is up and proves nothing: there is a limit there too, and the mesh is told.
#[test]
fn the_outbox_is_bounded_while_the_link_is_up_too() {
    let refused = |rig: &Rig| rig.events_of(EventKind::DispatchRefused).len();
    let many = json!({"max_in_flight": 0, "max_queued_dispatches": 0});
    let mut rig = Rig::ready(&many);
    for n in 0..16 * 1024 {
        let id = format!("d{n}");
        rig.echo(&id);
        rig.answer(&id, "1").unwrap();
    }
    assert_eq!(refused(&rig), 0);
    rig.echo("one too many");
    assert_eq!(
        rig.events_of(EventKind::DispatchRefused)[0],
        &json!({"dispatch_id": "one too many", "code": "AGENT_OVERLOADED"})
    );
    let told = rig.frames();
    assert!(
        told.iter()
            .any(|frame| frame["payload"]["status"] == "busy")
    );
    rig.pong();
    rig.pong();
    rig.advance(seconds(1));
    let told = rig.frames();
    let last = told.last().expect("a heartbeat");
    assert_eq!(last["payload"]["status"], "available", "at once");
    rig.echo("room again");
    assert_eq!(refused(&rig), 1);

    // By bytes the limit is the same as ever.
    let mut rig = Rig::ready(&many);
    let large = format!("\"{}\"", "x".repeat((4 << 20) - 1024));
    for n in 0..17 {
        let id = format!("d{n}");
        rig.echo(&id);
        rig.answer(&id, &large).unwrap();
    }
    rig.echo("one too many");
    assert_eq!(refused(&rig), 1);
}
