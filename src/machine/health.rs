//! Whether work can arrive (`reliability.md` R-38): decided by the link, the token and the application, never by whether work
//! does arrive.

use std::time::Duration;

use super::time::Now;
use super::{LinkState, Machine};

/// How long a peer that has been asked for a sign of life may take before work is no longer expected from it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Machine {
    /// Why no work can arrive; `None` when it can.
    pub fn not_ready(&self, now: Now) -> Option<String> {
        if self.draining() {
            return Some("the agent is draining: it takes no new work".to_owned());
        }
        if self.settings.local && !self.link.is_final() {
            let stalled = "the application does not pick dispatches up";
            return self.pick_up.is_stalled().then(|| stalled.to_owned());
        }
        match self.link {
            LinkState::Ready | LinkState::Hosted => {}
            LinkState::Suspect => {
                let last = self.connection.as_ref().map(|c| c.liveness.last_inbound());
                let silent = now.mono.saturating_sub(last.unwrap_or_default());
                if silent >= self.settings.timing.ping + PATIENCE {
                    let silent = silent.as_millis();
                    return Some(format!("nothing has come from the mesh for {silent} ms"));
                }
            }
            other => {
                return Some(format!(
                    "there is no link to the mesh: it is {}",
                    other.name()
                ));
            }
        }
        if !self.auth.is_valid(now.mono) {
            return Some("the token is no longer valid".to_owned());
        }
        if self.pick_up.is_stalled() {
            return Some("the application does not pick dispatches up".to_owned());
        }
        None
    }

    /// By how much the machine's next timer is late: more than moments mean that nobody drives it.
    pub fn late_by(&self, now: Now) -> Duration {
        let due = self.poll_timeout().unwrap_or(now.mono);
        now.mono.saturating_sub(due)
    }
}
