//! The cross-check of `herd`: whole machines come back from a restart as their back-off objects alone do
//! (`reliability.md` 7.5).

use std::time::Duration;

use serde_json::json;

use super::herd::{Gateway, come_back};
use super::rig::{Rig, config, machine, seconds, unreachable};
use crate::machine::action::Dialed;
use crate::machine::backoff::Cause;

const MACHINES: u64 = 200;

/// When each of the machines is ready again after the gateway closed them all with this code.
fn machines_come_back(code: u16, outage: Duration, per_second: u32) -> Vec<Duration> {
    let mut away: Vec<Rig> = (0..MACHINES)
        .map(|seed| {
            let mut rig = Rig::new();
            rig.machine = machine(config(&json!({})), &[], seed);
            rig.connect();
            rig.reach_ready();
            rig.forget();
            rig
        })
        .collect();
    let mut gateway = Gateway::new(outage, per_second);
    for rig in &mut away {
        rig.closed(code);
    }
    let mut ready = Vec::new();
    while !away.is_empty() {
        let due = |rig: &Rig| rig.machine.poll_timeout().expect("it will try again");
        let next = (0..away.len()).min_by_key(|n| due(&away[*n]));
        let next = next.expect("some are away");
        let rig = &mut away[next];
        rig.next_timeout();
        // After three failures a fresh URL is asked for; how many the registrations are is not the question here.
        if !rig.requests.is_empty() {
            rig.register_ok();
        }
        if rig.dials.pop().is_none() {
            continue;
        }
        if gateway.accepts(rig.now) {
            rig.dialed(Dialed::Open);
            rig.welcome();
            ready.push(rig.now);
            away.swap_remove(next);
        } else {
            rig.dialed(Dialed::Failed(unreachable()));
        }
    }
    ready
}

/// The largest distance of the two empirical distributions (Kolmogorov and Smirnov).
fn distance(a: &mut [Duration], b: &mut [Duration]) -> f64 {
    a.sort_unstable();
    b.sort_unstable();
    let share = |of: &[Duration], until: Duration| {
        let count = of.partition_point(|at| *at <= until);
        f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(of.len()).unwrap())
    };
    a.iter()
        .chain(b.iter())
        .map(|at| (share(a, *at) - share(b, *at)).abs())
        .fold(0.0, f64::max)
}

#[test]
fn two_hundred_machines_come_back_as_their_back_off_objects_do() {
    for (code, cause) in [(1012, Cause::Announced), (1006, Cause::Crash)] {
        let (outage, per_second) = (seconds(5), 20);
        let mut machines = machines_come_back(code, outage, per_second);
        let mut objects = come_back(200, cause, outage, per_second, 1);
        let distance = distance(&mut machines, &mut objects);
        // The critical value for two samples of 200 at p = 0.01: 1.63 * sqrt(2 / 200).
        println!("{cause:?}: distance {distance:.3}");
        assert!(distance < 0.163, "{cause:?}: {distance}");
    }
}

/// What the test above would say of machines that come back by another policy.
#[test]
fn another_policy_would_be_told_apart() {
    let (outage, per_second) = (seconds(5), 20);
    let mut crash = machines_come_back(1006, outage, per_second);
    let mut announced = come_back(200, Cause::Announced, outage, 1000, 1);
    assert!(distance(&mut crash, &mut announced) > 0.163);
}
