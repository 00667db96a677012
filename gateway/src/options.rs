//! What a gateway is started with.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use crate::faults::Faults;

/// Lifetime of a token (protocol.md 2).
const TOKEN_TTL_S: u64 = 86_400;
/// End to end (protocol.md 4).
const DISPATCH_TIMEOUT_S: u64 = 60;

/// What a [`Gateway`](crate::Gateway) is started with; `Default` is a gateway on a free loopback port.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; anything but loopback needs `allow_remote`.
    pub host: IpAddr,
    /// The port, 0 for a free one.
    pub port: u16,
    /// Lifetime of a token when the request names none (protocol.md 2).
    pub token_ttl: Duration,
    /// `https` and `wss` with a certificate made at the start, see [`ca_pem`](crate::Gateway::ca_pem).
    pub tls: bool,
    /// The only client id that gets tokens (protocol.md 2).
    pub client_id: String,
    /// Its secret; random by default.
    pub client_secret: String,
    /// Allows a `host` that is not loopback.
    pub allow_remote: bool,
    /// How long a dispatch may take end to end (protocol.md 4).
    pub dispatch_timeout: Duration,
    /// How long an agent has for its `hello` after the 101.
    pub hello_timeout: Duration,
    /// The tenant's allow-list; others get 403 (protocol.md 3). `None` allows all.
    pub allowed_agent_types: Option<Vec<String>>,
    /// Whether a dispatch whose socket went away is sent again, with its id, when the instance is ready again.
    pub resend_unanswered: bool,
    /// How many frames are kept for [`frames`](crate::Gateway::frames); the oldest go first.
    pub frame_log_limit: usize,
    /// What the gateway does wrong on purpose from the start.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            token_ttl: Duration::from_secs(TOKEN_TTL_S),
            tls: false,
            client_id: "local-client".to_owned(),
            client_secret: format!("local-secret-{}", uuid::Uuid::new_v4().simple()),
            allow_remote: false,
            dispatch_timeout: Duration::from_secs(DISPATCH_TIMEOUT_S),
            hello_timeout: Duration::from_secs(10),
            allowed_agent_types: None,
            resend_unanswered: true,
            frame_log_limit: 100_000,
            faults: Faults::default(),
        }
    }
}

// By hand, so that the secret stays out (security.md S-02).
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("token_ttl", &self.token_ttl)
            .field("tls", &self.tls)
            .field("client_id", &self.client_id)
            .field("dispatch_timeout", &self.dispatch_timeout)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
