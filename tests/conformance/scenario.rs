//! A scenario as it is written: `conformance/README.md` is its manual.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use svantic_gateway::{DuplicateSocket, Faults, Options, Script};

use crate::compiler;
use crate::expectation::Expectation;
use crate::step::Step;

/// Who the driver is, to the gateway.
pub(crate) const INSTANCE: &str = "agent";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What it shows, in a sentence.
    #[serde(rename = "about")]
    pub(crate) _about: String,
    /// The promises and transitions of the specification that it is evidence for.
    pub(crate) proves: Vec<String>,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    gateway: GatewayOptions,
    /// What the gateway does by itself, as it reads it.
    #[serde(default)]
    script: Vec<Value>,
    #[serde(default)]
    handlers: BTreeMap<String, Handler>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) end: End,
    pub(crate) expect: Expectation,
    #[serde(default = "half_a_minute")]
    pub(crate) limit_s: u64,
}

fn half_a_minute() -> u64 {
    30
}

/// How the driver is told to leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    #[default]
    Eof,
    Quit,
    Sigterm,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GatewayOptions {
    token_ttl: Option<f64>,
    dispatch_timeout: Option<f64>,
    resend_unanswered: Option<bool>,
    duplicate_socket: Option<DuplicateSocket>,
    drops_late_results: Option<bool>,
    server_ping: Option<f64>,
    resumed_window: Option<f64>,
    faults: Option<Value>,
    dispatch_secret: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Handler {
    Echo {},
    Sleep {
        ms: u64,
    },
    Fail {
        #[serde(default)]
        code: String,
        message: String,
    },
    Block {},
    Big {
        bytes: u64,
    },
    Raw {
        text: String,
    },
}

pub(crate) fn directory() -> PathBuf {
    compiler::root().join("conformance/scenarios")
}

/// Reads the scenario of this name.
pub(crate) fn read(name: &str) -> Result<Scenario, String> {
    let path = directory().join(format!("{name}.json"));
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let scenario = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if scenario.name != name {
        return Err(format!(
            "{}: its name is {:?}",
            path.display(),
            scenario.name
        ));
    }
    Ok(scenario)
}

pub(crate) fn parse(text: &str) -> Result<Scenario, String> {
    let scenario: Scenario = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // As in the specification: R-04b, T33A, I1.
    let known = |what: &String| ["R-", "T", "I"].iter().any(|kind| what.starts_with(kind));
    if scenario.proves.is_empty() || !scenario.proves.iter().all(known) {
        return Err("it must say which promises and transitions it proves".to_owned());
    }
    scenario.options()?;
    Ok(scenario)
}

impl Scenario {
    /// The gateway that the scenario asks for.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let seconds =
            |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
        let wanted = &self.gateway;
        let mut options = Options::default();
        if let Some(ttl) = wanted.token_ttl {
            options.token_ttl = seconds(ttl)?;
        }
        if let Some(timeout) = wanted.dispatch_timeout {
            options.dispatch_timeout = seconds(timeout)?;
        }
        if let Some(resend) = wanted.resend_unanswered {
            options.resend_unanswered = resend;
        }
        if let Some(duplicate) = wanted.duplicate_socket {
            options.duplicate_socket = duplicate;
        }
        if let Some(drops) = wanted.drops_late_results {
            options.drops_late_results = drops;
        }
        options.server_ping = wanted.server_ping.map(seconds).transpose()?;
        options.resumed_window = wanted.resumed_window.map(seconds).transpose()?;
        options.dispatch_secret.clone_from(&wanted.dispatch_secret);
        if let Some(faults) = &wanted.faults {
            options.faults =
                Faults::from_json(&faults.to_string()).map_err(|error| error.to_string())?;
        }
        if !self.script.is_empty() {
            let script = Value::from(self.script.clone()).to_string();
            options.script =
                Some(Script::from_json(&script).map_err(|error| format!("script: {error}"))?);
        }
        Ok(options)
    }

    /// The client's configuration for this gateway; `null` in the scenario removes a key.
    pub(crate) fn config(&self, svantic_url: &str, delivery: &str) -> Value {
        let mut config = json!({
            "name": "conformance", "description": "a conformance driver", "instance_id": INSTANCE,
            "svantic_url": svantic_url, "delivery": delivery, "reconnect_delays_ms": [50],
        });
        for (key, value) in &self.config {
            config[key] = value.clone();
        }
        let mut config = config.take();
        if let Some(fields) = config.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        config
    }

    /// The handlers as the driver takes them: `NAME:KIND:ARGUMENT`.
    pub(crate) fn handlers(&self) -> Vec<String> {
        let argument = |handler: &Handler| match handler {
            Handler::Echo {} => "echo:".to_owned(),
            Handler::Sleep { ms } => format!("sleep:{ms}"),
            Handler::Fail { code, message } => format!("fail:{code}:{message}"),
            Handler::Block {} => "block:".to_owned(),
            Handler::Big { bytes } => format!("big:{bytes}"),
            Handler::Raw { text } => format!("raw:{text}"),
        };
        let handlers = self.handlers.iter();
        handlers
            .map(|(name, handler)| format!("{name}:{}", argument(handler)))
            .collect()
    }
}
