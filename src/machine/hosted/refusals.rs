//! Dispatches that were not the mesh's: counted by cause, and told now and then (`security.md` S-04, S-17). Whoever sent
//! them learns no cause.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::machine::action::{CallId, Response};
use crate::machine::time::Now;
use crate::rare::at_rest;

/// At most one line of the log in so long: a flood of forgeries does not fill it.
const TOLD_APART: Duration = Duration::from_mins(1);

/// The cause where a secret is required and none is configured.
pub const UNCONFIGURED: &str = "unconfigured";
/// The cause where a peer has failed too often lately to be listened to.
pub const RATE_LIMITED: &str = "rate_limited";
/// The cause where too many are being verified already.
pub const TOO_MANY: &str = "too_many_unauthenticated";

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(in crate::machine) struct AuthRefusals {
    by_cause: BTreeMap<&'static str, u64>,
    told_at: Option<Duration>,
    untold: u64,
}

at_rest!(AuthRefusals);

impl AuthRefusals {
    /// Counts one; how many there were since the log was last told, if it is to be told now.
    fn count(&mut self, now: Duration, cause: &'static str) -> Option<u64> {
        *self.by_cause.entry(cause).or_default() += 1;
        self.untold += 1;
        let due = self
            .told_at
            .is_none_or(|at| now.saturating_sub(at) >= TOLD_APART);
        due.then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.untold)
        })
    }

    pub(in crate::machine) fn to_json(&self) -> Value {
        json!(self.by_cause)
    }
}

impl Machine {
    /// A call, or a frame, was refused because it could not be believed.
    pub fn call_refused(&mut self, now: Now, cause: &'static str) {
        let Some(count) = self.auth_refusals.count(now.mono, cause) else {
            return;
        };
        let hint = match cause {
            UNCONFIGURED => "; set SVANTIC_DISPATCH_SECRET or `signing_secret`",
            "bad_signature" | "secret_mismatch" => "; is the secret that of this agent?",
            "expired" => "; do the clocks agree?",
            _ => "",
        };
        let message = match count {
            1 => format!("a dispatch was refused that is not authenticated: {cause}{hint}"),
            _ => format!(
                "{count} dispatches were refused that are not authenticated, the last one: {cause}{hint}"
            ),
        };
        self.log("warn", message);
    }

    pub(in crate::machine) fn unauthenticated(
        &mut self,
        now: Now,
        call: CallId,
        cause: &'static str,
    ) {
        self.call_refused(now, cause);
        self.respond(call, Response::Unauthenticated);
    }

    /// Says once what an agent that is reached by POST is in for without a secret.
    pub(in crate::machine) fn tell_unguarded(&mut self) {
        let guarded = self.settings.verification.is_some() || self.settings.local;
        if guarded || std::mem::replace(&mut self.told_unguarded, true) {
            return;
        }
        let ways = "set SVANTIC_DISPATCH_SECRET, or `signing_secret` in the configuration";
        if self.settings.auth_required {
            let text = format!(
                "`dispatch_auth` is required and there is no secret to verify by, so every dispatch is refused: {ways}"
            );
            self.log("error", text);
        } else {
            let text = format!(
                "dispatches are not authenticated: whoever reaches the agent's URL can call it; {ways}"
            );
            self.log("warn", text);
        }
    }
}
