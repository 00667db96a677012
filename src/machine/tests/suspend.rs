//! The computer was suspended, or the network changed (`reliability.md` T27, T30, T38, R-08, R-09).

use serde_json::json;

use super::rig::{Rig, millis, seconds};
use crate::machine::action::Dialed;
use crate::machine::event::EventKind;
use crate::machine::{LinkState, State};

fn in_backoff() -> Rig {
    let mut rig = Rig::ready(&json!({"reconnect_delays_ms": [3_600_000]}));
    rig.broken();
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    rig.forget();
    rig
}

///
#[test]
pub(super) fn after_a_suspension_the_link_is_probed_at_once_and_made_again_after_2_s_of_silence() {
    let mut rig = Rig::ready(&json!({}));
    rig.advance(seconds(3));
    rig.suspend(seconds(600));
    assert_eq!(
        (rig.pings.len(), rig.machine.link()),
        (1, LinkState::Suspect)
    );
    rig.advance(millis(1_999));
    assert_eq!((rig.pings.len(), rig.aborts.len()), (1, 0));
    rig.advance(millis(1));
    assert_eq!(
        (rig.aborts.len(), rig.dials.len()),
        (1, 1),
        "without a back-off"
    );
    assert!(rig.events_of(EventKind::Backoff).is_empty());
    let cause = &rig.events_of(EventKind::Disconnected)[0]["cause"];
    assert_eq!(cause, "nothing came in for 2000 ms after a probe");
    rig.reach_ready();
    assert_eq!(rig.machine.link(), LinkState::Ready);
    rig.advance_alive(seconds(60));
    assert_eq!(rig.dials.len(), 1);
}

#[test]
pub(super) fn a_link_that_answers_the_probe_stays() {
    for changed in [
        |rig: &mut Rig| rig.suspend(seconds(6)),
        Rig::network_changed,
    ] {
        let mut rig = Rig::ready(&json!({}));
        rig.advance(seconds(8));
        changed(&mut rig);
        rig.advance(millis(1_900));
        assert_eq!(rig.pings.len(), 1);
        rig.pong();
        assert_eq!(rig.machine.link(), LinkState::Ready);
        rig.advance_alive(seconds(60));
        assert!(rig.aborts.is_empty());
    }
}

#[test]
pub(super) fn short_naps_are_none() {
    let mut rig = Rig::ready(&json!({}));
    for _ in 0..100 {
        rig.suspend(seconds(5));
    }
    assert!(rig.pings.is_empty());
}

#[test]
pub(super) fn the_dial_after_a_probe_is_the_only_one_without_a_back_off() {
    let mut rig = Rig::ready(&json!({}));
    rig.suspend(seconds(600));
    rig.advance(seconds(2));
    rig.dialed(Dialed::Failed(super::rig::unreachable()));
    assert_eq!(rig.machine.link(), LinkState::Backoff);
    assert_eq!(rig.dials.len(), 1);
}

#[test]
pub(super) fn a_probe_that_fails_takes_the_first_step_that_is_missing() {
    let mut rig = Rig::ready(&json!({}));
    rig.define("more");
    rig.suspend(seconds(600));
    rig.advance(seconds(2));
    assert_eq!(rig.machine.link(), LinkState::Registering);
    rig.reach_ready();
    assert_eq!(rig.machine.link(), LinkState::Ready);
}

#[test]
pub(super) fn without_auto_reconnect_a_probe_that_fails_is_final() {
    let mut rig = Rig::ready(&json!({"auto_reconnect": false}));
    rig.suspend(seconds(600));
    rig.advance(seconds(2));
    assert_eq!(rig.machine.state(), State::Failed);
}

#[test]
pub(super) fn a_probe_behind_an_answer_is_its_fence_again() {
    let mut rig = Rig::ready(&json!({}));
    rig.echo("d");
    rig.answer("d", "1").unwrap();
    rig.network_changed();
    assert_eq!(rig.pings.len(), 2);
    assert_eq!(rig.pings[0], rig.pings[1]);
    rig.advance(seconds(1));
    rig.network_changed();
    assert_eq!(rig.pings.len(), 2, "the probe that runs is not prolonged");
    rig.advance(seconds(1));
    assert_eq!((rig.aborts.len(), rig.dials.len()), (1, 1));
}

///
#[test]
pub(super) fn a_changed_network_cuts_a_back_off_short_once_in_5_s() {
    let mut rig = in_backoff();
    rig.network_changed();
    assert_eq!(
        (rig.dials.len(), rig.machine.link()),
        (1, LinkState::Dialing)
    );
    rig.dialed(Dialed::Failed(super::rig::unreachable()));
    rig.network_changed();
    rig.advance(millis(4_999));
    rig.network_changed();
    assert_eq!(rig.dials.len(), 1, "not so soon");
    rig.advance(millis(1));
    rig.network_changed();
    assert_eq!(rig.dials.len(), 2);
}

#[test]
pub(super) fn a_resume_cuts_a_back_off_short_whatever_came_before() {
    let mut rig = in_backoff();
    rig.network_changed();
    rig.dialed(Dialed::Failed(super::rig::unreachable()));
    rig.suspend(seconds(6));
    assert_eq!(
        (rig.dials.len(), rig.machine.link()),
        (2, LinkState::Dialing)
    );
}

#[test]
pub(super) fn in_every_other_state_nothing_happens() {
    let mut rig = Rig::with(&json!({}));
    rig.network_changed();
    rig.suspend(seconds(600));
    assert!(rig.order.is_empty());
    rig.connect();
    rig.forget();
    rig.network_changed();
    rig.suspend(seconds(600));
    assert!(rig.order.is_empty());
    rig.reach_ready();
    rig.stop();
    rig.closed(1000);
    rig.forget();
    rig.network_changed();
    rig.suspend(seconds(600));
    assert!(rig.order.is_empty());
}
