//! What the gateway does wrong on purpose: the fault switches, as JSON for scripts and as a type for tests.

use std::{num::NonZeroU64, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

/// All faults, every one off by default. As JSON, `POST /_gateway/faults` takes it; durations are seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Requests that are answered with a refusal; the first match counts. State stays as it was.
    pub refuse: Vec<Refusal>,
    /// The stage at which the gateway falls silent. Clearing it lets what was held go on.
    pub stall: Option<Stage>,
    /// What the registration reply carries as `connect_url` instead of the right one.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present_or_null"
    )]
    pub connect_url: Option<ConnectUrl>,
    /// The subprotocol of the 101 instead of `svantic.v1`; `Null` sends a 101 without one.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present_or_null"
    )]
    pub subprotocol: Option<Override>,
    /// Pings are never answered.
    pub no_pong: bool,
    /// Everything is read and nothing is answered: no reply, no frame, no pong. Clearing it lets what was held go out;
    /// the pongs and the answers to close frames are lost.
    pub silent: bool,
    /// How many bytes each socket gets in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<NonZeroU64>,
    /// Raw texts that are sent between the `hello` and the `welcome`.
    pub before_welcome: Vec<String>,
    /// Every ready socket is reset (RST) in this rhythm.
    #[serde(with = "seconds")]
    pub drop_every: Option<Duration>,
    /// In this rhythm every socket is closed with 1012 and connections are refused for one second.
    #[serde(with = "seconds")]
    pub restart_every: Option<Duration>,
    /// The seed of a random mix of resets, restarts, closes, refusals and mute times.
    pub chaos: Option<u64>,
    /// Fields added to the registration reply; they win over the regular ones.
    pub extra_register_fields: Map<String, Value>,
}

/// One refusal of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Which requests.
    pub endpoint: Endpoint,
    /// With which HTTP status.
    pub status: u16,
    /// The mesh's code; without one the body carries none, as a proxy's would.
    #[serde(default)]
    pub code: Option<String>,
    /// The text under `error`.
    #[serde(default)]
    pub message: Option<String>,
    /// The whole body, raw, instead of the JSON of `code` and `message`.
    #[serde(default)]
    pub body: Option<String>,
    /// The `Retry-After` header; as JSON a number will do for seconds.
    #[serde(default, deserialize_with = "text_or_number")]
    pub retry_after: Option<String>,
    /// The `Location` header, for redirects (security.md S-06).
    #[serde(default)]
    pub location: Option<String>,
    /// How often; `None` is for ever.
    #[serde(default)]
    pub times: Option<u32>,
}

impl Refusal {
    /// A refusal for ever, with nothing but a status.
    pub fn new(endpoint: Endpoint, status: u16) -> Self {
        Self {
            endpoint,
            status,
            code: None,
            message: None,
            body: None,
            retry_after: None,
            location: None,
            times: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if (300..600).contains(&self.status) {
            Ok(())
        } else {
            Err(format!("{} is not a status that refuses", self.status))
        }
    }

    /// The same with the mesh's `code`.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    /// The same, so many times only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// The requests an agent makes (protocol.md 2-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /auth/get_token`.
    Token,
    /// `POST /agents/register`.
    Register,
    /// `POST /agents/deregister`.
    Deregister,
    /// `POST /agents/heartbeat`.
    Heartbeat,
    /// `POST /sessions/init`.
    SessionInit,
    /// `POST /sessions/close`.
    SessionClose,
    /// `GET /agents/connect`.
    Connect,
}

/// Where the gateway falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The TCP connection stands, nothing is read or said.
    Accept,
    /// The TLS handshake is never answered (with `tls` only).
    Tls,
    /// The token request is read, no reply.
    Token,
    /// The registration is read, no reply.
    Register,
    /// The upgrade is read, no reply.
    Upgrade,
    /// The `hello` is read, no `welcome`.
    Welcome,
    /// The deregistration is read, no reply.
    Deregister,
    /// The HTTP heartbeat is read, no reply.
    Heartbeat,
    /// `sessions/init` is read, no reply.
    SessionInit,
    /// `sessions/close` is read, no reply.
    SessionClose,
    /// A close frame is never answered and the TCP connection is kept.
    Close,
}

macro_rules! from_str_as_json {
    ($($name:ty),*) => {$(
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                serde_json::from_value(Value::String(text.to_owned())).map_err(|error| error.to_string())
            }
        }
    )*};
}
from_str_as_json!(
    Endpoint,
    Stage,
    crate::DuplicateSocket,
    crate::A2aMethod,
    crate::Forgery
);

/// A value put in the place of the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Override {
    /// `null`, or nothing at all.
    Null,
    /// This text.
    Text(String),
}

/// What the registration reply carries as `connect_url`.
pub type ConnectUrl = Override;

impl Serialize for Override {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_some(text),
        }
    }
}

fn present_or_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Override>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(Some(text.map_or(Override::Null, Override::Text)))
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(seconds) => Ok(Some(seconds.to_string())),
        other => Err(D::Error::custom(format_args!(
            "retry_after {other} is neither text nor a number"
        ))),
    }
}

pub(crate) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    // The signature is serde's.
    #[allow(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|d| d.as_secs_f64()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            None => Ok(None),
            Some(seconds) => match Duration::try_from_secs_f64(seconds) {
                // Zero would be a busy loop of resets.
                Ok(duration) if !duration.is_zero() => Ok(Some(duration)),
                _ => Err(super::not_positive(seconds)),
            },
        }
    }
}

fn not_positive<E: serde::de::Error>(seconds: f64) -> E {
    E::custom(format_args!(
        "{seconds} is not a positive number of seconds"
    ))
}

impl Faults {
    /// From the JSON that `POST /_gateway/faults` takes.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        let faults: Self = serde_json::from_str(json)?;
        faults.check().map_err(serde_json::Error::custom)?;
        Ok(faults)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.refuse.iter().try_for_each(Refusal::check)
    }

    /// Takes one use of the first refusal for `endpoint`.
    pub(crate) fn take_refusal(&mut self, endpoint: Endpoint) -> Option<Refusal> {
        let at = self.refuse.iter().position(|r| r.endpoint == endpoint)?;
        let taken = self.refuse[at].clone();
        match &mut self.refuse[at].times {
            None => {}
            Some(0) => {
                self.refuse.remove(at);
                return self.take_refusal(endpoint);
            }
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    self.refuse.remove(at);
                }
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_there_and_back_and_tells_absent_from_null() {
        let faults = Faults::from_json(
            r#"{"refuse":[{"endpoint":"session_init","status":429,"retry_after":"2","times":1}],
                "stall":"welcome","connect_url":null,"subprotocol":"other","drop_every":0.5}"#,
        )
        .unwrap();
        assert_eq!(faults.connect_url, Some(ConnectUrl::Null));
        assert_eq!(faults.subprotocol, Some(Override::Text("other".into())));
        assert_eq!(faults.drop_every, Some(Duration::from_millis(500)));
        assert_eq!(faults.stall, Some(Stage::Welcome));
        let again = Faults::from_json(&serde_json::to_string(&faults).unwrap()).unwrap();
        assert_eq!(again, faults);
        assert_eq!(Faults::from_json("{}").unwrap(), Faults::default());
        assert!(Faults::from_json(r#"{"stalll":"welcome"}"#).is_err());
        assert!(Faults::from_json(r#"{"drop_every":0}"#).is_err());
        assert!(Faults::from_json(r#"{"refuse":[{"endpoint":"token","status":99}]}"#).is_err());
    }

    #[test]
    fn a_counted_refusal_is_used_up() {
        let mut faults = Faults {
            refuse: vec![Refusal::new(Endpoint::Token, 500).times(2)],
            ..Faults::default()
        };
        assert!(faults.take_refusal(Endpoint::Register).is_none());
        assert!(faults.take_refusal(Endpoint::Token).is_some());
        assert!(faults.take_refusal(Endpoint::Token).is_some());
        assert!(faults.take_refusal(Endpoint::Token).is_none());
    }
}
