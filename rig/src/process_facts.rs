//! What the kernel says of this process (Linux; elsewhere the figures are absent).

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long ended threads and closed sockets may take to vanish from the kernel's books.
const SETTLE: Duration = Duration::from_secs(10);

/// Threads, descriptors and resident memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Threads.
    pub threads: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// `VmRSS` in KiB.
    pub resident_kib: u64,
}

impl ProcessFacts {
    /// As it is now.
    pub fn now() -> Self {
        let entries = |path| fs::read_dir(path).map_or(0, Iterator::count);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| {
            let line = line.strip_prefix("VmRSS:")?;
            line.split_whitespace().next()?.parse().ok()
        });
        Self {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            resident_kib: resident.unwrap_or_default(),
        }
    }

    /// As it is once there are no more threads and descriptors than in `before`, or after ten seconds.
    pub fn settled(before: Self) -> Self {
        let until = Instant::now() + SETTLE;
        loop {
            let now = Self::now();
            let fits = now.threads <= before.threads && now.descriptors <= before.descriptors;
            if fits || Instant::now() >= until {
                return now;
            }
            // The kernel rings no bell for this.
            sleep(Duration::from_millis(20));
        }
    }
}
