//! A gateway that takes a connector and drops it again, and what one connection leaves to the next
//! (`reliability.md` ).

use serde_json::json;

use super::rig::{Rig, seconds};
use super::trial::{PROTECTED, Without, every_seed, on_its_way, ready, redialed};
use crate::machine::action::{Dialed, LinkEnd};
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

/// How often a gateway is dialed in 10 min that welcomes and closes after a second.
fn dials(seed: u64, end: &LinkEnd, without: Without) -> usize {
    let mut rig = ready(&json!({}), seed, without);
    let (start, mut dials) = (rig.now, 1);
    while rig.now - start < seconds(600) {
        if rig.machine.link() == LinkState::Ready {
            rig.advance_alive(seconds(1));
            rig.ended(end);
        } else if on_its_way(&rig) {
            dials += 1;
            rig.reach_ready();
        } else {
            rig.next_timeout();
        }
    }
    dials
}

fn ends() -> Vec<LinkEnd> {
    let closed = |code| LinkEnd::Closed {
        code,
        reason: String::new(),
    };
    vec![
        LinkEnd::Broken("reset".to_owned()),
        closed(None),
        closed(Some(1000)),
        closed(Some(1001)),
        closed(Some(1011)),
        closed(Some(4999)),
    ]
}

#[test]
fn r_14_a_gateway_that_flaps_for_10_min_is_dialed_at_most_40_times() {
    for end in ends() {
        let most = every_seed(50, |seed| dials(seed, &end, PROTECTED));
        let most = most.into_iter().max().unwrap();
        println!("{end:?}: at most {most} dials");
        assert!(most <= 40, "{end:?}: {most}");
    }
}

#[test]
fn r_14_fails_without_stability() {
    for end in ends() {
        let fewest = every_seed(4, |seed| dials(seed, &end, |p| p.stability = false));
        let fewest = fewest.into_iter().min().unwrap();
        println!("{end:?}: at least {fewest} dials");
        assert!(fewest > 40, "{end:?}: {fewest}");
    }
}

/// Whether the back-off has started over after so long a time of Ready.
fn starts_over(seed: u64, ready_for: u64, without: Without) -> bool {
    let mut rig = ready(&json!({}), seed, without);
    for _ in 0..4 {
        rig.broken();
        redialed(&mut rig);
    }
    rig.advance_alive(seconds(ready_for));
    rig.broken();
    let last = rig.events_of(EventKind::Backoff);
    last.last().expect("a wait")["attempt"] == 1
}

#[test]
fn r_14_the_back_off_starts_over_after_30_to_40_s_of_ready_and_no_sooner() {
    assert!(
        every_seed(50, |seed| starts_over(seed, 29, PROTECTED))
            .iter()
            .all(|over| !over)
    );
    assert!(
        every_seed(50, |seed| starts_over(seed, 41, PROTECTED))
            .iter()
            .all(|over| *over)
    );
    let halfway = every_seed(50, |seed| starts_over(seed, 35, PROTECTED));
    let over = halfway.iter().filter(|over| **over).count();
    assert!(
        (10..=40).contains(&over),
        "a fleet's do not coincide: {over}"
    );
    assert!(starts_over(1, 0, |p| p.stability = false));
}

// ---- R-16 ----

/// Where a connection is when it is cut.
const STEPS: u8 = 9;

fn cut_at(rig: &mut Rig, step: u8, rng: &mut fastrand::Rng) {
    let broken = LinkEnd::Broken("cut".to_owned());
    while rig.machine.link() != LinkState::Dialing {
        match rig.next_path() {
            Some("/auth/get_token") => drop(rig.token_ok()),
            Some(_) => drop(rig.register_ok()),
            None => rig.next_timeout(),
        }
    }
    if step == 0 {
        return rig.dialed(Dialed::Failed(super::rig::unreachable()));
    }
    rig.dialed(Dialed::Open);
    match step {
        1 => return rig.ended(&broken),
        // The welcome never comes.
        2 => return rig.advance(seconds(10)),
        // Work that came before a welcome that never comes.
        3 => {
            rig.echo(&format!("early {}", rig.now.as_nanos()));
            return rig.ended(&broken);
        }
        _ => rig.welcome(),
    }
    let id = format!("d {}", rig.now.as_nanos());
    match step {
        4 => {}
        // A dispatch in flight, an answer without proof, and a fence that was asked for again.
        5 => rig.echo(&id),
        6 => {
            rig.echo(&id);
            let _ = rig.answer(&id, "1");
        }
        7 => {
            rig.echo(&id);
            let _ = rig.answer(&id, "1");
            for _ in 0..rng.u8(1..40) {
                rig.advance(seconds(1));
                rig.machine.handle_inbound(rig.now(), rig.conn);
                rig.collect();
            }
        }
        // Silence until the peer is suspected, or given up.
        _ => {
            for _ in 0..rng.u8(8..25) {
                if rig.machine.link().has_connection() {
                    rig.advance(seconds(1));
                }
            }
        }
    }
    if rig.machine.link() != LinkState::Backoff {
        rig.ended(&broken);
    }
}

/// A few cut connections and a healthy one: how often that one was lost, and what it saw of the others.
fn cut_then_healthy(seed: u64) -> (usize, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rig = ready(&json!({"max_in_flight": 100}), seed, PROTECTED);
    rig.broken();
    for _ in 0..rng.u8(1..6) {
        let step = rng.u8(0..STEPS);
        cut_at(&mut rig, step, &mut rng);
        assert_eq!(rig.machine.link(), LinkState::Backoff, "step {step}");
    }
    rig.forget();
    redialed(&mut rig);
    let stale: Vec<_> = (1..rig.conn).collect();
    let conn = rig.conn;
    rig.events.clear();
    rig.order.clear();
    // Ten minutes and a little, with late news of the dead connections all the time.
    let (end, mut beats) = (rig.now + seconds(605), 0);
    while rig.now < end {
        rig.advance_alive(seconds(5));
        let (now, old) = (rig.now(), stale[rng.usize(0..stale.len())]);
        let broken = LinkEnd::Broken("late".to_owned());
        rig.machine.handle_closed(now, old, &broken);
        rig.machine
            .handle_pong(now, old, &rng.u64(0..9).to_be_bytes());
        rig.machine.handle_dialed(now, old, Dialed::Open);
        rig.collect();
        let frames = rig.frames();
        beats += frames.iter().filter(|f| f["type"] == "heartbeat").count();
    }
    assert_eq!(rig.machine.state(), State::Connected);
    let lost = rig.events_of(EventKind::Disconnected).len()
        + rig.events_of(EventKind::FenceUnsupported).len()
        + usize::from(rig.conn != conn);
    (lost, beats)
}

#[test]
fn r_16_after_a_cut_at_any_step_a_healthy_connection_stays_up_for_10_min() {
    for (lost, beats) in every_seed(300, cut_then_healthy) {
        assert_eq!(lost, 0);
        assert!((20..=22).contains(&beats), "{beats} heartbeats");
    }
}
