//! Time as a value, and the timers of one connector.

use std::time::Duration;

/// The time at which something happens, as told by whoever drives the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the machine was made, on a clock that never goes back. Every decision uses this one.
    pub mono: Duration,
    /// The same on a clock that goes on while the machine is suspended; equal to `mono` where there is none.
    pub boot: Duration,
    /// Milliseconds since 1970. Goes into frames for people to read; nothing depends on it.
    pub unix_ms: u64,
}

/// Between two looks at the clocks, so much more on the one that counts sleep means that the machine was suspended.
pub const SLEEP_GAP: Duration = Duration::from_secs(5);

/// What a timer is for. At most one of each kind runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Timer {
    /// The earliest deadline of an operation that somebody waits for.
    Operation,
    /// The end of a wait before the next attempt (`Backoff`, `AuthBlocked`, `Conflict`).
    Retry,
    /// The welcome is overdue.
    Welcome,
    /// The next heartbeat.
    Heartbeat,
    /// Silence: ping.
    Silence,
    /// A look at how far a ping has come; the peer may be given up.
    Watch,
    /// The answer to a probe is overdue.
    Probe,
    /// The link has been ready long enough for the back-off to start over.
    Stable,
    /// The token is to be renewed.
    Renew,
    /// The token has expired.
    TokenDeath,
    /// The earliest deadline of a running dispatch.
    Dispatch,
    /// The earliest answer that is not worth sending any more.
    Outbox,
    /// The pong of a fence is overdue.
    Fence,
    /// The end of draining.
    Drain,
    /// The application is late with a token.
    Provider,
    /// The next heartbeat over HTTP while the link is down.
    Outage,
    /// The close handshake, then the farewell call.
    Farewell,
    /// A dispatch may have waited too long for the application to pick it up.
    PickUp,
    /// Streams are to show that their handlers are still at work.
    KeepAlive,
}

const TIMERS: [Timer; 19] = [
    Timer::Operation,
    Timer::Retry,
    Timer::Welcome,
    Timer::Heartbeat,
    Timer::Silence,
    Timer::Watch,
    Timer::Probe,
    Timer::Stable,
    Timer::Renew,
    Timer::TokenDeath,
    Timer::Dispatch,
    Timer::Outbox,
    Timer::Fence,
    Timer::Drain,
    Timer::Provider,
    Timer::Outage,
    Timer::Farewell,
    Timer::PickUp,
    Timer::KeepAlive,
];

/// The running timers: each is the nanosecond at which it runs out, since every connector has all of them.
#[derive(Debug)]
pub(super) struct TimerTable([u64; TIMERS.len()]);

/// What a timer that does not run shows.
const NEVER: u64 = u64::MAX;

/// In half a millennium nothing is later.
fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(NEVER).min(NEVER - 1)
}

fn running(at: u64) -> Option<Duration> {
    (at != NEVER).then(|| Duration::from_nanos(at))
}

impl Default for TimerTable {
    fn default() -> Self {
        Self([NEVER; TIMERS.len()])
    }
}

impl TimerTable {
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        self.0[timer as usize] = nanos(at);
    }

    /// Sets the timer unless it already runs out earlier.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Duration) {
        let slot = &mut self.0[timer as usize];
        *slot = nanos(at).min(*slot);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Duration> {
        running(self.0[timer as usize])
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.0.iter().min().and_then(|at| running(*at))
    }

    /// Stops and returns one timer that has run out.
    pub(super) fn pop_expired(&mut self, now: Duration) -> Option<Timer> {
        let timer = TIMERS
            .into_iter()
            .find(|timer| self.get(*timer).is_some_and(|at| at <= now))?;
        self.stop(timer);
        Some(timer)
    }
}
