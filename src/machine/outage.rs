//! While the link is down (`reliability.md` 5.1 and 5.3): heartbeats over HTTP keep the instance alive, and a long
//! outage ends with a registration, since the mesh may have forgotten us by then.

use std::time::Duration;

use super::action::Reply;
use super::failure::{Class, Step};
use super::time::{Now, Timer};
use super::{LinkState, Machine, Purpose, Registration};

const HEARTBEAT: &str = "/agents/heartbeat";

/// A shorter outage costs no HTTP call at all.
const BEATS_AFTER: Duration = Duration::from_secs(30);

/// Part of a heartbeat interval over which a fleet that lost its gateway spreads its first calls.
const FIRST_BEAT_WITHIN: f64 = 0.3;

/// Three missed heartbeats: the mesh may count the instance as gone.
const REGISTERS_AFTER: Duration = Duration::from_secs(90);

/// The random part that is added to the attempt that registers for that reason.
const REGISTERS_WITHIN: Duration = Duration::from_secs(5);

/// Registrations are at least this far apart when the mesh says that it does not know us.
const REGISTER_APART: Duration = Duration::from_secs(30);

/// Since when there is no link, after there was one.
#[derive(Debug, Default)]
pub(super) struct Outage {
    began: Option<Duration>,
    /// When a registration was last accepted since then.
    registered: Option<Duration>,
    /// Whether the attempt that registers because of the outage's length has had its random part.
    spread: bool,
}

impl Outage {
    pub(super) fn registered(&mut self, now: Now) {
        self.registered = Some(now.mono);
    }
}

impl Machine {
    pub(super) fn outage_begins(&mut self, now: Now) {
        let counts = self.was_ready && !self.hosted() && !self.is_transport();
        if self.outage.began.is_some() || !counts {
            return;
        }
        self.outage.began = Some(now.mono);
        let spread = self.settings.timing.heartbeat.mul_f64(FIRST_BEAT_WITHIN);
        let first = BEATS_AFTER + spread.mul_f64(self.rng.f64());
        self.timers.set(Timer::Outage, now.mono + first);
    }

    pub(super) fn outage_ends(&mut self) {
        self.outage = Outage::default();
        self.timers.stop(Timer::Outage);
    }

    /// The mesh hears of us although there is no link, as long as it knows us.
    pub(super) fn beat_without_link(&mut self, now: Now) {
        if self.outage.began.is_none() || self.link == LinkState::Closing {
            return;
        }
        self.timers
            .set(Timer::Outage, now.mono + self.settings.timing.heartbeat);
        self.inbox.forget_old(now.mono);
        let waits = matches!(
            self.link,
            LinkState::Backoff | LinkState::Dialing | LinkState::Handshaking
        );
        let known = matches!(self.registration, Registration::Known { .. });
        let under_way = self
            .requests
            .values()
            .any(|purpose| matches!(purpose, Purpose::Heartbeat(_)));
        if waits && known && !under_way && self.auth.is_valid(now.mono) {
            self.counters.heartbeats += 1;
            self.beat_over_http(Purpose::Heartbeat(self.auth.generation()));
        }
    }

    pub(super) fn beat_over_http(&mut self, purpose: Purpose) {
        let payload = self.heartbeat_payload();
        let timeout = self.settings.timing.http;
        self.request(purpose, HEARTBEAT, payload, timeout);
    }

    /// How a heartbeat ended that was sent because there is no link.
    pub(super) fn beaten_without_link(&mut self, now: Now, status: u16) {
        let waits = matches!(
            self.link,
            LinkState::Backoff | LinkState::Dialing | LinkState::Handshaking
        );
        let known = matches!(self.registration, Registration::Known { .. });
        if status == 404 && waits && known && self.registration_is_due(now) {
            // The next attempt registers; one that is under way is told the same, or comes through and registers then.
            self.forget_instance();
        }
    }

    /// The mesh took the connection of an instance that it had said not to know, and the registration that followed has
    /// failed: without another one no work would ever come.
    pub(super) fn register_if_forgotten(&mut self, now: Now) {
        if self.registration == Registration::Forgotten
            && self.is_up()
            && !self.draining()
            && self.auth.is_valid(now.mono)
            && self.registration_is_due(now)
        {
            self.announce_capabilities(now);
        }
    }

    /// Whether the last registration is long enough ago for another one that the mesh asks for.
    pub(super) fn registration_is_due(&self, now: Now) -> bool {
        self.registered_at
            .is_none_or(|at| now.boot.saturating_sub(at) >= REGISTER_APART)
    }

    /// Whether an attempt at that time registers because the mesh has heard nothing of us for too long.
    fn registration_is_overdue(&self, at: Duration) -> bool {
        self.outage
            .began
            .map(|began| began.max(self.outage.registered.unwrap_or_default()))
            .is_some_and(|since| at.saturating_sub(since) > REGISTERS_AFTER)
    }

    /// What is added to the wait before an attempt that registers after a long outage. Only the first one: whoever
    /// comes back later has been spread by then.
    pub(super) fn registration_spread(&mut self, at: Duration) -> Duration {
        if self.outage.spread || !self.registration_is_overdue(at) {
            return Duration::ZERO;
        }
        self.outage.spread = true;
        REGISTERS_WITHIN.mul_f64(self.rng.f64())
    }

    /// Before an attempt: after a long outage the registration does not count any more.
    pub(super) fn doubt_registration(&mut self, now: Now) {
        if matches!(self.registration, Registration::Known { .. })
            && self.registration_is_overdue(now.mono)
        {
            self.registration = Registration::Known { revision: 0 };
        }
    }

    /// Registers; after a long outage with open sessions, the mesh is first asked whether it still knows of them,
    /// since the registration would hide that it does not.
    pub(super) fn register_or_inquire(&mut self, now: Now) {
        let known = matches!(self.registration, Registration::Known { .. });
        if known && !self.sessions.is_empty() && self.registration_is_overdue(now.mono) {
            self.beat_over_http(Purpose::Inquiry);
        } else {
            self.send_registration(now, false);
        }
    }

    /// The mesh has said whether it still knows the instance, or not even that.
    pub(super) fn inquired(&mut self, now: Now, reply: &Reply) {
        if self.link != LinkState::Registering {
            self.counters.stale_inputs += 1;
            return;
        }
        if let Reply::Http(http) = reply
            && http.status == 404
        {
            self.forget_instance();
        } else {
            let failure = self.failure(Step::Heartbeat, &self.target(HEARTBEAT), reply);
            let unanswered = matches!(reply, Reply::Failed(_));
            if unanswered || failure.class == Class::Unauthorized {
                return self.step_failed(now, failure);
            }
        }
        // Whatever else it is, the registration's own reply is the better one to judge by.
        self.send_registration(now, false);
    }
}
