//! Notices that the machine was suspended, for every connector at once.
//!
//! Monotonic timers stand still meanwhile, so a connector would find out with its next one, up to 10 s late. The
//! alarm runs on the clock that counts sleep: after a gap longer than its period it rings at once.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::kernel;
use crate::machine::time::SLEEP_GAP;

/// Somebody who wants to know of suspensions.
pub(crate) trait Sleeper: Send + Sync {
    /// The machine was suspended. Called on the I/O thread; must not block.
    fn woken_up(&self);
}

/// The watch of one runtime. It ends with the last connector that holds it.
pub(crate) struct SleepWatch {
    sleepers: Mutex<Vec<Weak<dyn Sleeper>>>,
    task: AbortHandle,
}

impl SleepWatch {
    /// Starts the watch. Called on the I/O thread. `None` where nothing can tell.
    pub(super) fn start() -> Option<Arc<Self>> {
        let alarm = kernel::sleep_alarm(SLEEP_GAP).ok()?;
        Some(Arc::new_cyclic(|watch| Self {
            sleepers: Mutex::new(Vec::new()),
            task: tokio::spawn(watch_over(alarm, Weak::clone(watch))).abort_handle(),
        }))
    }

    /// Tells `sleeper` of every suspension from now on.
    pub(crate) fn join(&self, sleeper: Weak<dyn Sleeper>) {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        // Only when there is no room: it looks at every one of them.
        if sleepers.len() == sleepers.capacity() {
            sleepers.retain(|known| known.strong_count() > 0);
        }
        sleepers.push(sleeper);
    }

    fn wake_all(&self) {
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        for sleeper in sleepers.iter().filter_map(Weak::upgrade) {
            sleeper.woken_up();
        }
    }
}

impl Drop for SleepWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch_over(alarm: AsyncFd<File>, watch: Weak<SleepWatch>) {
    let born = Instant::now();
    let mut gaps = Gaps::default();
    gaps.is_one(kernel::boot_time().unwrap_or_default(), Duration::ZERO);
    while let Ok(mut ready) = alarm.readable().await {
        // How often it rang does not matter, and one read makes it silent.
        let _ = ready.try_io(|alarm| alarm.get_ref().read(&mut [0; 8]));
        let (boot, mono) = (kernel::boot_time().unwrap_or_default(), born.elapsed());
        if gaps.is_one(boot, mono)
            && let Some(watch) = watch.upgrade()
        {
            watch.wake_all();
        }
    }
}

/// Two clocks, one of which counts sleep.
#[derive(Default)]
struct Gaps {
    apart: Option<Duration>,
}

impl Gaps {
    /// Whether the clocks have moved apart since the last look.
    fn is_one(&mut self, boot: Duration, mono: Duration) -> bool {
        let apart = boot.saturating_sub(mono);
        let before = self.apart.replace(apart).unwrap_or(apart);
        apart.saturating_sub(before) > SLEEP_GAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_runs_ahead_is_a_gap() {
        let seconds = Duration::from_secs;
        let mut gaps = Gaps::default();
        assert!(!gaps.is_one(seconds(1000), seconds(0)));
        assert!(!gaps.is_one(seconds(1060), seconds(60)), "time passed");
        assert!(!gaps.is_one(seconds(1070), seconds(65)), "a nap of 5 s");
        assert!(gaps.is_one(seconds(1680), seconds(70)));
        assert!(!gaps.is_one(seconds(1685), seconds(75)), "told once");
    }
}
