//! The configuration of a connector: one JSON object, completed from the environment, checked as a whole
//! before anything else happens (`protocol.md` section 1).

mod credentials;
mod delivery;
mod environment;
mod fields;
mod hosted;
mod identity;
mod listen;
mod place;
mod proxy;
mod transport;

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

pub use delivery::DeliveryMode;
pub use environment::{Environment, process};
pub(crate) use fields::{Fields, is_secret};
pub(crate) use hosted::clock_skew;
pub use hosted::{DISPATCH_SECRET_VARIABLES, DispatchSecrets, Hosted};
pub use listen::Listen;
pub use place::Place;
pub use proxy::{ProxySetting, Variable};
pub use transport::{FirstHello, Transport};

use crate::error::{Error, ErrorKind};
use crate::machine::protections::Protections;
use crate::protocol::limits::{DEFAULT_MAX_FRAME_BYTES, MAX_FRAME_BYTES};
use crate::protocol::origin::BaseUrl;

/// How dispatches reach the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentMode {
    /// Over an outbound WebSocket.
    Connected,
    /// By POST to the agent's public URL.
    Hosted,
}

impl DeploymentMode {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Hosted => "hosted",
        }
    }
}

/// What the connector shows to the mesh.
pub enum Credentials {
    /// Exchanged for a JWT, and again before it expires.
    Exchange {
        /// `client_id`.
        client_id: String,
        /// `client_secret`.
        client_secret: SecretString,
        /// `client_secret_next`: shown when the first is refused, so that a secret can be rotated.
        client_secret_next: Option<SecretString>,
    },
    /// A JWT issued elsewhere; never renewed by the library.
    Static(SecretString),
    /// `token_provider`: the application issues a JWT whenever it is asked for one. It may have given the first.
    Provider(Option<SecretString>),
}

/// Who the agent is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `name`.
    pub name: String,
    /// `description`.
    pub description: String,
    /// `version`.
    pub version: String,
    /// `agent_type`.
    pub agent_type: String,
    /// `instance_id`.
    pub instance_id: String,
    /// Keeps a generated id from being given to another agent of this process.
    pub place: Option<Place>,
    /// `public_url`, without a trailing slash; its presence means hosted.
    pub public_url: Option<String>,
    /// `endpoint_path`, below that: where calls are sent.
    pub endpoint_path: String,
    /// `context`: live metadata on the card.
    pub context: Option<Box<Value>>,
    /// `learning`: passed through at registration.
    pub learning: Option<Box<Value>>,
    /// `mcp_servers`: passed through at registration.
    pub mcp_servers: Option<Box<Value>>,
    /// `dispatch_auth`: `{scheme, required}`, sent at registration.
    pub dispatch_auth: Option<Box<Value>>,
    /// `max_concurrent_sessions`; 0 is unlimited.
    pub max_concurrent_sessions: u32,
}

/// Every time span that the state machine lives by (`reliability.md` 5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// One HTTP call.
    pub http: Duration,
    /// One stage of a dial: TCP, a proxy's CONNECT, TLS, upgrade.
    pub stage: Duration,
    /// The stage before them, which takes milliseconds where it works at all: DNS.
    pub dns: Duration,
    /// A whole attempt, from the dial to the welcome: stages that each keep their limit do not add up to a minute.
    pub attempt: Duration,
    /// From the 101 to the welcome.
    pub welcome: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Silence after which we ping.
    pub ping: Duration,
    /// Silence after which the peer counts as dead.
    pub dead: Duration,
    /// From a dispatch's receipt to the end of the mesh's patience.
    pub dispatch: Duration,
    /// How long `disconnect` lets running dispatches finish by default.
    pub drain: Duration,
    /// How long a dispatch may wait for the application to pick it up.
    pub pick_up: Duration,
    /// The close handshake.
    pub close: Duration,
    /// The farewell call to `/agents/deregister`.
    pub deregister: Duration,
    /// How long the link must have been ready before the back-off starts over.
    pub stable: Duration,
    /// How long the application has to issue a token that it is asked for.
    pub token_provider: Duration,
}

/// A checked configuration.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the JSON"
)]
pub struct Config {
    /// `svantic_url`.
    pub svantic_url: BaseUrl,
    /// `client_id` and `client_secret`, or `token`, or `token_provider`.
    pub credentials: Credentials,
    /// `deployment_mode`.
    pub mode: DeploymentMode,
    /// Who the agent is.
    pub identity: Identity,
    /// `delivery` and `workers`.
    pub delivery: DeliveryMode,
    /// `busy_poll_us`: for how long after traffic the I/O thread does not go to sleep.
    pub busy_poll: Duration,
    /// `timeout_ms`: the default of every operation that waits.
    pub timeout: Duration,
    /// The connector's time spans.
    pub timing: Timing,
    /// `allowed_connect_hosts`.
    pub allowed_connect_hosts: Vec<String>,
    /// `allow_insecure`.
    pub allow_insecure: bool,
    /// `ca_file`: certificates trusted beside the platform's.
    pub ca_file: Option<String>,
    /// `client_cert_file` and `client_key_file`: what is shown to a mesh that asks who connects.
    pub client_certificate: Option<(String, String)>,
    /// `proxy`, or the environment's.
    pub proxy: ProxySetting,
    /// `max_frame_bytes`.
    pub max_frame_bytes: usize,
    /// `max_in_flight`: how many dispatches run at once; 0 is limited by `max_pending_dispatches` only.
    pub max_in_flight: usize,
    /// `max_pending_dispatches`: how many dispatches may be with the application, started or not.
    pub max_pending_dispatches: usize,
    /// `max_queued_dispatches`: how many dispatches may wait for one of those places.
    pub max_queued_dispatches: usize,
    /// `auto_reconnect`.
    pub auto_reconnect: bool,
    /// `reconnect_delays_ms`: replaces every redial window.
    pub reconnect_delays: Option<Vec<Duration>>,
    /// `fail_fast`: the first connect fails at its first failure, passing or not.
    pub fail_fast: bool,
    /// `redact_handler_errors`: only declared errors keep their message.
    pub redact_handler_errors: bool,
    /// What is served by POST, and to whom.
    pub hosted: Hosted,
    /// Set for a transport: a link without an agent above it.
    pub transport: Option<Transport>,
    #[doc(hidden)]
    pub protections: Protections,
}

const KEYS: &[&str] = &[
    "svantic_url",
    "client_id",
    "client_secret",
    "client_secret_next",
    "token",
    "token_provider",
    "deployment_mode",
    "dispatch_auth",
    "signing_secret",
    "signing_secret_next",
    "shared_secret",
    "shared_secret_next",
    "clock_skew_s",
    "endpoint_path",
    "default_capability",
    "listen",
    "local",
    "name",
    "description",
    "public_url",
    "version",
    "agent_type",
    "instance_id",
    "context",
    "learning",
    "mcp_servers",
    "max_concurrent_sessions",
    "delivery",
    "workers",
    "busy_poll_us",
    "timeout_ms",
    "allow_insecure",
    "allowed_connect_hosts",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "proxy",
    "max_frame_bytes",
    "max_in_flight",
    "max_pending_dispatches",
    "max_queued_dispatches",
    "auto_reconnect",
    "reconnect_delays_ms",
    "fail_fast",
    "redact_handler_errors",
    "http_timeout_ms",
    "stage_timeout_ms",
    "attempt_timeout_ms",
    "welcome_timeout_ms",
    "heartbeat_interval_ms",
    "ping_interval_ms",
    "dead_after_ms",
    "dispatch_timeout_ms",
    "drain_timeout_ms",
    "pick_up_timeout_ms",
    "token_provider_timeout_ms",
];

/// Any span that the caller may set lies between these.
const SPAN_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;

impl Config {
    /// Reads and checks `json`, filling what is missing from `environment`.
    pub fn parse(json: &str, environment: Environment<'_>) -> Result<Self, Error> {
        let mut fields = Fields::parse(json, "configuration", KEYS)?;
        let allow_insecure = fields.flag("allow_insecure")?.unwrap_or(false);
        let svantic_url = credentials::svantic_url(&mut fields, environment, allow_insecure)?;
        let local = fields.flag("local")?.unwrap_or(false);
        let credentials = credentials::credentials(&mut fields, environment, local)?;
        let listen = listen::listen(&mut fields)?;
        let identity = identity::identity(&mut fields, environment, allow_insecure, || {
            let listen = listen.as_ref().filter(|_| !local);
            listen
                .map(|listen| listen.public_url(allow_insecure))
                .transpose()
        })?;
        let dispatch_auth = identity.dispatch_auth.as_deref();
        let hosted = Hosted::read(&mut fields, environment, local, dispatch_auth, listen)?;
        let mode = hosted::mode(&mut fields, &identity, &hosted)?;
        let delivery = delivery::delivery(&mut fields)?;
        let timing = timing(&mut fields)?;
        let max_concurrent = identity.max_concurrent_sessions as usize;
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Self {
            svantic_url,
            credentials,
            mode,
            identity,
            delivery,
            busy_poll: Duration::from_micros(
                fields.integer("busy_poll_us", 0..=1000)?.unwrap_or(0),
            ),
            timeout: fields.millis("timeout_ms", SPAN_MS, Duration::from_secs(30))?,
            timing,
            allowed_connect_hosts: fields.texts("allowed_connect_hosts")?.unwrap_or_default(),
            allow_insecure,
            ca_file: fields.text("ca_file")?,
            client_certificate: certificate_and_key(
                &mut fields,
                "client_cert_file",
                "client_key_file",
            )?,
            proxy: proxy::proxy(&mut fields, environment)?,
            max_frame_bytes: max_frame_bytes(&mut fields)?,
            max_in_flight: fields
                .integer("max_in_flight", 0..=1_000_000)?
                .map_or(max_concurrent, size),
            max_pending_dispatches: fields
                .integer("max_pending_dispatches", 1..=1_000_000)?
                .map_or(1024, size),
            max_queued_dispatches: fields
                .integer("max_queued_dispatches", 0..=1_000_000)?
                .map_or(64, size),
            auto_reconnect: fields.flag("auto_reconnect")?.unwrap_or(true),
            reconnect_delays: fields.delays("reconnect_delays_ms", 3_600_000)?,
            fail_fast: fields.flag("fail_fast")?.unwrap_or(false),
            redact_handler_errors: fields.flag("redact_handler_errors")?.unwrap_or(false),
            hosted,
            transport: None,
            protections: Protections::default(),
        })
    }
}

/// The two files of these keys, of which neither is of use without the other.
fn certificate_and_key(
    fields: &mut Fields,
    certificate: &str,
    key: &str,
) -> Result<Option<(String, String)>, Error> {
    match (fields.text(certificate)?, fields.text(key)?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(fields.missing(key, &format!("the key of `{certificate}`"))),
        (None, Some(_)) => Err(fields.missing(certificate, &format!("the certificate of `{key}`"))),
    }
}

fn max_frame_bytes(fields: &mut Fields) -> Result<usize, Error> {
    let bytes = fields.integer("max_frame_bytes", 1024..=MAX_FRAME_BYTES as u64)?;
    let bytes = bytes.and_then(|n| usize::try_from(n).ok());
    Ok(bytes.unwrap_or(DEFAULT_MAX_FRAME_BYTES))
}

fn timing(fields: &mut Fields) -> Result<Timing, Error> {
    let seconds = Duration::from_secs;
    let stage = fields.millis("stage_timeout_ms", SPAN_MS, seconds(10))?;
    let timing = Timing {
        http: fields.millis("http_timeout_ms", SPAN_MS, seconds(10))?,
        stage,
        dns: stage.min(seconds(5)),
        attempt: fields.millis("attempt_timeout_ms", SPAN_MS, seconds(20))?,
        welcome: fields.millis("welcome_timeout_ms", SPAN_MS, seconds(10))?,
        heartbeat: fields.millis("heartbeat_interval_ms", SPAN_MS, seconds(30))?,
        ping: fields.millis("ping_interval_ms", SPAN_MS, seconds(10))?,
        dead: fields.millis("dead_after_ms", SPAN_MS, seconds(20))?,
        dispatch: fields.millis("dispatch_timeout_ms", SPAN_MS, seconds(60))?,
        drain: fields.millis("drain_timeout_ms", SPAN_MS, seconds(30))?,
        pick_up: fields.millis("pick_up_timeout_ms", SPAN_MS, seconds(10))?,
        close: seconds(1),
        deregister: seconds(5),
        stable: seconds(30),
        token_provider: fields.millis("token_provider_timeout_ms", SPAN_MS, seconds(10))?,
    };
    if timing.dead < timing.ping * 2 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_CONFIG",
            "`dead_after_ms` must be at least twice `ping_interval_ms`: a ping needs time to be answered",
        ));
    }
    Ok(timing)
}

#[cfg(test)]
mod tests;
