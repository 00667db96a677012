//! The configuration of a transport: the WebSocket alone (`protocol.md` 4), where the caller has named the address
//! himself and says hello in his own words.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use super::environment::Environment;
use super::fields::{Fields, is_identifier};
use super::{
    Config, Credentials, DeliveryMode, DeploymentMode, Hosted, Identity, SPAN_MS,
    certificate_and_key, max_frame_bytes, proxy, timing,
};
use crate::error::{Error, ErrorKind};
use crate::machine::protections::Protections;
use crate::protocol::origin::{BaseUrl, ConnectPolicy, OriginError};

/// What makes a connector a transport.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Where to dial, checked, `instance_id` included.
    pub connect_url: Url,
    /// The payload of `hello`, as the caller wrote it.
    pub hello: String,
    /// The card in it, if there is one.
    pub agent_card: Option<Value>,
    /// What the first `hello` carries; later ones get fresh values.
    pub first_hello: FirstHello,
    /// Whether the application carries the bytes.
    pub external_socket: bool,
}

/// The caller's own envelope of the first `hello`.
#[derive(Debug, Clone, Default)]
pub struct FirstHello {
    /// `hello_id`.
    pub id: Option<String>,
    /// `hello_ts`.
    pub ts: Option<String>,
}

const WHAT: &str = "configuration of the transport";

const KEYS: &[&str] = &[
    "connect_url",
    "hello",
    "hello_id",
    "hello_ts",
    "token",
    "token_provider",
    "external_socket",
    "timeout_ms",
    "allow_insecure",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "proxy",
    "max_frame_bytes",
    "auto_reconnect",
    "reconnect_delays_ms",
    "fail_fast",
    "http_timeout_ms",
    "stage_timeout_ms",
    "attempt_timeout_ms",
    "welcome_timeout_ms",
    "ping_interval_ms",
    "dead_after_ms",
    "drain_timeout_ms",
    "token_provider_timeout_ms",
];

/// The hello as it was written: a value read and written again might have its numbers rounded.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    hello: Option<&'a RawValue>,
}

impl Config {
    /// Reads and checks the configuration of a transport. Of `environment` only what says how the network is reached
    /// is looked at.
    pub fn parse_transport(json: &str, environment: Environment<'_>) -> Result<Self, Error> {
        let mut fields = Fields::parse(json, WHAT, KEYS)?;
        let allow_insecure = fields.flag("allow_insecure")?.unwrap_or(false);
        let auto_reconnect = fields.flag("auto_reconnect")?.unwrap_or(true);
        let max_frame_bytes = max_frame_bytes(&mut fields)?;
        let Hello {
            identity,
            written,
            agent_card,
        } = hello(&mut fields, json)?;
        let (svantic_url, connect_url) =
            address(&mut fields, allow_insecure, &identity.instance_id)?;
        let transport = Transport {
            connect_url,
            hello: written,
            agent_card,
            first_hello: FirstHello {
                id: fields.identifier("hello_id")?,
                ts: fields.identifier("hello_ts")?,
            },
            external_socket: fields.flag("external_socket")?.unwrap_or(false),
        };
        Ok(Self {
            svantic_url,
            credentials: credentials(&mut fields)?,
            mode: DeploymentMode::Connected,
            identity,
            delivery: DeliveryMode::Pull,
            busy_poll: std::time::Duration::ZERO,
            timeout: fields.millis("timeout_ms", SPAN_MS, std::time::Duration::from_secs(30))?,
            timing: timing(&mut fields)?,
            allowed_connect_hosts: Vec::new(),
            allow_insecure,
            ca_file: fields.text("ca_file")?,
            client_certificate: certificate_and_key(
                &mut fields,
                "client_cert_file",
                "client_key_file",
            )?,
            proxy: proxy::proxy(&mut fields, environment)?,
            max_frame_bytes,
            max_in_flight: 0,
            max_pending_dispatches: 1,
            max_queued_dispatches: 0,
            auto_reconnect,
            reconnect_delays: fields.delays("reconnect_delays_ms", 3_600_000)?,
            // Whoever wants no second attempt after a loss wants none before it.
            fail_fast: fields.flag("fail_fast")?.unwrap_or(!auto_reconnect),
            redact_handler_errors: false,
            hosted: Hosted::none(),
            transport: Some(transport),
            protections: Protections::default(),
        })
    }
}

/// The payload as it was written, and who it says that we are.
struct Hello {
    identity: Identity,
    written: String,
    agent_card: Option<Value>,
}

fn hello(fields: &mut Fields, json: &str) -> Result<Hello, Error> {
    let Some(payload) = fields.object("hello")? else {
        return Err(fields.missing("hello", "the payload of the first frame, an object"));
    };
    let text = |key: &str| payload.get(key).and_then(Value::as_str);
    let Some(instance_id) = text("instance_id").filter(|id| is_identifier(id)) else {
        return Err(fields.missing(
            "hello.instance_id",
            "the instance's id, printable ASCII, as it was registered",
        ));
    };
    let written: Written<'_> = serde_json::from_str(json).map_err(|error| {
        let text = format!("the {WHAT} is not what it seems: {error}");
        Error::new(ErrorKind::InvalidJson, "INVALID_JSON", text)
    })?;
    let written = written.hello.map(RawValue::get).unwrap_or_default();
    let agent_type = text("agent_type").unwrap_or(instance_id).to_owned();
    let identity = Identity {
        name: agent_type.clone(),
        description: String::new(),
        version: text("agent_version").unwrap_or("1.0.0").to_owned(),
        agent_type,
        instance_id: instance_id.to_owned(),
        place: None,
        public_url: None,
        endpoint_path: "/send".to_owned(),
        context: None,
        learning: None,
        mcp_servers: None,
        dispatch_auth: None,
        max_concurrent_sessions: 0,
    };
    Ok(Hello {
        identity,
        written: written.to_owned(),
        agent_card: payload
            .get("agent_card")
            .filter(|card| card.is_object())
            .cloned(),
    })
}

/// The mesh's base, which is where `connect_url` leads, and what is dialed: the caller has named the host himself, so it
/// may see the token, but not without TLS (`security.md` S-05).
fn address(
    fields: &mut Fields,
    allow_insecure: bool,
    instance_id: &str,
) -> Result<(BaseUrl, Url), Error> {
    let Some(text) = fields.text("connect_url")? else {
        return Err(fields.missing("connect_url", "the WebSocket to dial"));
    };
    let refused = |error: OriginError| {
        // The text itself may hold a password, so it is not quoted.
        Error::new(
            ErrorKind::InvalidArgument,
            "INVALID_URL",
            format!("`connect_url` was refused: {}", error.reason()),
        )
        .hint("give a URL like wss://api.svantic.com/agents/connect; `allow_insecure` permits ws to other hosts")
    };
    let mut base = Url::parse(&text).map_err(|_| refused(OriginError::Malformed))?;
    let scheme = match base.scheme() {
        "wss" => "https",
        "ws" => "http",
        _ => return Err(refused(OriginError::Scheme)),
    };
    base.set_scheme(scheme)
        .map_err(|()| refused(OriginError::Scheme))?;
    base.set_path("");
    base.set_query(None);
    let base = BaseUrl::parse(base.as_str(), allow_insecure).map_err(refused)?;
    let policy = ConnectPolicy {
        base,
        allowed_hosts: Vec::new(),
        allow_insecure,
    };
    let connect_url = policy.connect_url(&text, instance_id).map_err(refused)?;
    Ok((policy.base, connect_url))
}

fn credentials(fields: &mut Fields) -> Result<Credentials, Error> {
    let token = fields.secret("token")?;
    let provided = fields.flag("token_provider")?.unwrap_or(false);
    match (token, provided) {
        (token, true) => Ok(Credentials::Provider(token)),
        (Some(token), false) => Ok(Credentials::Static(token)),
        (None, false) => Err(Error::new(
            ErrorKind::InvalidArgument,
            "MISSING_CREDENTIALS",
            format!("the {WHAT} has no token"),
        )
        .hint("give `token`, or issue tokens yourself with `token_provider`")),
    }
}
