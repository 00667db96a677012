//! The two-stage wait for a sign of life behind a ping (`reliability.md` 6.4).
//!
//! A ping that waits in queues behind a large answer is not heard of for as long as the uplink takes, and a plain
//! limit would end a healthy slow link exactly while it delivers. So the limit for an answer begins when the
//! peer's kernel has acknowledged the ping's last byte (stage 2). Until then (stage 1) the link lives as long as
//! acknowledged bytes advance.

use std::time::Duration;

/// How long a ping may be queued while acknowledged bytes advance.
const QUEUED_LIMIT: Duration = Duration::from_mins(1);

/// How often the kernel is asked.
const SAMPLE: Duration = Duration::from_secs(1);

/// The slowest uplink that is waited for where the kernel cannot tell what has arrived, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// A driver that looks so much later than it was asked to has slept, and the peer is not to blame for that time.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// How far what was written has come, as the driver sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the TCP stream that the peer's kernel has acknowledged; where that cannot be known, bytes that our
    /// own kernel has taken.
    pub acked: u64,
    /// Whether the last byte of the last ping is among them.
    pub ping_acked: bool,
    /// Bytes in front of that byte which may still be on their way although they count as acknowledged: 0 where
    /// the kernel tells what the peer has.
    pub unsure: u64,
}

/// The wait that began with a ping and ends with the first byte that comes in.
#[derive(Debug)]
pub(super) struct Watch {
    since: Duration,
    looked_at: Duration,
    /// What was acknowledged at the last look. What it was at the ping is not known, since a dispatch's answer must
    /// not cost a system call; so the first look is no progress.
    acked: Option<u64>,
    /// When more was acknowledged than before.
    advanced_at: Duration,
    /// When the ping was last seen not to be acknowledged.
    unacked_at: Duration,
    ping_acked: bool,
    allowance: Duration,
}

impl Watch {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            since: now,
            looked_at: now,
            acked: None,
            advanced_at: now,
            unacked_at: now,
            ping_acked: false,
            allowance: Duration::ZERO,
        }
    }

    /// Whether it is a wait that is yet to begin, and not by then.
    pub(super) fn begins_after(&self, time: Duration) -> bool {
        self.since > time
    }

    /// How often to look, when `window` is what the peer is given.
    pub(super) fn sample(window: Duration) -> Duration {
        (window / 10).min(SAMPLE)
    }

    pub(super) fn progress(&mut self, now: Duration, progress: Progress) {
        // What is seen before the wait begins shortens it as little.
        let now = now.max(self.since);
        if self.acked.is_some_and(|before| progress.acked > before) {
            self.advanced_at = now;
        }
        self.acked = Some(progress.acked);
        self.ping_acked = progress.ping_acked;
        if !progress.ping_acked {
            self.unacked_at = now;
        }
        self.allowance = Duration::from_millis(progress.unsure.saturating_mul(1000) / SLOWEST);
    }

    /// The driver has come to look.
    pub(super) fn looked(&mut self, now: Duration) {
        let apart = now.saturating_sub(self.looked_at);
        self.looked_at = now;
        if let Some(late) = apart.checked_sub(SAMPLE).filter(|late| *late > OVERSLEPT) {
            for at in [&mut self.since, &mut self.advanced_at, &mut self.unacked_at] {
                *at = (*at + late).min(now);
            }
        }
    }

    /// The ping waits behind bytes that are getting through.
    pub(super) fn is_queued(&self) -> bool {
        !self.ping_acked && self.advanced_at > self.since
    }

    /// When acknowledged bytes were last seen to have advanced.
    pub(super) fn advanced_at(&self) -> Duration {
        self.advanced_at
    }

    /// When the peer counts as dead, as things stand.
    pub(super) fn deadline(&self, window: Duration, two_stage: bool) -> Duration {
        if !two_stage {
            self.since + window
        } else if self.ping_acked {
            self.unacked_at + (window + self.allowance).min(QUEUED_LIMIT.max(window))
        } else {
            (self.advanced_at + window).min(self.since + QUEUED_LIMIT.max(window))
        }
    }
}
