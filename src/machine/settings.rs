//! What the machine is born with besides the agent and the credentials.

use std::sync::Arc;
use std::time::Duration;

use super::protections::Protections;
use crate::config::{Config, Timing, Transport};
use crate::protocol::origin::ConnectPolicy;
use crate::sharing::Sharing;
use crate::verification::Verification;

static TIMINGS: Sharing<Timing> = Sharing::new();
static POLICIES: Sharing<ConnectPolicy> = Sharing::new();

/// What the machine is born with besides the agent and the credentials.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the configuration"
)]
pub struct Settings {
    /// Its time spans.
    pub timing: Arc<Timing>,
    /// Which URLs may see the token.
    pub policy: Arc<ConnectPolicy>,
    /// The largest frame that is sent.
    pub max_frame_bytes: usize,
    /// How many dispatches run at once; 0 is limited by `max_pending` only.
    pub max_in_flight: usize,
    /// How many dispatches may be with the application.
    pub max_pending: usize,
    /// How many dispatches may wait for a slot.
    pub max_queued: usize,
    /// Whether a lost connection is made again.
    pub auto_reconnect: bool,
    /// The caller's own redial windows.
    pub reconnect_delays: Option<Vec<Duration>>,
    /// Whether the first connect fails at its first failure.
    pub fail_fast: bool,
    /// Whether a handler's own failure keeps its message.
    pub redact_handler_errors: bool,
    /// Copied into every request object behind its opening brace.
    pub request_lead: &'static str,
    /// Whether there is no mesh.
    pub local: bool,
    /// Whether no dispatch is to be believed without proof.
    pub auth_required: bool,
    /// What dispatches are verified by; `None` without a secret. Not made here, since it takes randomness.
    pub verification: Option<Arc<Verification>>,
    /// What a clock that all connectors of the process have in common showed at birth: timers that may be early then run
    /// out together. `None` where each has its own time.
    pub rhythm: Option<Duration>,
    /// Set for a link without an agent above it.
    pub transport: Option<Box<Transport>>,
    #[doc(hidden)]
    pub protections: Protections,
}

impl Settings {
    /// The part of a configuration that the machine decides by.
    pub fn from_config(config: &Config, request_lead: &'static str) -> Self {
        Self {
            timing: TIMINGS.share(config.timing.clone()),
            policy: POLICIES.share(ConnectPolicy {
                base: config.svantic_url.clone(),
                allowed_hosts: config.allowed_connect_hosts.clone(),
                allow_insecure: config.allow_insecure,
            }),
            max_frame_bytes: config.max_frame_bytes,
            max_in_flight: config.max_in_flight,
            max_pending: config.max_pending_dispatches,
            max_queued: config.max_queued_dispatches,
            auto_reconnect: config.auto_reconnect,
            reconnect_delays: config.reconnect_delays.clone(),
            fail_fast: config.fail_fast,
            redact_handler_errors: config.redact_handler_errors,
            request_lead,
            local: config.hosted.local,
            auth_required: config.hosted.auth_required,
            verification: None,
            rhythm: None,
            transport: config.transport.clone().map(Box::new),
            protections: config.protections,
        }
    }
}
