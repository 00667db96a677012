//! Ten thousand connectors that lose their gateway in one instant (`reliability.md` ).
//!
//! Each has a real `Backoff` with its own randomness, on a virtual clock; the gateway is gone for a while and then
//! takes so many per second.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;

use super::rig::seconds;
use crate::machine::backoff::{Backoff, Cause};

const CLIENTS: usize = 10_000;

/// The same for figures per client.
const CLIENTS_F: f64 = 10_000.0;

/// What decides when a client tries again.
#[derive(Clone, Copy)]
enum Policy {
    Ours,
    /// Ours with a window of 2 s behind the first: ten thousand clients in it are 5,000 a second.
    Short,
    /// Ours without its randomness.
    Unjittered,
    /// What slack-python does: 5 s, always.
    Fixed,
}

struct Client {
    policy: Policy,
    backoff: Backoff,
    rng: Rng,
}

impl Client {
    fn new(policy: Policy, cause: Cause, seed: u64) -> Self {
        let first = if cause == Cause::Announced { 10 } else { 3 };
        let windows = [first, 2, 4, 8, 16, 30].map(seconds).to_vec();
        let windows = matches!(policy, Policy::Short).then_some(windows);
        Self {
            policy,
            backoff: Backoff::new(windows, !matches!(policy, Policy::Unjittered)),
            rng: Rng::with_seed(seed),
        }
    }

    fn next(&mut self, now: Duration, cause: Cause) -> Duration {
        match self.policy {
            Policy::Fixed => now + seconds(5),
            _ => self.backoff.next(now, cause, None, &mut self.rng),
        }
    }
}

/// A gateway that is back at `back` and then takes `per_second`.
pub(super) struct Gateway {
    back: Duration,
    per_second: f64,
    tokens: f64,
    filled: Duration,
}

impl Gateway {
    /// How much of an idle second the bucket keeps.
    const KEPT: f64 = 0.1;

    pub(super) fn new(back: Duration, per_second: u32) -> Self {
        Self {
            back,
            per_second: per_second.into(),
            tokens: 0.0,
            filled: Duration::ZERO,
        }
    }

    pub(super) fn accepts(&mut self, now: Duration) -> bool {
        if now < self.back {
            return false;
        }
        let since = now.saturating_sub(self.filled.max(self.back));
        let full = self.per_second * Self::KEPT;
        self.tokens = full.min(self.tokens + since.as_secs_f64() * self.per_second);
        self.filled = now;
        let accepted = self.tokens >= 1.0;
        if accepted {
            self.tokens -= 1.0;
        }
        accepted
    }
}

#[derive(Debug)]
struct Figures {
    /// The most attempts in any sliding second.
    peak: usize,
    tries_per_client: f64,
    p99: Duration,
    all: Duration,
}

impl Figures {
    /// The worse of the two in every respect.
    fn worse(&self, other: &Self) -> Self {
        Self {
            peak: self.peak.max(other.peak),
            tries_per_client: self.tries_per_client.max(other.tries_per_client),
            p99: self.p99.max(other.p99),
            all: self.all.max(other.all),
        }
    }
}

/// The attempts of a restart, and when each client was ready: at the end, or after so long.
fn attempts_and_returns(
    clients: usize,
    policy: Policy,
    cause: Cause,
    mut gateway: Gateway,
    seed: u64,
) -> (Vec<Duration>, Vec<Duration>) {
    let mut clients: Vec<_> = (0..clients as u64)
        .map(|n| Client::new(policy, cause, seed << 32 | n))
        .collect();
    let mut due: BinaryHeap<_> = clients
        .iter_mut()
        .enumerate()
        .map(|(n, client)| Reverse((client.next(Duration::ZERO, cause), n)))
        .collect();
    let (mut attempts, mut ready) = (Vec::new(), Vec::new());
    while let Some(Reverse((now, n))) = due.pop() {
        attempts.push(now);
        if gateway.accepts(now) || now > seconds(150) {
            ready.push(now);
        } else {
            due.push(Reverse((clients[n].next(now, Cause::Crash), n)));
        }
    }
    (attempts, ready)
}

/// When each of so many clients is ready again.
pub(super) fn come_back(
    clients: usize,
    cause: Cause,
    outage: Duration,
    per_second: u32,
    seed: u64,
) -> Vec<Duration> {
    let gateway = Gateway::new(outage, per_second);
    attempts_and_returns(clients, Policy::Ours, cause, gateway, seed).1
}

/// One restart as the gateway sees it.
fn herd(policy: Policy, cause: Cause, outage: Duration, per_second: u32, seed: u64) -> Figures {
    let gateway = Gateway::new(outage, per_second);
    let (attempts, ready) = attempts_and_returns(CLIENTS, policy, cause, gateway, seed);
    let mut first = 0;
    let mut peak = 0;
    for (last, at) in attempts.iter().enumerate() {
        while *at - attempts[first] >= seconds(1) {
            first += 1;
        }
        peak = peak.max(last + 1 - first);
    }
    Figures {
        peak,
        tries_per_client: f64::from(u32::try_from(attempts.len()).unwrap()) / CLIENTS_F,
        p99: ready[CLIENTS * 99 / 100],
        all: ready[CLIENTS - 1],
    }
}

/// The worst of a few seeds.
fn worst(policy: Policy, cause: Cause, outage: Duration, per_second: u32) -> Figures {
    let figures = (1..=3)
        .map(|seed| herd(policy, cause, outage, per_second, seed))
        .reduce(|worst, figures| worst.worse(&figures))
        .expect("seeds");
    println!("{cause:?}, {outage:?}, {per_second}/s: {figures:?}");
    figures
}

#[test]
fn r_11_an_announced_restart_is_no_stampede() {
    let figures = worst(Policy::Ours, Cause::Announced, seconds(5), 1000);
    assert!(figures.peak <= 1500, "{figures:?}");
    assert!(figures.tries_per_client <= 1.7, "{figures:?}");
    assert!(figures.p99 <= seconds(25), "{figures:?}");
}

#[test]
fn r_12_nor_is_a_crash() {
    let figures = worst(Policy::Ours, Cause::Crash, seconds(5), 1000);
    assert!(figures.peak <= 4000, "{figures:?}");
    assert!(figures.tries_per_client <= 3.0, "{figures:?}");
    assert!(figures.p99 <= seconds(20), "{figures:?}");
}

#[test]
fn r_13_nor_is_the_end_of_a_long_outage() {
    for cause in [Cause::Crash, Cause::Announced] {
        let figures = worst(Policy::Ours, cause, seconds(60), 300);
        assert!(figures.peak <= 4000, "{figures:?}");
        assert!(figures.all <= seconds(60 + 75), "{figures:?}");
    }
}

#[test]
fn a_short_second_window_would_miss_the_goals() {
    let announced = worst(Policy::Short, Cause::Announced, seconds(5), 1000);
    assert!(announced.peak > 1500, "{announced:?}");
    let crash = worst(Policy::Short, Cause::Crash, seconds(5), 1000);
    assert!(
        crash.peak > 4000 && crash.tries_per_client > 3.0,
        "{crash:?}"
    );
}

#[test]
fn without_jitter_every_goal_is_missed() {
    for cause in [Cause::Announced, Cause::Crash] {
        let restart = herd(Policy::Unjittered, cause, seconds(5), 1000, 1);
        assert!(restart.peak > 4000, "{restart:?}");
        assert!(restart.tries_per_client > 3.0, "{restart:?}");
    }
}

#[test]
fn a_fixed_delay_breaks_every_goal() {
    let restart = herd(Policy::Fixed, Cause::Crash, seconds(5), 1000, 1);
    assert!(restart.peak > 4000, "{restart:?}");
    assert!(restart.tries_per_client > 3.0, "{restart:?}");
    assert!(restart.p99 > seconds(25), "{restart:?}");
    let outage = herd(Policy::Fixed, Cause::Crash, seconds(60), 300, 1);
    assert!(outage.peak > 4000, "{outage:?}");
    assert!(outage.all > seconds(60 + 75), "{outage:?}");
}
