//! What a connector was last seen doing: the part of the snapshot that needs the time of what happens (`reliability.md` 6.6).

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::machine::action::Action;
use crate::machine::event::EventKind;
use crate::machine::time::Now;

/// How many events are remembered; their names and times only.
const EVENTS: usize = 20;

/// How late the I/O thread may be with what is due.
const MAY_BE_LATE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Observed {
    last_outbound: Option<Duration>,
    state_since: Duration,
    events: VecDeque<(Duration, EventKind)>,
}

impl Observed {
    /// Something is about to be done.
    pub(super) fn note(&mut self, now: Now, action: &Action) {
        match action {
            Action::Send(..) | Action::Ping(..) | Action::Close(..) => {
                self.last_outbound = Some(now.mono);
            }
            Action::Dial(_) => self.last_outbound = None,
            Action::Event(event) => {
                if event.kind == EventKind::State {
                    self.state_since = now.mono;
                }
                self.events.truncate(EVENTS - 1);
                self.events.push_front((now.mono, event.kind));
            }
            _ => {}
        }
    }

    /// The snapshot of the machine with what was seen of it. `driven`: somebody does what it asks for.
    pub(super) fn snapshot(&self, machine: &Machine, now: Now, driven: bool) -> Value {
        let age = |at: Duration| {
            let age = now.mono.saturating_sub(at).as_millis();
            u64::try_from(age).unwrap_or(u64::MAX)
        };
        let late = machine.late_by(now);
        let live = driven && late <= MAY_BE_LATE;
        let reason = if !driven {
            Some("the I/O thread has ended".to_owned())
        } else if !live {
            Some(format!("the I/O thread is {} ms late", late.as_millis()))
        } else {
            machine.not_ready(now)
        };
        let events = self.events.iter();
        let events = events.map(|(at, kind)| json!({"name": kind.name(), "age_ms": age(*at)}));
        let mut snapshot = machine.snapshot(now);
        snapshot["health"] = json!({"live": live, "ready": reason.is_none(), "reason": reason});
        snapshot["since_ms"] = age(self.state_since).into();
        snapshot["last_outbound_age_ms"] = self.last_outbound.map(age).into();
        snapshot["events"] = events.collect();
        snapshot
    }
}
