//! What a step does: each action is something that the gateway can do anyway.

use std::{num::NonZeroU64, time::Duration};

use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value, json};

use crate::{
    connection::Command,
    dispatch::DispatchRequest,
    faults::{Endpoint, Faults, Refusal, Stage},
    hosted::{call::A2aMethod, forgery::Forgery},
    records::FrameKind,
    shared::Shared,
};

const CLOSE_SUPERSEDED: u16 = 4409;
/// The limit of a close frame's payload, less its code.
const REASON_LIMIT_BYTES: usize = 123;

/// One action; see [`Script`](crate::Script) for the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    Close {
        #[serde(default = "normal_closure")]
        code: u16,
        #[serde(default)]
        reason: String,
    },
    Rst {},
    Supersede {},
    Forget {},
    Dup {},
    Dispatch {
        skill_id: String,
        #[serde(default)]
        args: Option<Value>,
        #[serde(default)]
        id: Option<String>,
        #[serde(default = "once")]
        count: u32,
        #[serde(default)]
        forge: Option<Forgery>,
        #[serde(default)]
        method: A2aMethod,
    },
    Raw {
        text: String,
    },
    Stall {
        stage: Stage,
    },
    Silent {
        #[serde(deserialize_with = "positive")]
        seconds: Duration,
    },
    Http(Refusal),
    Redirect {
        endpoint: Endpoint,
        location: String,
        #[serde(default = "temporary_redirect")]
        status: u16,
        #[serde(default)]
        times: Option<u32>,
    },
    Slow {
        bytes_per_second: NonZeroU64,
    },
    ExpireToken {},
    SetFaults(Box<Faults>),
    Clear {},
}

fn normal_closure() -> u16 {
    1000
}

fn once() -> u32 {
    1
}

fn temporary_redirect() -> u16 {
    307
}

fn positive<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = crate::faults::seconds::deserialize(deserializer)?;
    duration.ok_or_else(|| D::Error::custom("seconds must be a positive number"))
}

impl Action {
    /// From `"name"` or `{"name": {…}}`.
    pub(crate) fn read(action: Value) -> Result<Self, String> {
        let action = match action {
            Value::String(name) => {
                let mut named = Map::new();
                named.insert(name, json!({}));
                Value::Object(named)
            }
            Value::Object(named) if named.len() == 1 => Value::Object(named),
            _ => return Err(r#"do is one action: "name" or {"name": {…}}"#.to_owned()),
        };
        let action: Self = serde_json::from_value(action).map_err(|error| error.to_string())?;
        match &action {
            Self::Http(refusal) => refusal.check()?,
            Self::Redirect { status, .. } if !(300..400).contains(status) => {
                return Err(format!("{status} is not a status that redirects"));
            }
            Self::SetFaults(faults) => faults.check()?,
            Self::Close { reason, .. } if reason.len() > REASON_LIMIT_BYTES => {
                return Err(format!("reason is longer than {REASON_LIMIT_BYTES} bytes"));
            }
            _ => {}
        }
        Ok(action)
    }

    /// Does it; false if there was nothing to do it to. `target` is whose sockets, `None` everybody's.
    pub(crate) fn perform(self, shared: &Shared, target: Option<&str>) -> bool {
        match self {
            Self::Close { code, reason } => return shared.close_sockets(target, code, &reason),
            Self::Rst {} => return shared.abort_sockets(target),
            Self::Supersede {} => {
                return shared.close_sockets(target, CLOSE_SUPERSEDED, "superseded");
            }
            Self::Forget {} => {
                let forgotten = for_each(shared, target, |id| shared.forget(id));
                return shared.abort_sockets(target) | forgotten;
            }
            Self::Dup {} => {
                return for_each(shared, target, |id| {
                    shared.change(|state| state.repeat_last_dispatch(id))
                });
            }
            Self::Raw { text } => {
                return for_each(shared, target, |id| {
                    shared.send(id, FrameKind::Text, &text, Command::Text(text.clone()))
                });
            }
            Self::Dispatch {
                skill_id,
                args,
                id,
                count,
                forge,
                method,
            } => {
                let request = DispatchRequest {
                    skill_id: Some(skill_id),
                    args,
                    instance_id: target.map(str::to_owned),
                    id,
                    forge,
                    method,
                    ..DispatchRequest::default()
                };
                dispatch(shared, request, count);
            }
            Self::Stall { stage } => shared.change_faults(|now| now.stall = Some(stage)),
            Self::Silent { seconds } => shared.fall_silent(seconds),
            Self::Http(refusal) => shared.change_faults(|now| now.refuse.push(refusal)),
            Self::Redirect {
                endpoint,
                location,
                status,
                times,
            } => {
                let mut refusal = Refusal::new(endpoint, status);
                refusal.location = Some(location);
                refusal.times = times;
                shared.change_faults(|now| now.refuse.push(refusal));
            }
            Self::Slow { bytes_per_second } => {
                shared.change_faults(|now| now.slow = Some(bytes_per_second));
            }
            Self::ExpireToken {} => shared.signer.invalidate_all(),
            Self::SetFaults(faults) => shared.replace_faults(*faults),
            Self::Clear {} => shared.replace_faults(Faults::default()),
        }
        true
    }
}

fn for_each(shared: &Shared, target: Option<&str>, act: impl Fn(&str) -> bool) -> bool {
    let ids: Vec<String> = match target {
        Some(id) => vec![id.to_owned()],
        None => shared.read(|state| state.agents.keys().cloned().collect()),
    };
    // Not `any`, which would stop at the first.
    ids.iter().filter(|id| act(id)).count() > 0
}

fn dispatch(shared: &Shared, mut request: DispatchRequest, count: u32) {
    let id = request.id.take();
    for number in 1..=count {
        request.id = id.as_ref().map(|id| match count {
            1 => id.clone(),
            _ => format!("{id}-{number}"),
        });
        shared.change(|state| state.begin_dispatch(&request, shared.options.dispatch_timeout));
    }
}
