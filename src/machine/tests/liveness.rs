//! Silence, pings, heartbeats.

use serde_json::json;

use super::rig::{Rig, millis, seconds};
use crate::machine::LinkState;
use crate::machine::action::LinkEnd;
use crate::machine::event::EventKind;
use crate::machine::watch::Progress;

fn inbound(rig: &mut Rig) {
    rig.machine.handle_inbound(rig.now(), rig.conn);
    rig.collect();
}

#[test]
pub(super) fn a_ping_after_10_s_and_dead_after_20() {
    let mut rig = Rig::ready(&json!({}));
    rig.advance(millis(9_999));
    assert!(rig.pings.is_empty());
    rig.advance(millis(1));
    assert_eq!(
        (rig.pings.len(), rig.machine.link()),
        (1, LinkState::Suspect)
    );
    rig.advance(millis(9_999));
    assert!(rig.aborts.is_empty());
    rig.advance(millis(1));
    assert_eq!(
        (&rig.aborts[..], rig.machine.link()),
        (&[1][..], LinkState::Backoff)
    );
    assert!(rig.closes.is_empty(), "no handshake with the dead");
    let cause = &rig.events_of(EventKind::Disconnected)[0]["cause"];
    assert_eq!(cause, "nothing came in for 20000 ms");
}

#[test]
pub(super) fn any_inbound_byte_is_life() {
    let mut rig = Rig::ready(&json!({}));
    rig.advance(seconds(15));
    assert_eq!(rig.machine.link(), LinkState::Suspect);
    inbound(&mut rig);
    assert_eq!(rig.machine.link(), LinkState::Ready);
    for _ in 0..20 {
        rig.advance(millis(9_900));
        inbound(&mut rig);
    }
    assert_eq!(rig.pings.len(), 1, "traffic spares the pings");
    rig.advance(millis(19_999));
    assert!(rig.aborts.is_empty());
    rig.advance(millis(1));
    assert_eq!(rig.aborts.len(), 1);
}

///
#[test]
pub(super) fn a_half_open_idle_link_is_found_within_20_s_of_the_last_byte() {
    for phase in 0..40 {
        let mut rig = Rig::ready(&json!({}));
        rig.advance_alive(millis(600 * phase));
        inbound(&mut rig);
        let last = rig.now;
        rig.uplink = Some(Box::new(|_| Progress::default()));
        rig.advance(seconds(20));
        assert_eq!(rig.aborts.len(), 1, "the last byte came at {last:?}");
    }
}

///
#[test]
pub(super) fn a_half_open_link_with_a_result_on_its_way_is_found_10_s_after_the_fence() {
    for phase in 0..25 {
        let mut rig = Rig::ready(&json!({}));
        rig.echo("d");
        rig.uplink = Some(Box::new(|_| Progress::default()));
        rig.advance(millis(390 * phase));
        let cut = rig.machine.link();
        rig.answer("d", "1").unwrap();
        rig.advance(millis(9_999));
        assert_eq!((cut, rig.aborts.len()), (LinkState::Ready, 0));
        rig.advance(millis(1));
        assert_eq!(rig.aborts.len(), 1);
    }
}

/// R-07, one half: neither writes that succeed nor acknowledgements are life.
#[test]
pub(super) fn a_peer_that_takes_100_results_a_second_and_never_answers_is_found_as_fast() {
    let mut rig = Rig::ready(&json!({}));
    for n in 0..1000 {
        rig.echo(&format!("d{n}"));
    }
    rig.uplink = Some(Box::new(|now| Progress {
        acked: u64::try_from(now.as_millis()).unwrap(),
        ping_acked: true,
        unsure: 0,
    }));
    for n in 0..1000 {
        if rig.aborts.is_empty() {
            rig.answer(&format!("d{n}"), "1").unwrap();
            rig.advance(millis(10));
        }
    }
    assert_eq!((rig.now, rig.aborts.len()), (seconds(10), 1));
}

/// R-07, the other half.
#[test]
pub(super) fn a_peer_that_sends_100_dispatches_a_second_and_withholds_pongs_lives() {
    let mut rig = Rig::ready(&json!({}));
    rig.uplink = Some(Box::new(|_| Progress {
        acked: 1,
        ping_acked: true,
        unsure: 0,
    }));
    for n in 0..6000 {
        rig.echo(&format!("d{n}"));
        rig.answer(&format!("d{n}"), "1").unwrap();
        rig.advance(millis(10));
    }
    assert_eq!((rig.aborts.len(), rig.now), (0, seconds(60)));
    assert_eq!(rig.machine.link(), LinkState::Ready);
}

#[test]
pub(super) fn our_own_writes_are_no_life() {
    let mut rig = Rig::ready(&json!({}));
    for n in 0..25 {
        rig.echo(&format!("d{n}"));
    }
    for n in 0..25 {
        if rig.machine.link() != LinkState::Backoff {
            rig.answer(&format!("d{n}"), "1").unwrap();
            rig.advance(seconds(1));
        }
    }
    assert_eq!(
        (rig.now, rig.machine.link()),
        (seconds(10), LinkState::Backoff),
        "10 s after the first fence"
    );
}

#[test]
pub(super) fn inbound_bytes_without_pongs_keep_the_link() {
    let mut rig = Rig::ready(&json!({}));
    for n in 0..120 {
        rig.echo(&format!("d{n}"));
        rig.answer(&format!("d{n}"), "1").unwrap();
        rig.advance(seconds(1));
    }
    assert!(rig.aborts.is_empty());
}

#[test]
pub(super) fn a_ping_follows_every_silence_even_when_dead_is_far_away() {
    let mut rig = Rig::ready(&json!({"dead_after_ms": 60_000}));
    rig.advance(seconds(11));
    inbound(&mut rig);
    rig.pings.clear();
    rig.advance(seconds(11));
    assert_eq!(rig.pings.len(), 1, "10 s after the last byte");
    rig.advance(seconds(48));
    assert!(rig.aborts.is_empty());
    rig.advance(seconds(1));
    assert_eq!(rig.aborts.len(), 1);
}

#[test]
pub(super) fn a_driver_that_slept_pings_before_it_gives_up() {
    let mut rig = Rig::ready(&json!({}));
    rig.now += seconds(600);
    rig.machine.handle_timeout(rig.now());
    rig.collect();
    assert_eq!((rig.pings.len(), rig.aborts.len()), (1, 0));
    rig.pong();
    assert_eq!(rig.machine.link(), LinkState::Ready);
    rig.now += seconds(600);
    rig.machine.handle_timeout(rig.now());
    rig.collect();
    rig.advance(seconds(10));
    assert_eq!(rig.aborts.len(), 1, "and gives up if there is no answer");
}

#[test]
pub(super) fn a_heartbeat_every_30_s_the_first_within_9() {
    let mut rig = Rig::ready(&json!({}));
    let mut beats = Vec::new();
    while rig.now < seconds(300) {
        rig.advance_alive(millis(500));
        if !rig.frames().is_empty() {
            beats.push(rig.now);
        }
    }
    assert!(beats[0] <= millis(9_500), "{beats:?}");
    assert!(beats.len() >= 10);
    for pair in beats.windows(2) {
        assert_eq!(pair[1] - pair[0], seconds(30));
    }
}

#[test]
pub(super) fn nothing_of_one_connection_reaches_into_the_next() {
    for seed_step in 0..10 {
        let mut rig = Rig::ready(&json!({}));
        rig.echo("d");
        rig.answer("d", "1").unwrap();
        rig.advance(seconds(seed_step));
        rig.ended(&LinkEnd::Broken("cut".to_owned()));
        while rig.machine.link() == LinkState::Backoff {
            rig.next_timeout();
        }
        rig.pings.clear();
        rig.reach_ready();
        assert_eq!(rig.pings.len(), 1, "the fence behind what is sent again");
        rig.advance(millis(9_999));
        assert_eq!((rig.pings.len(), rig.aborts.len()), (1, 0));
        rig.advance(millis(1));
        assert_eq!(rig.aborts.len(), 1);
    }
}
