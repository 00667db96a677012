//! Runs that a seed decides, each with every protection or without one.
//!
//! A test here returns figures and does not judge them inside, since the same run without its protection has to
//! miss the goal (`reliability.md` 7.6). `SVANTIC_SEEDS=<n>` runs more of them than an ordinary run has time for, and
//! `SVANTIC_SEED=<seed>` one alone.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::rig::{Rig, config, machine};
use crate::machine::action::Output;
use crate::machine::protections::Protections;
use crate::machine::{LinkState, Machine};

pub(super) const ECHO: &str = r#"{"name":"echo","description":"says it again"}"#;

/// Takes one protection away, or none.
pub(super) type Without = fn(&mut Protections);

pub(super) const PROTECTED: Without = |_| {};

/// Prints how to run the seed alone that panics.
pub(super) struct Seed<'a>(pub(super) &'a str, pub(super) u64);

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(test, seed) = self;
            eprintln!("rerun this seed alone: SVANTIC_SEED={seed} cargo test --lib {test}");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The results of so many seeds, unless the environment asks for others; both cores work on them.
pub(super) fn every_seed<T: Send>(count: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let seeds = match number("SVANTIC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SVANTIC_SEEDS").unwrap_or(count),
    };
    let current = std::thread::current();
    let test = current.name().unwrap_or_default();
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut results = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return results;
            }
            let _printed = Seed(test, seed);
            results.push(run(seed));
        }
    };
    std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(worker));
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a seed failed"))
            .collect()
    })
}

/// A machine that is born with `seed` and `without` a protection.
pub(super) fn seeded(changes: &Value, seed: u64, without: Without) -> Machine {
    let mut config = config(changes);
    without(&mut config.protections);
    machine(config, &[ECHO], seed)
}

/// A rig around such a machine, before anything has happened.
pub(super) fn rig(changes: &Value, seed: u64, without: Without) -> Rig {
    let mut rig = Rig::with(changes);
    rig.machine = seeded(changes, seed, without);
    rig
}

/// The same, connected.
pub(super) fn ready(changes: &Value, seed: u64, without: Without) -> Rig {
    let mut rig = rig(changes, seed, without);
    let connect = rig.connect();
    rig.reach_ready();
    assert_eq!(rig.result(connect), Ok(Output::Nothing));
    rig.forget();
    rig
}

/// Waits for the next attempt, whatever else is due before it, and lets it succeed.
pub(super) fn redialed(rig: &mut Rig) {
    while !on_its_way(rig) {
        rig.next_timeout();
    }
    rig.reach_ready();
    assert_eq!(rig.machine.link(), LinkState::Ready);
}

/// Whether an attempt is in progress.
pub(super) fn on_its_way(rig: &Rig) -> bool {
    matches!(
        rig.machine.link(),
        LinkState::Authenticating | LinkState::Registering | LinkState::Dialing
    )
}
