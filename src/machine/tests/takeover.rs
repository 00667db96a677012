//! Two processes with the same instance id do not fight for ever (`reliability.md` R-39).
//!
//! The mesh keeps the newest connection. A process that insists makes a new connector whenever its own has given up,
//! as a supervisor does that restarts what has failed: at once, or after some seconds. That is beyond this library,
//! so the goal is for what the connectors do by themselves; what such a supervisor adds is its restarts, one swap each.

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, seconds};
use super::trial::{PROTECTED, Without, every_seed, on_its_way, rig};
use crate::machine::LinkState;
use crate::machine::State;

/// How the mesh drops the older connection.
#[derive(Debug, Clone, Copy)]
enum Drop {
    /// It says why.
    Superseded,
    /// A close without a code, or a reset.
    Bare,
}

/// What 10 min of two processes came to.
#[derive(Debug, Clone, Copy)]
struct Fight {
    /// How often each took the place of the other.
    takeovers: [usize; 2],
    /// Connectors that gave up.
    failed: usize,
    /// Whether one of them is connected in the end.
    served: bool,
}

impl Fight {
    fn swaps(&self) -> usize {
        self.takeovers.iter().sum()
    }
}

struct Process {
    rig: Rig,
    seed: u64,
    restarts: u64,
}

impl Process {
    fn new(seed: u64, without: Without) -> Self {
        let mut rig = rig(&json!({}), seed, without);
        rig.connect();
        Self {
            rig,
            seed,
            restarts: 0,
        }
    }

    fn is_up(&self) -> bool {
        matches!(
            self.rig.machine.link(),
            LinkState::Ready | LinkState::Suspect
        )
    }

    fn next(&self) -> Option<Duration> {
        self.rig.machine.poll_timeout()
    }
}

/// `restarted` is after how long a process makes another connector of one that failed, if it ever does.
fn fight(seed: u64, drop: Drop, restarted: Option<Duration>, without: Without) -> Fight {
    let mut processes = [2 * seed, 2 * seed + 1].map(|seed| Process::new(seed, without));
    let mut outcome = Fight {
        takeovers: [0; 2],
        failed: 0,
        served: false,
    };
    let mut restart_at = [None; 2];
    let (mut now, end) = (Duration::ZERO, seconds(600));
    while now < end {
        for n in 0..2 {
            if restart_at[n].is_some_and(|at| at <= now) {
                restart_at[n] = None;
                let (seed, restarts) = (processes[n].seed, processes[n].restarts + 1);
                processes[n] = Process::new(seed + 1000 * restarts, without);
                processes[n].restarts = restarts;
                processes[n].rig.now = now;
            }
            if on_its_way(&processes[n].rig) {
                processes[n].rig.reach_ready();
                let other = &mut processes[1 - n];
                if other.is_up() {
                    outcome.takeovers[n] += 1;
                    match drop {
                        Drop::Superseded => other.rig.closed(4409),
                        Drop::Bare => other.rig.broken(),
                    }
                    if other.rig.machine.state() == State::Failed {
                        outcome.failed += 1;
                        restart_at[1 - n] = restarted.map(|after| now + after);
                    }
                }
            }
        }
        // No more than a second at a time, so that both answer pings.
        let due = processes.iter().filter_map(Process::next);
        let due = due.chain(restart_at.into_iter().flatten()).min();
        let next = due.map_or(end, |due| due.max(now)).min(now + seconds(1));
        for process in &mut processes {
            process.rig.advance(next.saturating_sub(process.rig.now));
            if process.is_up() {
                process.rig.pong();
            }
        }
        now = next;
    }
    outcome.served = processes.iter().any(Process::is_up);
    outcome
}

fn most(fights: &[Fight]) -> usize {
    fights.iter().map(Fight::swaps).max().unwrap()
}

#[test]
fn r_39_two_that_are_told_of_each_other_swap_at_most_4_times_in_10_min() {
    let fights = every_seed(50, |seed| fight(seed, Drop::Superseded, None, PROTECTED));
    println!("at most {} swaps", most(&fights));
    for fight in &fights {
        assert!(fight.swaps() <= 4 && fight.served, "{fight:?}");
        assert_eq!(fight.failed, 1, "one has given up, and says so: {fight:?}");
    }
}

/// A bare close says nothing of another process; what bounds the fight is that links which never last make the windows
/// wider than an outage does.
#[test]
fn r_39_two_that_are_not_told_of_each_other_swap_at_most_40_times_in_10_min() {
    let fights = every_seed(50, |seed| fight(seed, Drop::Bare, None, PROTECTED));
    println!("at most {} swaps", most(&fights));
    for fight in &fights {
        assert!(fight.swaps() <= 40, "{fight:?}");
    }
}

#[test]
fn r_39_fails_without_stability() {
    let fights = every_seed(10, |seed| {
        fight(seed, Drop::Bare, None, |p| p.stability = false)
    });
    for fight in &fights {
        assert!(fight.takeovers.iter().all(|n| *n > 40), "{fight:?}");
    }
}

/// Each new connector begins without a memory, so its supervisor's patience decides.
#[test]
fn r_39_supervisors_that_insist_pay_with_their_own_patience() {
    for (patience, bound) in [(0, 40), (5, 40), (60, 20), (120, 12), (300, 4)] {
        let fights = every_seed(20, |seed| {
            fight(seed, Drop::Superseded, Some(seconds(patience)), PROTECTED)
        });
        let most = most(&fights);
        println!("restarted after {patience} s: at most {most} swaps");
        assert!(most <= bound, "restarted after {patience} s: {most} swaps");
    }
}
