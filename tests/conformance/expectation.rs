//! What a scenario expects, as it is written.

use serde::Deserialize;
use serde_json::Value;

/// Patterns for what is to be seen; see `conformance/README.md`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expectation {
    /// One a dispatch, by its `id`; a dispatch that is not named here is an error.
    pub(crate) ledger: Vec<Value>,
    /// Lines of the driver, in this order, with any others between them. `{"type":"leave"}` stands for the moment at
    /// which the driver is told to leave.
    pub(crate) events: Vec<Value>,
    /// Lines that must not be there.
    pub(crate) no_events: Vec<Value>,
    /// Messages of the WebSocket, in this order, with any others between them.
    pub(crate) frames: Vec<Value>,
    /// How many requests there are of a kind.
    pub(crate) requests: Vec<RequestCount>,
    /// What the gateway knows of the agent in the end.
    pub(crate) agent: Option<Value>,
    /// What the agent did against the protocol, in the gateway's eyes: nothing, if nothing is named.
    pub(crate) violations: Vec<Value>,
    /// The driver's exit code.
    pub(crate) exit: i32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestCount {
    #[serde(rename = "match")]
    pub(crate) pattern: Value,
    /// A number, or an operator such as `{"$min": 2}`.
    pub(crate) count: Value,
}
