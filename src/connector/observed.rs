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
    /// The latest first, with the nanosecond of each.
    events: VecDeque<(u64, EventKind)>,
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
                // A transport's is also told while the state stays as it is: of the wait for its welcome.
                let changed = || event.data["state"] != event.data["previous"];
                if event.kind == EventKind::State && changed() {
                    self.state_since = now.mono;
                }
                self.events.truncate(EVENTS - 1);
                let at = u64::try_from(now.mono.as_nanos()).unwrap_or(u64::MAX);
                self.events.push_front((at, event.kind));
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
        let events = events.map(
            |(at, kind)| json!({"name": kind.name(), "age_ms": age(Duration::from_nanos(*at))}),
        );
        let mut snapshot = machine.snapshot(now);
        snapshot["health"] = json!({"live": live, "ready": reason.is_none(), "reason": reason});
        snapshot["since_ms"] = age(self.state_since).into();
        snapshot["last_outbound_age_ms"] = self.last_outbound.map(age).into();
        snapshot["events"] = events.collect();
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::config::Config;
    use crate::machine::Settings;
    use crate::machine::action::{ConnectionNo, Dialed};

    fn at(seconds: u64) -> Now {
        let mono = Duration::from_secs(seconds);
        Now {
            mono,
            boot: mono,
            unix_ms: seconds * 1_000,
        }
    }

    fn transport() -> Machine {
        let config =
            r#"{"connect_url":"wss://mesh.test/c","token":"t","hello":{"instance_id":"i"}}"#;
        let config = Config::parse_transport(config, &|_| None).unwrap();
        let settings = Settings::from_config(&config, "");
        let agent = Agent::new(config.identity, config.mode, config.svantic_url.as_str());
        Machine::new(settings, agent, config.credentials, 7)
    }

    /// Notes what the machine asks for; the connection that is to be dialed, if one is.
    fn note_all(observed: &mut Observed, machine: &mut Machine, now: Now) -> Option<ConnectionNo> {
        let mut dialed = None;
        while let Some(action) = machine.poll_action() {
            observed.note(now, &action);
            if let Action::Dial(dial) = action {
                dialed = Some(dial.conn);
            }
        }
        dialed
    }

    #[test]
    fn a_state_begins_when_it_changes_and_not_when_a_transport_awaits_its_welcome_in_it() {
        let (mut observed, mut machine) = (Observed::default(), transport());
        machine.connect(at(1), 1, Duration::from_mins(1));
        let conn = note_all(&mut observed, &mut machine, at(1)).expect("a dial");
        machine.handle_dialed(at(4), conn, Dialed::Open);
        note_all(&mut observed, &mut machine, at(4));
        let awaiting = observed.snapshot(&machine, at(6), true);
        let seen = ["state", "link", "since_ms"].map(|key| &awaiting[key]);
        assert_eq!(
            seen,
            [&json!("connecting"), &json!("handshaking"), &json!(5_000)]
        );
        let told = awaiting["events"].as_array().unwrap().iter();
        assert_eq!(told.filter(|event| event["name"] == "state").count(), 2);

        let welcome = r#"{"v":1,"type":"welcome","id":"w","payload":{"resumed":true}}"#;
        machine.handle_text(at(6), conn, welcome.into());
        note_all(&mut observed, &mut machine, at(6));
        let connected = observed.snapshot(&machine, at(8), true);
        let seen = ["state", "since_ms"].map(|key| &connected[key]);
        assert_eq!(seen, [&json!("connected"), &json!(2_000)]);
    }
}
