//! Whether the application takes what it is given (`reliability.md` R-27b).
//!
//! An application that has stopped pulling, or whose only delivery thread hangs in a handler, cannot work, however well its
//! link is. The mesh is told, so that it routes around it until it moves again. Only who holds the queue between the two
//! knows what waits there, so the driver tells, and only when a timer is due: no dispatch pays for it.

use std::time::Duration;

use serde_json::json;

use super::event::EventKind;
use super::time::{Now, Timer};
use super::{LinkState, Machine};

/// How often an application that has stopped is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is known of the dispatches that wait for the application.
#[derive(Debug, Default)]
pub(super) struct PickUp {
    /// Since when the one in front has waited.
    oldest: Option<Duration>,
    stalled: bool,
}

impl PickUp {
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }
}

impl Machine {
    /// How long the dispatch in front of the application's queue has waited there; `None` when it is empty. To be told
    /// right before [`Machine::handle_timeout`].
    pub fn handle_backlog(&mut self, now: Now, oldest_waiting: Option<Duration>) {
        self.pick_up.oldest = oldest_waiting.map(|waited| now.mono.saturating_sub(waited));
        // Whatever timer it is: a heartbeat that is due must not tell what is no longer true. After the end none is.
        let ends = self.link == LinkState::Closing || self.link.is_final();
        if self.pick_up.stalled && !ends {
            self.watch_pick_up(now);
        }
    }

    /// A dispatch is handed over, and should be picked up in time.
    pub(super) fn expect_pick_up(&mut self, now: Now) {
        let by = now.mono + self.settings.timing.pick_up;
        self.timers.set_earlier(Timer::PickUp, by);
    }

    pub(super) fn watch_pick_up(&mut self, now: Now) {
        let limit = self.settings.timing.pick_up;
        let waited = self
            .pick_up
            .oldest
            .map(|since| now.mono.saturating_sub(since));
        let overdue = waited.filter(|waited| *waited >= limit);
        if overdue.is_some() {
            self.timers.set(Timer::PickUp, now.mono + LOOK_AGAIN);
        } else if let Some(waited) = waited {
            self.timers
                .set(Timer::PickUp, now.mono + limit.saturating_sub(waited));
        }
        if overdue.is_some() == self.pick_up.stalled {
            return;
        }
        self.pick_up.stalled = overdue.is_some();
        let data = match overdue {
            Some(waited) => {
                let oldest = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                json!({"stalled": true, "oldest_ms": oldest})
            }
            None => json!({"stalled": false}),
        };
        self.emit(EventKind::Stalled, data);
        self.status_may_have_changed(now);
    }
}
