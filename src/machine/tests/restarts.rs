//! A gateway that is killed again and again loses nothing and makes nothing run twice
//! (`reliability.md` R-01, on the machine, and R-01b).

use std::time::Duration;

use serde_json::json;

use super::gateway::{Figures, Kill, Script};
use super::kills::Play;
use super::rig::seconds;
use super::trial::{PROTECTED, Without, every_seed, seeded};

/// One kill after the other, in this order.
const DENSE: &[Kill] = &[
    Kill::Reset,
    Kill::End,
    Kill::BlackHole(Some(Duration::from_secs(1))),
];

/// A kill every 2 s, while 2,000 dispatches come each second; the back-off is scaled to 50 to 200 ms.
fn dense(seed: u64, dispatches: u32, sends_again: bool, without: Without) -> Figures {
    let changes = json!({
        "max_pending_dispatches": 100_000,
        "reconnect_delays_ms": [50, 200],
    });
    let script = Script {
        kills: DENSE,
        kill_every: 2000..=2000,
        down: 0..=0,
        way: 1..=20,
        work_every: 0.5,
        // The first comes after a second.
        lasts: Duration::from_millis(1000 + u64::from(dispatches) / 2),
        handler: (20.0, 0.8, 3000),
        sends_again,
    };
    Play::new(script, seeded(&changes, seed, without), seed).run()
}

/// A day at real timers: a kill at random times 5 to 120 s apart.
fn day(seed: u64, hours: u64, sends_again: bool, without: Without) -> Figures {
    let changes = json!({"max_pending_dispatches": 100_000});
    let script = Script {
        kills: &[Kill::Reset, Kill::End, Kill::BlackHole(None)],
        kill_every: 5_000..=120_000,
        down: 0..=10_000,
        way: 1..=300,
        work_every: 20_000.0,
        lasts: seconds(hours * 3600),
        handler: (2_000.0, 1.0, 30_000),
        sends_again,
    };
    Play::new(script, seeded(&changes, seed, without), seed).run()
}

fn sum(figures: Vec<Figures>) -> Figures {
    let sum = figures.into_iter().fold(Figures::default(), Figures::add);
    println!("{sum:?}");
    sum
}

fn assert_kept(figures: Figures) {
    assert_eq!(figures.lost, 0, "{figures:?}");
    assert_eq!(figures.second_runs, 0, "{figures:?}");
    assert_eq!(figures.contradictions, 0, "{figures:?}");
    assert_eq!(figures.unknown_ids, 0, "{figures:?}");
    assert_eq!(figures.refused, 0, "{figures:?}");
    assert_eq!(figures.false_alarms, 0, "{figures:?}");
}

#[test]
fn r_01_ten_thousand_dispatches_under_a_kill_every_2_s() {
    for sends_again in [true, false] {
        let figures = sum(every_seed(1, |seed| {
            dense(seed, 10_000, sends_again, PROTECTED)
        }));
        assert_kept(figures);
        assert!(
            figures.dispatches > 9_000 && figures.kills >= 3,
            "{figures:?}"
        );
    }
}

#[test]
fn r_01_fails_without_its_protections() {
    let without_outbox = dense(1, 5_000, false, |p| p.outbox = false);
    assert!(without_outbox.lost > 0, "{without_outbox:?}");
    let without_fences = dense(1, 5_000, false, |p| p.fences = false);
    assert!(without_fences.lost > 0, "{without_fences:?}");
    let without_dedupe = dense(1, 5_000, true, |p| p.dedupe = false);
    assert!(without_dedupe.second_runs > 0, "{without_dedupe:?}");
}

/// Every other gateway sends again what it waits for; the rest leave all to the connector.
#[test]
fn r_01b_a_day_of_kills_at_real_timers() {
    let figures = sum(every_seed(20, |seed| {
        day(seed, 24, seed % 2 == 0, PROTECTED)
    }));
    assert_kept(figures);
}

#[test]
fn r_01b_fails_without_its_protections() {
    let without_outbox = day(1, 6, false, |p| p.outbox = false);
    assert!(without_outbox.lost > 0, "{without_outbox:?}");
    let without_fences = day(1, 6, false, |p| p.fences = false);
    assert!(without_fences.lost > 0, "{without_fences:?}");
    let without_dedupe = day(1, 6, true, |p| p.dedupe = false);
    assert!(without_dedupe.second_runs > 0, "{without_dedupe:?}");
}
