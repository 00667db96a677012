//! The clocks of one connector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::machine::time::Now;

pub(super) struct Clock {
    born: Instant,
    /// The clock that counts sleep, and what it showed at birth.
    boot_time: fn() -> Option<Duration>,
    boot_at_birth: Option<Duration>,
    /// How much of the time since birth the machine slept, in nanoseconds, when that was last looked up.
    slept: AtomicU64,
}

impl Clock {
    pub(super) fn new(boot_time: fn() -> Option<Duration>) -> Self {
        Self {
            born: Instant::now(),
            boot_time,
            boot_at_birth: boot_time(),
            slept: AtomicU64::new(0),
        }
    }

    /// The time. What was slept is not looked up here: every dispatch and every answer passes by.
    pub(super) fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = since_epoch.unwrap_or_default().as_millis();
        let mono = self.born.elapsed();
        Now {
            mono,
            boot: mono + Duration::from_nanos(self.slept.load(Ordering::Relaxed)),
            unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX),
        }
    }

    /// The time, with a look at how much of it was slept.
    pub(super) fn now_and_slept(&self) -> Now {
        let mono = self.born.elapsed();
        if let (Some(at_birth), Some(boot)) = (self.boot_at_birth, (self.boot_time)()) {
            let slept = boot.saturating_sub(at_birth).saturating_sub(mono);
            let nanos = u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX);
            self.slept.fetch_max(nanos, Ordering::Relaxed);
        }
        self.now()
    }

    /// The moment at which a clock that does not count sleep shows `mono`.
    pub(super) fn instant(&self, mono: Duration) -> Instant {
        self.born + mono
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
