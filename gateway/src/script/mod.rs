//! Scripts: what the gateway does by itself, at a time or on an event, as JSON (reliability.md 7.3).
//!
//! A script is an array of steps `{"at": SECONDS | "on": EVENT, "do": ACTION}`; each step happens once.

mod action;
mod run;

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use action::Action;
pub(crate) use run::{Later, Running, run};

/// What a step can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// A `welcome` was written.
    Welcome,
    /// A registration succeeded; its reply has not left yet.
    Register,
    /// A token was made; its reply has not left yet.
    Token,
    /// A `dispatch` frame was written, or the POST of one begins.
    Dispatch,
    /// An answer to a dispatch came, the first or a further one.
    Answer,
    /// A heartbeat came, by frame or HTTP.
    Heartbeat,
    /// A socket ended or was taken out of use.
    Disconnect,
}

#[derive(Debug, Clone)]
pub(crate) enum Trigger {
    At(Duration),
    /// The last of so many events, of this instance or of any.
    On(Event, u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) trigger: Trigger,
    pub(crate) after: Duration,
    pub(crate) instance: Option<String>,
    pub(crate) action: Action,
}

/// A script that has been read and found good.
///
/// ```
/// let script = svantic_gateway::Script::from_json(
///     r#"[{"on": "welcome", "nth": 2, "do": {"close": {"code": 1012, "reason": "restart"}}},
///         {"on": "dispatch", "instance": "box-1", "after": 0.5, "do": "rst"},
///         {"at": 10, "do": {"http": {"endpoint": "connect", "status": 503, "times": 3}}}]"#,
/// );
/// assert_eq!(script.unwrap().len(), 3);
/// ```
///
/// `at` counts in seconds from the moment the script is set. `on` is one of `welcome`, `register`, `token`,
/// `dispatch`, `answer`, `heartbeat`, `disconnect`; `nth` (from 1) counts such events since then, only those of
/// `instance` if there is one (a token request has none). `after` waits so many seconds more.
///
/// Actions; one without fields, or with none given, is a plain string:
///
/// | action | fields | what happens |
/// |---|---|---|
/// | `close` | `code` (1000), `reason` | the sockets get a close frame |
/// | `rst` | | the sockets are reset |
/// | `supersede` | | the sockets get 4409 |
/// | `forget` | | the registration is dropped and the sockets reset: the next upgrade gets 404 |
/// | `dup` | | the last dispatch is sent again, byte for byte |
/// | `dispatch` | `skill_id`, `args`, `id`, `count` (1), `forge`, `method` | dispatches; with a `count` the ids are `id-1`, `id-2`, …; the last two as in [`DispatchRequest`](crate::DispatchRequest) |
/// | `raw` | `text` | this text frame is sent |
/// | `stall` | `stage` | as the fault `stall` |
/// | `silent` | `seconds` | everything is read and nothing answered, not even a ping; what was held goes out afterwards |
/// | `http` | `endpoint`, `status`, `code`, `message`, `body`, `retry_after`, `location`, `times` | as one entry of the fault `refuse` |
/// | `redirect` | `endpoint`, `location`, `status` (307), `times` | the same with a `Location` |
/// | `slow` | `bytes_per_second` | as the fault `slow` |
/// | `expire_token` | | every token issued so far is bad |
/// | `set_faults` | those of [`Faults`](crate::Faults) | all faults are replaced |
/// | `clear` | | all faults are off |
///
/// What is done to sockets is done to those of `instance`; without one to those of the instance of the event; without
/// that to all. The actions from `stall` on are for the whole gateway.
#[derive(Debug, Clone)]
pub struct Script {
    pub(crate) steps: Vec<Step>,
}

/// How far a script is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScriptStatus {
    /// How many steps it has.
    pub steps: usize,
    /// How many have happened.
    pub done: usize,
    /// The numbers, from 1, of the steps that found nothing to act on: no socket to close, no dispatch to repeat.
    pub without_effect: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at: Option<f64>,
    on: Option<Event>,
    nth: Option<u64>,
    instance: Option<String>,
    after: Option<f64>,
    #[serde(rename = "do")]
    action: Value,
}

/// Seconds, 31 years at most: for ever, and no overflow in any clock.
fn seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    if (0.0..1e9).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{name} {seconds} is not a number of seconds"))
    }
}

impl Step {
    fn read(step: Value) -> Result<Self, String> {
        let step: Written = serde_json::from_value(step).map_err(|error| error.to_string())?;
        let trigger = match (step.at, step.on, step.nth) {
            (Some(at), None, None) => Trigger::At(seconds("at", at)?),
            (None, Some(_), Some(0)) => return Err("nth counts from 1".to_owned()),
            (None, Some(event), nth) => Trigger::On(event, nth.unwrap_or(1)),
            (Some(_), None, Some(_)) => return Err("nth belongs to on, not to at".to_owned()),
            _ => return Err("needs either at or on".to_owned()),
        };
        if matches!(trigger, Trigger::On(Event::Token, _)) && step.instance.is_some() {
            return Err("a token request has no instance to wait for".to_owned());
        }
        Ok(Self {
            trigger,
            after: seconds("after", step.after.unwrap_or_default())?,
            instance: step.instance,
            action: Action::read(step.action)?,
        })
    }
}

impl Script {
    /// From the JSON that `POST /_gateway/script` takes. The error says which step is wrong and why.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let steps: Vec<Value> = serde_json::from_str(json)
            .map_err(|error| format!("a script is a JSON array of steps: {error}"))?;
        let steps = steps.into_iter().enumerate().map(|(at, step)| {
            Step::read(step).map_err(|error| format!("step {}: {error}", at + 1))
        });
        Ok(Self {
            steps: steps.collect::<Result<_, _>>()?,
        })
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none; such a script ends the one before it.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(json: &str) -> Result<Self, String> {
        Self::from_json(json)
    }
}

#[cfg(test)]
mod tests {
    use super::Script;

    #[test]
    fn every_action_is_read_in_its_shortest_form() {
        for action in [
            r#""close""#,
            r#"{"close":{"code":4000,"reason":"why"}}"#,
            r#""rst""#,
            r#"{"stall":{"stage":"welcome"}}"#,
            r#"{"silent":{"seconds":1.5}}"#,
            r#"{"http":{"endpoint":"token","status":429,"retry_after":2,"times":1}}"#,
            r#"{"http":{"endpoint":"connect","status":503,"retry_after":"2","code":"X"}}"#,
            r#"{"redirect":{"endpoint":"register","location":"/elsewhere"}}"#,
            r#"{"slow":{"bytes_per_second":100}}"#,
            r#""dup""#,
            r#"{"dispatch":{"skill_id":"echo","args":{},"id":"d","count":2}}"#,
            r#"{"dispatch":{"skill_id":"echo","forge":"expired","method":"SendMessage"}}"#,
            r#"{"raw":{"text":"{}"}}"#,
            r#"{"forget":{}}"#,
            r#""supersede""#,
            r#""expire_token""#,
            r#""clear""#,
            r#"{"set_faults":{"no_pong":true}}"#,
        ] {
            let script = format!(r#"[{{"on":"welcome","do":{action}}}]"#);
            assert_eq!(Script::from_json(&script).map(|s| s.len()), Ok(1));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_step() {
        for (step, why) in [
            (r#"{"do":"rst"}"#, "either at or on"),
            (r#"{"at":1,"on":"welcome","do":"rst"}"#, "either at or on"),
            (r#"{"at":-1,"do":"rst"}"#, "at -1"),
            (r#"{"at":1,"nth":2,"do":"rst"}"#, "nth belongs to on"),
            (r#"{"on":"welcome","nth":0,"do":"rst"}"#, "from 1"),
            (r#"{"on":"wellcome","do":"rst"}"#, "wellcome"),
            (r#"{"at":1}"#, "missing field `do`"),
            (r#"{"at":1,"du":"rst","do":"rst"}"#, "unknown field `du`"),
            (r#"{"at":1,"do":"reset"}"#, "unknown variant `reset`"),
            (
                r#"{"at":1,"do":{"rst":{"code":1}}}"#,
                "unknown field `code`",
            ),
            (r#"{"at":1,"do":{"rst":{},"dup":{}}}"#, "one action"),
            (r#"{"at":1,"do":7}"#, "one action"),
            (r#"{"at":1,"do":"raw"}"#, "missing field `text`"),
            (r#"{"at":1,"do":{"silent":{"seconds":0}}}"#, "seconds"),
            (
                r#"{"at":1,"do":{"slow":{"bytes_per_second":0}}}"#,
                "nonzero",
            ),
            (
                r#"{"at":1,"do":{"http":{"endpoint":"token","status":99}}}"#,
                "99 is not a status",
            ),
            (
                r#"{"at":1,"do":{"set_faults":{"stalll":"x"}}}"#,
                "unknown field `stalll`",
            ),
            (r#"{"on":"token","instance":"a","do":"rst"}"#, "no instance"),
        ] {
            let script = format!(r#"[{{"at":0,"do":"rst"}},{step}]"#);
            let error = Script::from_json(&script).unwrap_err();
            assert!(error.starts_with("step 2: "), "{step}: {error}");
            assert!(error.contains(why), "{step}: {error}");
        }
        assert!(Script::from_json("{}").unwrap_err().contains("array"));
    }
}
