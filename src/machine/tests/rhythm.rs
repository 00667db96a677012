//! What may be done a little early is done with what others of the process have to do, and nothing is noticed later for it.

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, millis, seconds};
use crate::machine::LinkState;
use crate::machine::liveness::BEAT;
use crate::machine::time::Timer;
use crate::machine::watch::Progress;

/// A machine whose link came up so long after its birth, at which the clock of the process showed `born`.
fn ready(born: Duration, up: Duration) -> Rig {
    let mut rig = Rig::ready(&json!({}));
    rig.machine.settings.rhythm = Some(born);
    rig.advance_alive(up);
    rig.pings.clear();
    rig.frames();
    rig
}

/// Goes on to the next timer, and answers a ping as a peer does that is not on this computer. Whether there was one, and
/// whether there was a heartbeat.
fn wake(rig: &mut Rig) -> (bool, bool) {
    rig.next_timeout();
    let (pinged, beat) = (!rig.pings.is_empty(), !rig.frames().is_empty());
    if pinged {
        rig.now += millis(3);
        rig.pong();
        rig.pings.clear();
    }
    (pinged, beat)
}

#[test]
fn idle_pings_and_heartbeats_fall_on_the_beat_and_share_it() {
    for phase in 0..40 {
        let (born, up) = (millis(37 * phase + 1), millis(391 * phase));
        let mut rig = ready(born, up);
        // Until the link counts as stable, and what was set before has run out.
        while rig.now < up + seconds(100) {
            wake(&mut rig);
        }
        let (mut beats, mut pings) = (0, 0);
        let end = rig.now + seconds(300);
        while rig.now < end {
            let due = rig.machine.poll_timeout().expect("a timer") + born;
            assert!(
                due.as_nanos().is_multiple_of(BEAT.as_nanos()),
                "phase {phase}: {due:?} is beside the beat"
            );
            let (pinged, beat) = wake(&mut rig);
            assert!(pinged, "phase {phase}: woken up for less than a ping");
            (beats, pings) = (beats + u32::from(beat), pings + 1);
        }
        assert!((9..=11).contains(&beats), "phase {phase}: {beats}");
        assert!((29..=32).contains(&pings), "phase {phase}: {pings}");
    }
}

/// Goes on to the next timer, whatever it is for.
fn step(rig: &mut Rig) {
    let due = rig.machine.poll_timeout().expect("a timer runs");
    rig.advance(due.saturating_sub(rig.now));
}

/// A machine with a dispatch under way whose peer has fallen silent and was just pinged: when the last byte came, and whether the
/// ping came with a heartbeat. The peer's kernel takes it after a while.
fn asked_in_silence(phase: u64, taken_after: Duration) -> (Rig, Duration, bool) {
    let mut rig = ready(millis(37 * phase), millis(20_000 + 613 * phase));
    rig.echo("d1");
    rig.machine.handle_inbound(rig.now(), rig.conn);
    rig.collect();
    let last = rig.now;
    rig.uplink = Some(Box::new(|_| Progress::default()));
    while rig.pings.is_empty() {
        rig.frames();
        step(&mut rig);
    }
    let taken = rig.now + taken_after;
    rig.uplink = Some(Box::new(move |now| Progress {
        acked: u64::from(now >= taken),
        ping_acked: now >= taken,
        unsure: 0,
    }));
    let with_heartbeat = !rig.frames().is_empty();
    (rig, last, with_heartbeat)
}

/// R-05, as it is on a thread with many connectors.
#[test]
fn a_half_open_idle_link_is_found_20_s_after_the_last_byte_whatever_the_ping_came_with() {
    let mut with_heartbeats = 0;
    for phase in 0..60 {
        for taken_after in [millis(0), millis(1500), seconds(100)] {
            let (mut rig, last, with_heartbeat) = asked_in_silence(phase, taken_after);
            let asked = rig.now;
            assert!(asked <= last + seconds(10), "phase {phase}");
            while rig.aborts.is_empty() {
                step(&mut rig);
            }
            assert_eq!(rig.machine.link(), LinkState::Backoff);
            // A ping that arrives only once it is waited for has more time; one that never does has not.
            let late = taken_after.saturating_sub(last + seconds(10) - asked);
            let late = if late > seconds(2) { seconds(0) } else { late };
            let silent = rig.now - last;
            assert!(
                (seconds(20)..=seconds(20) + late).contains(&silent),
                "phase {phase}: {silent:?}, taken after {taken_after:?}"
            );
            with_heartbeats += u32::from(with_heartbeat);
        }
    }
    assert!((1..180).contains(&with_heartbeats), "{with_heartbeats}");
}

/// R-06 behind a ping that is given more time than the proof of an answer.
#[test]
fn an_answer_behind_a_heartbeats_ping_is_missed_as_soon_as_ever() {
    let mut with_heartbeats = 0;
    for phase in 0..60 {
        let (mut rig, last, with_heartbeat) = asked_in_silence(phase, seconds(100));
        with_heartbeats += u32::from(with_heartbeat);
        rig.answer("d1", "1").unwrap();
        let answered = rig.now;
        while rig.aborts.is_empty() {
            step(&mut rig);
        }
        assert_eq!(rig.now, answered + seconds(10), "phase {phase}");
        assert!(rig.now <= last + seconds(20), "phase {phase}");
    }
    assert!((1..60).contains(&with_heartbeats), "{with_heartbeats}");
}

#[test]
fn who_is_heard_of_is_not_pinged_with_a_heartbeat() {
    let mut rig = ready(millis(5), seconds(1));
    for _ in 0..600 {
        rig.machine.handle_inbound(rig.now(), rig.conn);
        rig.collect();
        rig.advance(millis(500));
        assert!(rig.pings.is_empty(), "at {:?}", rig.now);
    }
    assert!(!rig.frames().is_empty());
}

/// A beat is no time to be early by where the interval is shorter, or not much longer.
#[test]
fn short_intervals_are_kept_to_the_millisecond() {
    for interval in [10, 100, 249, 250, 251, 1000, 2499] {
        let mut rig = Rig::ready(&json!({
            "heartbeat_interval_ms": interval, "ping_interval_ms": interval, "dead_after_ms": 3_600_000
        }));
        rig.machine.settings.rhythm = Some(millis(7));
        for _ in 0..20 {
            rig.machine.handle_inbound(rig.now(), rig.conn);
            rig.machine.watch_silence(rig.now());
            rig.machine.send_heartbeat(rig.now());
            let next = Some(rig.now + millis(interval));
            let timers = &rig.machine.timers;
            assert_eq!(timers.get(Timer::Heartbeat), next, "{interval} ms");
            assert_eq!(timers.get(Timer::Silence), next, "{interval} ms");
            rig.advance(millis(interval));
            assert_eq!(rig.pings.len(), 1, "{interval} ms");
            rig.frames();
            rig.pong();
            rig.pings.clear();
        }
    }
}

#[test]
fn heartbeats_that_come_more_often_than_pings_are_due_ask_for_no_more_of_them() {
    let mut rig = Rig::ready(&json!({
        "heartbeat_interval_ms": 5000, "ping_interval_ms": 60_000, "dead_after_ms": 120_000
    }));
    rig.machine.settings.rhythm = Some(millis(7));
    rig.pings.clear();
    let (mut beats, mut pings) = (0, 0);
    while rig.now < seconds(600) {
        let (pinged, beat) = wake(&mut rig);
        (beats, pings) = (beats + u32::from(beat), pings + u32::from(pinged));
    }
    assert!((119..=122).contains(&beats), "{beats}");
    assert!((10..=11).contains(&pings), "{pings}");
}
