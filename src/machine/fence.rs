//! A peer that lives but answers no pings: how its answers are known to be delivered (`reliability.md` 6.3, T32).

use std::time::Duration;

use serde_json::json;

use super::event::EventKind;
use super::time::{Now, Timer};
use super::{Machine, Transition};

/// How long a fence may be on its way, and how long a connection has to live after an answer without fences.
const FENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// After so many times in a row nothing is expected of fences any more.
const HOPELESS: u32 = 3;

/// The wait for a fence on one connection.
#[derive(Debug, Default)]
pub(super) struct FenceWatch {
    awaited: Option<u64>,
    asked_at: Duration,
    unanswered: u32,
}

impl Machine {
    /// The outbox has written something, or got its proof.
    pub(super) fn watch_fence(&mut self, now: Now) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let awaited = self.outbox.awaited(connection.no);
        if awaited == connection.fence.awaited {
            return;
        }
        connection.fence = FenceWatch {
            awaited,
            asked_at: now.mono,
            unanswered: 0,
        };
        match awaited {
            Some(_) => {
                self.timers.set(Timer::Fence, now.mono + FENCE_TIMEOUT);
                self.watch_ping(now.mono);
            }
            None => self.timers.stop(Timer::Fence),
        }
    }

    pub(super) fn fence_overdue(&mut self, now: Now) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let (conn, fence) = (connection.no, &mut connection.fence);
        if fence.awaited.is_none() {
            return;
        }
        if connection.liveness.ping_is_queued() {
            // The peer cannot answer what has not reached it.
            fence.asked_at = now.mono;
        } else if connection.liveness.last_inbound() > fence.asked_at {
            // Without a byte since the ping it would not be the fence that fails, but the peer (T31).
            fence.asked_at = now.mono;
            fence.unanswered += 1;
            if fence.unanswered >= HOPELESS {
                fence.awaited = None;
                self.counters.taken(Transition::T32);
                self.outbox.give_up_fences();
                self.emit(EventKind::FenceUnsupported, json!({"connection": conn}));
                return self.lived(now);
            }
            self.ping(now);
        }
        self.timers.set(Timer::Fence, now.mono + FENCE_TIMEOUT);
    }

    /// The connection lives: without fences, that is the proof for what was written long before.
    pub(super) fn lived(&mut self, now: Now) {
        let Some(conn) = self.ready_connection() else {
            return;
        };
        if self.outbox.fence_level() > 0 || self.outbox.is_empty() {
            return;
        }
        // Not the clock but the last byte: a connection that has fallen silent may be dead already.
        let life = self.connection.as_ref().map(|c| c.liveness.last_inbound());
        if let Some(then) = life.and_then(|last| last.checked_sub(FENCE_TIMEOUT)) {
            self.outbox.delivered_until(conn, then);
            self.flush_outbox(now);
            self.drain_step(now);
        }
    }
}
