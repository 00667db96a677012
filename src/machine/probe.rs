//! The machine slept, or the network is another: what was a good link may be dead (T27, T30, T38).

use std::time::Duration;

use super::action::{Action, LinkEnd};
use super::failure::{Class, Failure};
use super::time::{Now, SLEEP_GAP, Timer};
use super::{LinkState, Machine, Transition};
use crate::error::{Error, ErrorKind};

/// How long a probe is waited for.
const PROBE: Duration = Duration::from_secs(2);

/// A wait before the next attempt is not cut short twice within this time.
const CUT_APART: Duration = Duration::from_secs(5);

impl Machine {
    /// The application has learnt that the network changed: an open link is probed, and a wait before the next attempt
    /// is cut short, at most once in 5 s.
    pub fn network_changed(&mut self, now: Now) {
        match self.link {
            LinkState::Ready | LinkState::Suspect if !self.has_external_socket() => {
                self.probe(now);
            }
            LinkState::Backoff => self.cut_wait_short(now),
            _ => {}
        }
    }

    /// A clock that counts sleep has moved further than the one that does not: nobody knows what the peer made of
    /// our absence.
    pub(super) fn notice_sleep(&mut self, now: Now) {
        let slept = now.boot.saturating_sub(now.mono);
        let gap = slept.saturating_sub(self.slept);
        self.slept = self.slept.max(slept);
        if gap > SLEEP_GAP {
            self.network_changed(now);
        }
    }

    fn probe(&mut self, now: Now) {
        if self.timers.get(Timer::Probe).is_some() {
            return;
        }
        self.go(Transition::T27, LinkState::Suspect);
        self.ping(now);
        self.timers.set(Timer::Probe, now.mono + PROBE);
    }

    fn cut_wait_short(&mut self, now: Now) {
        // By the clock that counts sleep, so that a resume is never too soon.
        let too_soon = self
            .wait_cut_at
            .is_some_and(|at| now.boot.saturating_sub(at) < CUT_APART);
        if !too_soon {
            self.wait_cut_at = Some(now.boot);
            self.advance(now, Transition::T38);
        }
    }

    /// Nothing came in behind the probe. The next connection is made without a back-off: this end is nobody else's,
    /// and a probe follows a resume once.
    pub(super) fn probe_overdue(&mut self, now: Now) {
        if self.link != LinkState::Suspect {
            return;
        }
        // Behind an answer that is getting through it is not heard of for longer; the watch goes on (6.4).
        let since = now.mono.saturating_sub(PROBE);
        let gets_through = self
            .connection
            .as_ref()
            .is_some_and(|c| c.liveness.advanced_since(since));
        if gets_through && self.settings.protections.two_stage {
            return;
        }
        let text = format!("nothing came in for {} ms after a probe", PROBE.as_millis());
        if self.abort_silent(now, text) {
            self.auth.fetched_for_attempt = false;
            self.outage_begins(now);
            self.advance(now, Transition::T30);
        }
    }

    /// Drops a connection whose peer is silent, without a handshake. `false` when that was the end.
    pub(super) fn abort_silent(&mut self, now: Now, text: String) -> bool {
        let Some(conn) = self.connection.as_ref().map(|c| c.no) else {
            return false;
        };
        self.actions.push_back(Action::Abort(conn));
        if !self.settings.auto_reconnect {
            self.handle_closed(now, conn, &LinkEnd::Broken(text));
            return false;
        }
        self.counters.disconnects.half_open += 1;
        self.disconnected(conn, None, &text, true);
        self.last_failure = Some(Box::new(Failure {
            class: Class::Temporary,
            retry_after: None,
            error: Error::new(ErrorKind::Network, "HALF_OPEN", text).retryable(true),
        }));
        true
    }
}
