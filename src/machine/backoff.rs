//! When to try again: windowed jitter (`reliability.md` 3.2 and 5.3).
//!
//! Time is cut into windows that grow; each holds one attempt at a random point, and the rest of the
//! window is waited out. So a fleet that lost its gateway in one instant does not come back in one.

use std::time::Duration;

use fastrand::Rng;

/// Why the attempt failed, which decides how wide the first window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The connection broke or could not be made.
    Crash,
    /// The mesh said that it goes away: everybody will be back at once.
    Announced,
    /// One side broke the protocol: trying at once again will hardly help.
    Protocol,
    /// The peer's certificate is not to be trusted: somebody has to do something about it.
    Tls,
}

/// The largest random part that is added to a `Retry-After`.
const RETRY_AFTER_SPREAD: Duration = Duration::from_secs(10);

/// No window is shorter than the first one after a crash: a fleet in a window of 2 s would be more attempts a second than the goals
/// allow (`tests/herd.rs`).
const GROWTH: [Duration; 4] = [
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(30),
];

/// Where the windows go on to when the peer cannot be trusted.
const TLS_GROWTH: [Duration; 8] = [
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(4),
    Duration::from_mins(5),
];

/// Links that came up and broke before they had proven stable: after so many in a row it is no accident, but a gateway
/// that cannot hold them or another process with the same instance id, and the windows are this wide.
const RESTLESS_AFTER: u32 = 6;
const RESTLESS_WINDOW: Duration = Duration::from_secs(45);

/// One connector's redial policy.
#[derive(Debug)]
pub struct Backoff {
    /// The caller's own windows, replacing all of ours.
    windows: Option<Vec<Duration>>,
    /// How many windows have begun since the last reset.
    begun: usize,
    /// Where the current window ends.
    window_end: Duration,
    /// How many attempts in a row have led to a link that did not last, and whether the latest one has led to one.
    short_lives: u32,
    came_up: bool,
    /// Whether attempts fall at a random point of their window, and not at its end.
    jitter: bool,
}

impl Backoff {
    /// A policy at its start. `windows`, if given, replaces every window.
    pub fn new(windows: Option<Vec<Duration>>, jitter: bool) -> Self {
        Self {
            windows,
            begun: 0,
            window_end: Duration::ZERO,
            short_lives: 0,
            came_up: false,
            jitter,
        }
    }

    /// How many attempts have been scheduled since the last reset.
    pub fn attempts(&self) -> usize {
        self.begun
    }

    /// Starts over: the link has proven stable, or the caller starts afresh.
    pub fn reset(&mut self) {
        self.begun = 0;
        self.short_lives = 0;
        self.came_up = false;
        self.window_end = Duration::ZERO;
    }

    /// An attempt has succeeded, for however long.
    pub fn link_came_up(&mut self) {
        self.came_up = true;
    }

    fn longest(&self) -> Duration {
        if self.short_lives >= RESTLESS_AFTER {
            RESTLESS_WINDOW
        } else {
            GROWTH[GROWTH.len() - 1]
        }
    }

    /// When to try next.
    pub fn next(
        &mut self,
        now: Duration,
        cause: Cause,
        retry_after: Option<Duration>,
        rng: &mut Rng,
    ) -> Duration {
        self.short_lives = if std::mem::take(&mut self.came_up) {
            self.short_lives.saturating_add(1)
        } else {
            0
        };
        if cause != Cause::Tls && self.windows.is_none() {
            // The long windows of mistrust are not waited out for anything else.
            self.window_end = self.window_end.min(now + self.longest());
        }
        let (start, window) = match retry_after {
            Some(wait) => (now + wait, RETRY_AFTER_SPREAD),
            None => (now.max(self.window_end), self.window(cause)),
        };
        self.begun += 1;
        self.window_end = start + window;
        let part = if self.jitter { rng.f64() } else { 1.0 };
        start + window.mul_f64(part)
    }

    fn window(&self, cause: Cause) -> Duration {
        if let Some(windows) = &self.windows {
            return windows[self.begun.min(windows.len() - 1)];
        }
        let first = match cause {
            Cause::Crash | Cause::Tls => Duration::from_secs(3),
            Cause::Announced => Duration::from_secs(10),
            Cause::Protocol => Duration::from_secs(8),
        };
        match self.begun.checked_sub(1) {
            None => first,
            Some(grown) => {
                let growth: &[Duration] = match cause {
                    Cause::Tls => &TLS_GROWTH,
                    _ => &GROWTH,
                };
                let mut window = growth[grown.min(growth.len() - 1)];
                if grown >= GROWTH.len() {
                    window = window.max(self.longest());
                }
                // A protocol error starts high and stays there.
                if cause == Cause::Protocol {
                    window.max(first)
                } else {
                    window
                }
            }
        }
    }
}

/// The 5 → 120 s windows of a connector whose credentials are refused.
#[derive(Debug, Default)]
pub struct AuthBackoff {
    begun: u32,
    window_end: Duration,
}

impl AuthBackoff {
    /// Starts over.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// When to show the credentials again.
    pub fn next(&mut self, now: Duration, rng: &mut Rng) -> Duration {
        let window =
            Duration::from_secs(5 * 2_u64.pow(self.begun.min(5))).min(Duration::from_mins(2));
        let start = now.max(self.window_end);
        self.begun += 1;
        self.window_end = start + window;
        // The second half of the window, so that two attempts are never close together.
        start + window / 2 + (window / 2).mul_f64(rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_fall_into_growing_windows_and_the_rest_is_waited_out() {
        for seed in 0..1000 {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::new(None, true);
            let (mut now, mut window_start) = (Duration::ZERO, Duration::ZERO);
            for window in [3, 4, 8, 16, 30, 30, 30].map(Duration::from_secs) {
                let at = backoff.next(now, Cause::Crash, None, &mut rng);
                assert!(
                    at >= window_start && at <= window_start + window,
                    "seed {seed}"
                );
                (now, window_start) = (at, window_start + window);
            }
        }
    }

    #[test]
    fn the_first_window_depends_on_the_cause() {
        let widest = |cause| {
            (0..2000)
                .map(|seed| {
                    let mut rng = Rng::with_seed(seed);
                    Backoff::new(None, true).next(Duration::ZERO, cause, None, &mut rng)
                })
                .max()
                .unwrap()
                .as_secs_f64()
        };
        assert!((2.9..=3.0).contains(&widest(Cause::Crash)));
        assert!((9.9..=10.0).contains(&widest(Cause::Announced)));
        assert!((7.9..=8.0).contains(&widest(Cause::Protocol)));
    }

    #[test]
    fn mistrust_waits_for_up_to_5_minutes_and_everything_else_for_no_more_than_before() {
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::new(None, true);
            let (mut now, mut window_start) = (Duration::ZERO, Duration::ZERO);
            for window in [3, 4, 8, 16, 30, 60, 120, 240, 300, 300].map(Duration::from_secs) {
                let at = backoff.next(now, Cause::Tls, None, &mut rng);
                assert!(
                    at >= window_start && at <= window_start + window,
                    "seed {seed}"
                );
                (now, window_start) = (at, window_start + window);
            }
            let at = backoff.next(now, Cause::Crash, None, &mut rng);
            assert!(
                at.saturating_sub(now) <= Duration::from_mins(1),
                "seed {seed}: {now:?} to {at:?}"
            );
        }
    }

    #[test]
    fn links_that_never_last_widen_the_windows_and_an_attempt_that_fails_narrows_them_again() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = Backoff::new(None, true);
        let mut window = |backoff: &mut Backoff, came_up: bool| {
            if came_up {
                backoff.link_came_up();
            }
            let from = backoff.window_end;
            backoff.next(from, Cause::Crash, None, &mut rng);
            backoff.window_end.saturating_sub(from).as_secs()
        };
        let flapping: Vec<_> = (0..8).map(|_| window(&mut backoff, true)).collect();
        assert_eq!(flapping, [3, 4, 8, 16, 30, 45, 45, 45]);
        assert_eq!(window(&mut backoff, false), 30);
    }

    #[test]
    fn retry_after_is_waited_for_and_spread() {
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let wait = Some(Duration::from_secs(7));
            let at =
                Backoff::new(None, true).next(Duration::ZERO, Cause::Announced, wait, &mut rng);
            assert!((7.0..=17.0).contains(&at.as_secs_f64()));
        }
    }

    #[test]
    fn own_delays_replace_every_window() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = Backoff::new(Some(vec![Duration::ZERO, Duration::from_millis(50)]), true);
        assert_eq!(
            backoff.next(Duration::ZERO, Cause::Announced, None, &mut rng),
            Duration::ZERO
        );
        for _ in 0..5 {
            let from = backoff.window_end;
            let at = backoff.next(from, Cause::Crash, None, &mut rng);
            assert!(at.saturating_sub(from) <= Duration::from_millis(50));
        }
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
    }
}
