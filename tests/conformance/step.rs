//! The steps of a scenario: what is done when something has been seen.

use serde::Deserialize;
use serde_json::Value;
use svantic_gateway::{A2aMethod, DispatchRequest, Faults, Forgery, Gateway};

use crate::pattern;
use crate::scenario::INSTANCE;

/// Done once, when the `nth` thing that `after` describes is seen.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    after: Value,
    #[serde(default = "first")]
    nth: u64,
    /// Commands for the driver, given after the actions.
    #[serde(default)]
    say: OneOrMany<String>,
    /// What the gateway does.
    #[serde(default, rename = "do")]
    actions: OneOrMany<Action>,
    #[serde(skip)]
    seen: u64,
}

fn first() -> u64 {
    1
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::Many(all) => all,
            Self::One(one) => std::slice::from_ref(one),
        }
    }
}

/// The gateway's actions, spelled as in its scripts.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    Close {
        code: u16,
        #[serde(default)]
        reason: String,
    },
    Rst,
    Forget,
    Dup,
    ExpireToken,
    Dispatch {
        skill_id: Option<String>,
        args: Option<Value>,
        id: String,
        #[serde(default)]
        traceparent: Option<String>,
        #[serde(default)]
        session_context: Option<Value>,
        #[serde(default)]
        forge: Option<Forgery>,
        #[serde(default)]
        method: A2aMethod,
        #[serde(default)]
        loses_first_reply: bool,
    },
    Raw {
        text: String,
    },
    SetFaults(Value),
    Clear,
}

impl Step {
    /// Whether this observation sets the step off, which happens once.
    pub(crate) fn is_due(&mut self, observation: &Value) -> bool {
        let it_is = pattern::matches(&self.after, observation);
        self.seen += u64::from(it_is);
        it_is && self.seen == self.nth
    }

    pub(crate) fn is_done(&self) -> bool {
        self.seen >= self.nth
    }

    /// For people.
    pub(crate) fn trigger(&self) -> String {
        format!(
            "number {} of {}, seen {} times",
            self.nth, self.after, self.seen
        )
    }

    pub(crate) fn commands(&self) -> &[String] {
        self.say.as_slice()
    }

    /// Lets the gateway do its part. An action that finds nothing to act on is an error.
    pub(crate) fn act(&self, gateway: &Gateway) -> Result<(), String> {
        for action in self.actions.as_slice() {
            if !action.perform(gateway)? {
                return Err(format!("{action:?} found nothing to act on"));
            }
        }
        Ok(())
    }
}

impl Action {
    fn perform(&self, gateway: &Gateway) -> Result<bool, String> {
        let faults = |faults: &Value| {
            Faults::from_json(&faults.to_string()).map_err(|error| error.to_string())
        };
        Ok(match self {
            Self::Close { code, reason } => gateway.close(INSTANCE, *code, reason),
            Self::Rst => gateway.abort(INSTANCE),
            Self::Forget => gateway.forget(INSTANCE),
            Self::Dup => gateway.repeat_last_dispatch(INSTANCE),
            Self::ExpireToken => {
                gateway.expire_tokens();
                true
            }
            Self::Raw { text } => gateway.send_text(INSTANCE, text),
            Self::Dispatch {
                skill_id,
                args,
                id,
                traceparent,
                session_context,
                forge,
                method,
                loses_first_reply,
            } => {
                // Whoever waits for it is the ledger.
                let _pending = gateway.begin_dispatch(DispatchRequest {
                    skill_id: skill_id.clone(),
                    args: args.clone(),
                    instance_id: Some(INSTANCE.to_owned()),
                    id: Some(id.clone()),
                    traceparent: traceparent.clone(),
                    session_context: session_context.clone(),
                    forge: *forge,
                    method: *method,
                    loses_first_reply: *loses_first_reply,
                    ..DispatchRequest::default()
                });
                true
            }
            Self::SetFaults(wanted) => {
                gateway.set_faults(faults(wanted)?);
                true
            }
            Self::Clear => {
                gateway.set_faults(Faults::default());
                true
            }
        })
    }
}
