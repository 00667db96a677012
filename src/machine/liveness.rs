//! Whether the peer is alive, and telling the mesh that we are (`reliability.md` 6.4; `protocol.md` 4 and 5).
//!
//! Only inbound bytes count as life: a write that succeeds proves nothing.

use std::time::Duration;

use serde_json::json;

use super::action::{Action, ConnectionNo};
use super::backoff::Cause;
use super::time::{Now, Timer};
use super::watch::{Progress, Watch};
use super::{LinkState, Machine, Purpose, Transition};
use crate::protocol::frame_writer;

/// The ping that proves nothing but life; fences count from 1.
const IDLE_PING: u64 = 0;

/// A status change is told at once, but not twice within this time.
const STATUS_APART: Duration = Duration::from_secs(1);

/// The outbox takes no more than this: finished results are never the victim, so new work is.
const OUTBOX_ITEMS: usize = 1024;
const OUTBOX_BYTES: usize = 64 << 20;

/// So many times more items while the link is up.
const WHILE_READY: usize = 16;

/// Part of a heartbeat interval within which the first heartbeat falls, so that a fleet's do not coincide.
const FIRST_HEARTBEAT_WITHIN: f64 = 0.3;

/// Timers that may run out a little early do so at multiples of this, so that a thread with many connectors wakes up for
/// many of them at once.
pub(super) const BEAT: Duration = Duration::from_millis(250);

/// Intervals of fewer beats are kept as they are: what is due again before the next beat would be so at once.
const FEW_BEATS: u32 = 10;

/// Who was heard of so recently is not asked for a sign of life with a heartbeat.
const HEARD_OF: Duration = Duration::from_secs(1);

/// When a connection last showed life, and whether it owes us a sign of it.
pub(super) struct Liveness {
    last_inbound: Duration,
    watch: Option<Watch>,
    progress: Option<Progress>,
}

impl Liveness {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            last_inbound: now,
            watch: None,
            progress: None,
        }
    }

    /// A byte came in. Whether one was waited for.
    pub(super) fn inbound(&mut self, now: Duration) -> bool {
        self.last_inbound = now;
        self.watch.take().is_some()
    }

    /// Whether the last ping is known to be still on its way.
    pub(super) fn ping_is_queued(&self) -> bool {
        self.progress.is_some_and(|progress| !progress.ping_acked)
    }

    /// Whether the last ping waits behind bytes that have been getting through since then.
    pub(super) fn advanced_since(&self, then: Duration) -> bool {
        let watch = self.watch.as_ref();
        watch.is_some_and(|watch| watch.is_queued() && watch.advanced_at() > then)
    }

    pub(super) fn last_inbound(&self) -> Duration {
        self.last_inbound
    }
}

impl Machine {
    pub(super) fn watch_silence(&mut self, now: Now) {
        if self.has_external_socket() {
            return;
        }
        let at = self.together(now.mono, self.settings.timing.ping);
        self.timers.set(Timer::Silence, at);
    }

    /// The silence timer ran out; inbound bytes do not touch it, so it may be early.
    pub(super) fn silence(&mut self, now: Now) {
        let Some(connection) = &self.connection else {
            return;
        };
        let (last, ping) = (connection.liveness.last_inbound, self.settings.timing.ping);
        let (by, due) = (last + ping, self.together(last, ping));
        if now.mono < due {
            return self.timers.set(Timer::Silence, due);
        }
        if self.link != LinkState::Ready {
            return;
        }
        // A ping that is on its way does for this one too, unless a slow uplink has it queued behind an answer:
        // then another may overtake it between two fragments.
        let covered = match &connection.liveness.watch {
            Some(watch) => !watch.is_queued(),
            None => false,
        };
        self.go(Transition::T26, LinkState::Suspect);
        if !covered {
            // What was early is no reason to give up early.
            self.ping_watched_from(now.mono.max(by));
        }
    }

    /// Asks the peer for a sign of life.
    pub(super) fn ping(&mut self, now: Now) {
        self.ping_watched_from(now.mono);
    }

    fn ping_watched_from(&mut self, since: Duration) {
        let Some(conn) = self.ready_connection() else {
            return;
        };
        // A peer need answer only the latest of several pings (RFC 6455), so this one also stands for a
        // fence that is on its way: everything before that was written before this.
        let number = self.outbox.awaited(conn).unwrap_or(IDLE_PING);
        self.actions
            .push_back(Action::Ping(conn, number.to_be_bytes()));
        self.watch_ping(since);
    }

    /// A ping was written: from now on the peer owes us a byte.
    pub(super) fn watch_ping(&mut self, since: Duration) {
        let first_look = since + Watch::sample(self.answer_window());
        let Some(connection) = &mut self.connection else {
            return;
        };
        let watch = &mut connection.liveness.watch;
        if watch.as_ref().is_none_or(|watch| watch.begins_after(since)) {
            *watch = Some(Watch::new(since));
            // The timer of a watch that has ended is left to run out: fences come and go much faster.
            self.timers.set_earlier(Timer::Watch, first_look);
        }
    }

    /// What a peer that was pinged is given, by the rule that it is dead after so much silence in all.
    fn answer_window(&self) -> Duration {
        let timing = &self.settings.timing;
        timing.dead.saturating_sub(timing.ping)
    }

    /// Whether it matters how far what was written has come: the peer owes an answer to a ping.
    pub fn wants_progress(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            connection.liveness.watch.is_some() || self.outbox.awaited(connection.no).is_some()
        })
    }

    /// How far what was written has come. To be told right before [`Machine::handle_timeout`], while a socket is open
    /// and somebody [wants to know](Machine::wants_progress).
    pub fn handle_progress(&mut self, now: Now, conn: ConnectionNo, progress: Progress) {
        if let Some(connection) = self.connection.as_mut().filter(|c| c.no == conn) {
            connection.liveness.progress = Some(progress);
            if let Some(watch) = &mut connection.liveness.watch {
                watch.progress(now.mono, progress);
            }
        }
    }

    /// Whether the peer that was pinged is still within its time.
    pub(super) fn watch_due(&mut self, now: Now) {
        let window = self.answer_window();
        // A link that is being closed has its own, shorter time.
        if self.ready_connection().is_none() {
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        let liveness = &mut connection.liveness;
        let Some(watch) = &mut liveness.watch else {
            return;
        };
        if !self.settings.protections.dead_timer {
            return;
        }
        watch.looked(now.mono);
        let deadline = watch.deadline(window, self.settings.protections.two_stage);
        if now.mono < deadline {
            let next = deadline.min(now.mono + Watch::sample(window));
            return self.timers.set(Timer::Watch, next);
        }
        let silent = now.mono.saturating_sub(liveness.last_inbound);
        let transition = if self.link == LinkState::Suspect && silent >= self.settings.timing.dead {
            Transition::T29
        } else {
            Transition::T31
        };
        let text = format!("nothing came in for {} ms", silent.as_millis());
        if self.abort_silent(now, text) {
            self.back_off(now, transition, Cause::Crash, None);
        }
    }

    pub(super) fn dispatch_limit(&self) -> usize {
        match self.settings.max_in_flight {
            0 => self.settings.max_pending,
            limit => limit.min(self.settings.max_pending),
        }
    }

    pub(super) fn outbox_is_full(&self) -> bool {
        // Answers that wait for the proof of a live link leave within a round trip, so many more of them are no sign of
        // trouble; but a link may be slow, or break each time before the proof.
        let items = match self.ready_connection() {
            Some(_) => OUTBOX_ITEMS * WHILE_READY,
            None => OUTBOX_ITEMS,
        };
        self.outbox.len() >= items || self.outbox.bytes() >= OUTBOX_BYTES
    }

    /// The status that the mesh routes by (section 5).
    pub(super) fn status(&self) -> &'static str {
        if self.draining() {
            "draining"
        } else if self.pick_up.is_stalled() {
            "unhealthy"
        } else if self.inbox.running() >= self.dispatch_limit() || self.outbox_is_full() {
            "busy"
        } else {
            "available"
        }
    }

    pub(super) fn heartbeat_payload(&self) -> String {
        json!({
            "instance_id": self.agent.identity().instance_id,
            "status": self.status(),
            "current_sessions": self.inbox.running(),
            "max_concurrent_sessions": self.agent.identity().max_concurrent_sessions,
            "consecutive_failures": self.inbox.consecutive_failures,
        })
        .to_string()
    }

    /// The first heartbeat falls at a random time; at once if the mesh must not believe us available.
    pub(super) fn start_heartbeats(&mut self, now: Now) {
        if self.is_transport() {
            return;
        }
        let within = self
            .settings
            .timing
            .heartbeat
            .mul_f64(FIRST_HEARTBEAT_WITHIN);
        let first = within.mul_f64(self.rng.f64());
        self.timers.set(Timer::Heartbeat, now.mono + first);
        self.last_status = "available";
        self.status_may_have_changed(now);
    }

    pub(super) fn send_heartbeat(&mut self, now: Now) {
        if self.is_transport() {
            return;
        }
        let payload = self.heartbeat_payload();
        if self.link == LinkState::Hosted {
            let timeout = self.settings.timing.http;
            let purpose = Purpose::Heartbeat(self.auth.generation());
            self.request(purpose, "/agents/heartbeat", payload, timeout);
        } else if let Some(conn) = self.ready_connection() {
            let text = frame_writer::heartbeat(self.stamp(now), &payload);
            self.actions.push_back(Action::Send(conn, text.into()));
        } else {
            return;
        }
        self.inbox.forget_old(now.mono);
        self.register_if_forgotten(now);
        self.counters.heartbeats += 1;
        self.last_status = self.status();
        self.last_heartbeat = Some(now.mono);
        let next = self.together(now.mono, self.settings.timing.heartbeat);
        self.timers.set(Timer::Heartbeat, next);
        self.ping_with_heartbeat(now, next);
    }

    /// A ping that is due before the next heartbeat goes out with this one: one write and one wake-up do for both, now and,
    /// since the one comes once in so many of the other, from now on.
    fn ping_with_heartbeat(&mut self, now: Now, next: Duration) {
        let Some(connection) = self
            .connection
            .as_ref()
            .filter(|_| self.settings.rhythm.is_some())
        else {
            return;
        };
        let liveness = &connection.liveness;
        let (last, ping) = (liveness.last_inbound, self.settings.timing.ping);
        let heard_of = now.mono.saturating_sub(last) < HEARD_OF;
        let due = self.together(last, ping) < next;
        if due && !heard_of && liveness.watch.is_none() && self.link == LinkState::Ready {
            self.ping_watched_from(now.mono.max(last + ping));
        }
    }

    /// The time for what is due so long `after` something and may as well be done a little earlier, with what others of the
    /// process are to do.
    fn together(&self, since: Duration, after: Duration) -> Duration {
        let at = since + after;
        let Some(born) = self.settings.rhythm.filter(|_| after >= BEAT * FEW_BEATS) else {
            return at;
        };
        let into_beat = (born + at).as_nanos() % BEAT.as_nanos();
        let into_beat = u64::try_from(into_beat).unwrap_or_default();
        at.saturating_sub(Duration::from_nanos(into_beat))
    }

    /// Tells the mesh of a new status at once, or as soon as it may be told again.
    pub(super) fn status_may_have_changed(&mut self, now: Now) {
        if self.status() == self.last_status || !self.is_up() {
            return;
        }
        match self.last_heartbeat {
            Some(last) if now.mono.saturating_sub(last) < STATUS_APART => {
                self.timers
                    .set_earlier(Timer::Heartbeat, last + STATUS_APART);
            }
            _ => self.send_heartbeat(now),
        }
    }
}
