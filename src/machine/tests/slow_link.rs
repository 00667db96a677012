//! Uplinks on which a ping waits for long behind an answer (`reliability.md` 5.6, 6.4, R-35).

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, millis, seconds};
use crate::machine::LinkState;
use crate::machine::event::EventKind;
use crate::machine::watch::Progress;

/// An uplink on which the fence of an answer given now is acknowledged after so long, and bytes until `advancing`.
fn rig_on_an_uplink(ping_acked: Duration, advancing: Duration) -> Rig {
    let mut rig = Rig::ready(&json!({}));
    rig.uplink = Some(Box::new(move |now| Progress {
        acked: 65_536 * now.min(advancing).as_secs(),
        ping_acked: now >= ping_acked,
        unsure: 0,
    }));
    rig.echo("large");
    rig.answer("large", "1").unwrap();
    rig
}

/// When the connection was dropped, if that was within two minutes.
fn dropped_at(rig: &mut Rig) -> Option<Duration> {
    while rig.aborts.is_empty() && rig.now < seconds(120) {
        rig.advance(millis(100));
    }
    (!rig.aborts.is_empty()).then_some(rig.now)
}

#[test]
pub(super) fn acknowledged_bytes_that_advance_keep_a_link_whose_pong_takes_30_s() {
    let mut rig = rig_on_an_uplink(seconds(29), seconds(29));
    rig.advance(seconds(30));
    assert_eq!(
        (rig.aborts.len(), rig.machine.link()),
        (0, LinkState::Suspect)
    );
    let fence = rig.pings[0];
    assert_eq!(
        rig.pings,
        [fence, fence],
        "asked again after the silence, and not more"
    );
    rig.pong();
    assert_eq!(rig.machine.link(), LinkState::Ready);
    assert_eq!(rig.machine.snapshot(rig.now())["outbox_items"], 0);
    rig.advance_alive(seconds(120));
    assert!(rig.events_of(EventKind::Disconnected).is_empty());
}

/// Without the protection the test above could not fail.
#[test]
pub(super) fn with_a_plain_limit_the_same_link_is_lost() {
    let mut rig = rig_on_an_uplink(seconds(29), seconds(29));
    rig.machine.settings.protections.two_stage = false;
    assert_eq!(dropped_at(&mut rig), Some(seconds(10)));
}

#[test]
pub(super) fn a_black_hole_is_found_after_10_s_and_one_in_the_middle_10_s_after_it_began() {
    for began in [0, 3, 20, 40] {
        let mut rig = rig_on_an_uplink(Duration::MAX, seconds(began));
        // The first look is no progress: what had been acknowledged before the ping is not known.
        assert_eq!(dropped_at(&mut rig), Some(seconds(began + 10)), "{began}");
    }
}

#[test]
pub(super) fn a_process_that_hangs_is_found_10_s_after_its_kernel_has_the_ping() {
    for acked in [millis(50), millis(900), seconds(8), seconds(27)] {
        let mut rig = rig_on_an_uplink(acked, seconds(200));
        let dropped = dropped_at(&mut rig).unwrap();
        // The kernel is asked once a second, and what it was last seen without counts.
        assert!(
            dropped <= acked + seconds(10) && dropped > acked + seconds(9) - millis(100),
            "{acked:?}: {dropped:?}"
        );
    }
}

#[test]
pub(super) fn a_ping_is_not_queued_for_longer_than_a_minute() {
    let mut rig = rig_on_an_uplink(Duration::MAX, Duration::MAX);
    assert_eq!(dropped_at(&mut rig), Some(seconds(60)));
}

#[test]
pub(super) fn where_the_kernel_cannot_tell_what_may_be_on_its_way_is_waited_for() {
    for (unsure, dropped) in [(14, 10), (16 << 10, 11), (320 << 10, 30), (1 << 30, 60)] {
        let mut rig = Rig::ready(&json!({}));
        rig.uplink = Some(Box::new(move |_| Progress {
            acked: unsure,
            ping_acked: true,
            unsure,
        }));
        rig.echo("d");
        rig.answer("d", "1").unwrap();
        assert_eq!(dropped_at(&mut rig), Some(seconds(dropped)), "{unsure}");
    }
}

#[test]
pub(super) fn time_in_which_the_driver_did_not_run_is_not_held_against_the_peer() {
    let mut rig = rig_on_an_uplink(Duration::ZERO, Duration::ZERO);
    rig.advance(seconds(4));
    rig.now += seconds(300);
    rig.time_out();
    assert!(rig.aborts.is_empty());
    rig.advance(seconds(4));
    assert!(rig.aborts.is_empty());
    rig.advance(seconds(3));
    assert_eq!(rig.aborts.len(), 1);
}
