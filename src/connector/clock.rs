//! The clocks of one connector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use once_cell::sync::Lazy;

use crate::machine::time::Now;

pub(super) struct Clock {
    born: Instant,
    /// The clock that counts sleep, and what it showed at birth.
    boot_time: fn() -> Option<Duration>,
    boot_at_birth: Option<Duration>,
    /// How much of the time since birth the machine slept, in nanoseconds, when that was last looked up.
    slept: AtomicU64,
    /// The time of day at birth as it was last seen to be, in nanoseconds since 1970, and the age until which that holds.
    born_at: AtomicU64,
    good_until: AtomicU64,
}

/// How late a clock that was set is noticed. To look at two clocks for every answer is not worth more.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Clock {
    pub(super) fn new(boot_time: fn() -> Option<Duration>) -> Self {
        Self {
            born: Instant::now(),
            boot_time,
            boot_at_birth: boot_time(),
            slept: AtomicU64::new(0),
            born_at: AtomicU64::new(0),
            good_until: AtomicU64::new(0),
        }
    }

    /// What a clock that all connectors of the process have in common showed at birth.
    pub(super) fn birth(&self) -> Duration {
        static FIRST: Lazy<Instant> = Lazy::new(Instant::now);
        self.born.saturating_duration_since(*FIRST)
    }

    /// The time. What was slept is not looked up here: every dispatch and every answer passes by.
    pub(super) fn now(&self) -> Now {
        let mono = self.born.elapsed();
        let age = nanos(mono);
        if age >= self.good_until.load(Ordering::Acquire) {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            let born_at = nanos(since_epoch.unwrap_or_default()).saturating_sub(age);
            self.born_at.store(born_at, Ordering::Relaxed);
            self.good_until
                .store(age + nanos(LOOK_EVERY), Ordering::Release);
        }
        let unix = self.born_at.load(Ordering::Relaxed).saturating_add(age);
        Now {
            mono,
            boot: mono + Duration::from_nanos(self.slept.load(Ordering::Relaxed)),
            unix_ms: unix / 1_000_000,
        }
    }

    /// The time, with a look at how much of it was slept.
    pub(super) fn now_and_slept(&self) -> Now {
        let mono = self.born.elapsed();
        if let (Some(at_birth), Some(boot)) = (self.boot_at_birth, (self.boot_time)()) {
            let slept = boot.saturating_sub(at_birth).saturating_sub(mono);
            // Where it was slept the time of day is another one.
            if self.slept.fetch_max(nanos(slept), Ordering::Relaxed) < nanos(slept) {
                self.good_until.store(0, Ordering::Relaxed);
            }
        }
        self.now()
    }

    /// The moment at which a clock that does not count sleep shows `mono`.
    pub(super) fn instant(&self, mono: Duration) -> Instant {
        self.born + mono
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_what_the_system_says() {
        let clock = Clock::new(|| None);
        let system = || {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::try_from(since_epoch.as_millis()).unwrap()
        };
        for _ in 0..3 {
            let (before, seen, after) = (system(), clock.now().unix_ms, system());
            assert!(
                (before.saturating_sub(1)..=after + 1).contains(&seen),
                "{before} {seen} {after}"
            );
        }
        // A clock that was set meanwhile.
        clock
            .born_at
            .fetch_add(3_600_000_000_000, Ordering::Relaxed);
        clock.good_until.store(0, Ordering::Relaxed);
        assert!(clock.now().unix_ms <= system() + 1);
    }

    static BOOT: AtomicU64 = AtomicU64::new(1_000_000);

    #[test]
    fn sleep_is_counted_once_it_was_looked_up() {
        let clock = Clock::new(|| Some(Duration::from_secs(BOOT.load(Ordering::Relaxed))));
        let asleep = |now: Now| now.boot.saturating_sub(now.mono);
        assert_eq!(asleep(clock.now_and_slept()), Duration::ZERO);
        BOOT.fetch_add(1_000_000, Ordering::Relaxed);
        assert_eq!(asleep(clock.now()), Duration::ZERO);
        let found = asleep(clock.now_and_slept());
        assert!(found > Duration::from_hours(250), "{found:?}");
        assert_eq!(asleep(clock.now()), found);
    }

    #[test]
    fn without_such_a_clock_nobody_sleeps() {
        let now = Clock::new(|| None).now_and_slept();
        assert_eq!(now.boot, now.mono);
    }
}
