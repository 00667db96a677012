//! What a gateway is started with.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use crate::{assumptions::DuplicateSocket, faults::Faults, script::Script};

/// Lifetime of a token (protocol.md 2).
const TOKEN_TTL_S: u64 = 86_400;
/// End to end (protocol.md 4).
const DISPATCH_TIMEOUT_S: u64 = 60;
const PROBE_TIMEOUT_S: u64 = 5;

/// What a [`Gateway`](crate::Gateway) is started with; `Default` is a gateway on a free loopback port.
// Each switch stands for itself.
#[allow(clippy::struct_excessive_bools)]
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
    /// With `tls`: the authorities (PEM) one of which every client's certificate must be from; `None` asks for none.
    pub client_ca: Option<String>,
    /// The only client id that gets tokens (protocol.md 2).
    pub client_id: String,
    /// Its secret; random by default.
    pub client_secret: String,
    /// Allows a `host` that is not loopback, and hosted agents that are not on this machine.
    pub allow_remote: bool,
    /// How long a dispatch may take end to end (protocol.md 4).
    pub dispatch_timeout: Duration,
    /// How long an agent has for its `hello` after the 101.
    pub hello_timeout: Duration,
    /// The tenant's allow-list; others get 403 (protocol.md 3). `None` allows all.
    pub allowed_agent_types: Option<Vec<String>>,
    /// Whether a dispatch whose socket went away is sent again, with its id, when the instance is ready again.
    pub resend_unanswered: bool,
    /// Assumption: what becomes of two sockets of one instance.
    pub duplicate_socket: DuplicateSocket,
    /// Assumption: answers after the deadline of their dispatch are ignored, not refused. They are counted
    /// ([`Totals::late_dropped`](crate::Totals::late_dropped)), are no violation, and stay out of the ledger.
    pub drops_late_results: bool,
    /// Assumption: the mesh pings a welcomed agent in this rhythm. The round trips are in
    /// [`AgentRecord::round_trips`](crate::AgentRecord::round_trips).
    pub server_ping: Option<Duration>,
    /// Assumption: `resumed` in the welcome is true only if the last socket ended no longer ago than this. `None`:
    /// in every welcome but the first.
    pub resumed_window: Option<Duration>,
    /// How many frames are kept for [`frames`](crate::Gateway::frames); the oldest go first.
    pub frame_log_limit: usize,
    /// How many settled dispatches the ledger keeps; the oldest go first, running ones never. It may hold a quarter
    /// more for a while. Repeated answers are recognised for four times as many dispatches after that.
    pub ledger_limit: usize,
    /// How many requests are kept for [`requests`](crate::Gateway::requests); the oldest go first, a quarter more may
    /// be there for a while.
    pub request_limit: usize,
    /// How many completed sessions are kept; the oldest go first, active ones never.
    pub session_limit: usize,
    /// How many bytes of frame texts are kept, and as many again of the texts of answers in the ledger; the oldest
    /// go first.
    pub text_limit_bytes: usize,
    /// What dispatches are signed with (protocol.md 8); `None` sends them without `svantic_auth`. Later:
    /// [`set_dispatch_secret`](crate::Gateway::set_dispatch_secret).
    pub dispatch_secret: Option<String>,
    /// Whether the card of a hosted agent is read when it registers (protocol.md 3); 502 if it cannot be.
    pub probes_cards: bool,
    /// How long that may take.
    pub probe_timeout: Duration,
    /// The authorities (PEM) of hosted agents with an `https` URL.
    pub agent_ca: Option<String>,
    /// What the gateway does by itself, counted from its start.
    pub script: Option<Script>,
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
            client_ca: None,
            client_id: "local-client".to_owned(),
            client_secret: format!("local-secret-{}", uuid::Uuid::new_v4().simple()),
            allow_remote: false,
            dispatch_timeout: Duration::from_secs(DISPATCH_TIMEOUT_S),
            hello_timeout: Duration::from_secs(10),
            allowed_agent_types: None,
            resend_unanswered: true,
            duplicate_socket: DuplicateSocket::default(),
            drops_late_results: false,
            server_ping: None,
            resumed_window: None,
            frame_log_limit: 100_000,
            ledger_limit: 100_000,
            request_limit: 100_000,
            session_limit: 100_000,
            text_limit_bytes: 256 << 20,
            dispatch_secret: None,
            probes_cards: true,
            probe_timeout: Duration::from_secs(PROBE_TIMEOUT_S),
            agent_ca: None,
            script: None,
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
