//! A day on a network that delays and stalls, with a gateway that pauses (`reliability.md` R-10).

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::rig::{Rig, millis, seconds};
use crate::machine::LinkState;
use crate::machine::action::{ConnectionNo, Dialed};
use crate::machine::watch::Progress;

const DAY: Duration = Duration::from_hours(24);

/// How long a minute's stall lasts, in which nothing passes.
const STALL: Duration = Duration::from_secs(3);

struct Ping {
    conn: ConnectionNo,
    payload: [u8; 8],
    acked_at: Duration,
    pong_at: Duration,
}

struct Network {
    rng: Rng,
    /// How long the gateway's process stands still, once in ten minutes, with a ping before it.
    pause: Duration,
    next_pause: Duration,
    paused_until: Duration,
    pauses: usize,
    slowest: Duration,
}

impl Network {
    /// When something arrives that is sent at `at`.
    fn pass(at: Duration, takes: Duration) -> Duration {
        let arrival = at + takes;
        let minute = seconds(arrival.as_secs() / 60 * 60);
        arrival.max(if arrival < minute + STALL {
            minute + STALL
        } else {
            arrival
        })
    }

    fn ping(&mut self, now: Duration, conn: ConnectionNo, payload: [u8; 8]) -> Ping {
        let half = millis(self.rng.u64(25..1000));
        let arrives = Self::pass(now, half);
        // A stall that delays the acknowledgement too is more patience with the peer, which is another matter.
        let acked_at = Self::pass(arrives, half);
        let due = arrives >= self.next_pause && arrives + seconds(60) < DAY;
        if due && acked_at == arrives + half {
            self.pauses += 1;
            self.next_pause = arrives + seconds(600);
            self.paused_until = arrives + self.pause;
        }
        let answered = arrives.max(self.paused_until);
        let mut pong_at = Self::pass(answered, half);
        if self.pause < seconds(10) {
            pong_at = pong_at.min(now + millis(9_500));
        }
        self.slowest = self.slowest.max(pong_at - now);
        Ping {
            conn,
            payload,
            acked_at,
            pong_at,
        }
    }
}

/// How often the link was made anew in a day, and how often the gateway paused.
fn live_a_day(pause: Duration, seed: u64) -> (usize, usize, Duration) {
    let mut rig = Rig::with(&json!({}));
    rig.token_lifetime_s = 10 * 86_400;
    rig.connect();
    rig.reach_ready();
    rig.forget();
    let mut network = Network {
        rng: Rng::with_seed(seed),
        pause,
        next_pause: seconds(600),
        paused_until: Duration::ZERO,
        pauses: 0,
        slowest: Duration::ZERO,
    };
    let mut pings: VecDeque<Ping> = VecDeque::new();
    let mut last_acked_at = Duration::ZERO;
    let (mut written, mut opens_at, mut dials) = (0, None, 0);
    while rig.now < DAY {
        let due = rig.machine.poll_timeout().unwrap_or(DAY);
        let answer = pings.front().map_or(DAY, |ping| ping.pong_at);
        let opens = opens_at.unwrap_or(DAY);
        let next = due.min(answer).min(opens);
        rig.now = rig.now.max(next);
        if opens == next {
            opens_at = None;
            rig.dialed(Dialed::Open);
            rig.welcome();
        } else if answer == next {
            let ping = pings.pop_front().expect("it is due");
            rig.machine.handle_pong(rig.now(), ping.conn, &ping.payload);
            rig.collect();
        } else {
            let (now, acked) = (rig.now, written);
            rig.uplink = Some(Box::new(move |_| Progress {
                acked,
                ping_acked: now >= last_acked_at,
                unsure: 0,
            }));
            rig.time_out();
        }
        for (conn, payload) in std::mem::take(&mut rig.pings) {
            let ping = network.ping(rig.now, conn, payload);
            written += 14;
            last_acked_at = ping.acked_at;
            pings.push_back(ping);
        }
        if rig.dials.len() > dials {
            dials = rig.dials.len();
            pings.clear();
            opens_at = Some(rig.now.max(network.paused_until) + millis(100));
        }
        rig.sent.clear();
    }
    assert!(matches!(
        rig.machine.link(),
        LinkState::Ready | LinkState::Suspect
    ));
    (dials, network.pauses, network.slowest)
}

#[test]
fn a_day_of_jitter_stalls_and_pauses_of_6_s_costs_no_connection() {
    for seed in 0..3 {
        let (reconnects, pauses, slowest) = live_a_day(seconds(6), seed);
        assert_eq!(reconnects, 0, "seed {seed}");
        assert!(pauses > 120, "{pauses}");
        assert!(
            slowest > seconds(8),
            "a day without slow pongs proves nothing: {slowest:?}"
        );
    }
}

/// Without it the test above could not fail.
#[test]
fn every_pause_of_12_s_costs_one_connection() {
    for seed in 0..3 {
        let (reconnects, pauses, _) = live_a_day(seconds(12), seed);
        assert!(pauses > 120, "{pauses}");
        assert_eq!(reconnects, pauses, "seed {seed}");
    }
}
