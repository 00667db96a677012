//! The local gateway: the mesh's side of the wire, for tests and for a newcomer's first five minutes.
//!
//! It speaks `protocol.md` strictly: what the platform refuses is refused with the documented status and code, and
//! what an agent does against the protocol is kept as a violation. It is a model of somebody else's server: to pass
//! here is not proof against the real mesh.
//!
//! [`Gateway::start`] runs everything on threads of its own; every method may be called from any thread, also from a
//! plain synchronous test. Nothing has to be polled: [`Gateway::wait_until`] wakes on every change.
//!
//! Hosted agents are called over HTTP: [`DispatchRequest::method`] says how, [`Options::dispatch_secret`] with what
//! proof, and [`DispatchRequest::forge`] what is wrong with it. The ledger shows the URL of each POST and the status of
//! each reply; [`FrameRecord`]s of kind [`FrameKind::Http`] are the bodies. A broken connection is tried once more with
//! the same bytes, then the outcome is [`DispatchError::Unreachable`].
//!
//! The rooms: `listener` takes the sockets, `http` takes the requests, `*_endpoint` answer them, `upgrade` and
//! `connection` are the WebSocket, `routing` sends dispatches, `hosted` those to agents behind their own URL, `state` is all that is known, `script` lets it
//! misbehave by itself, `control` is the face for people under `/_gateway/`.

mod agents_endpoint;
mod assumptions;
mod auth_endpoint;
mod certificate;
mod connection;
mod control;
mod dispatch;
mod envelope;
mod error;
mod fault_clock;
mod faults;
mod frame_filter;
mod frame_log;
mod gateway;
mod hosted;
mod http;
mod inbound;
mod ledger;
mod listener;
mod options;
mod recent;
mod records;
mod redact;
mod reply;
mod request_log;
mod routing;
mod script;
mod server_ping;
mod session_log;
mod sessions_endpoint;
mod shared;
mod snapshot;
mod state;
mod timestamp;
mod token;
mod totals;
mod upgrade;
mod wire;

pub use assumptions::DuplicateSocket;
pub use dispatch::{Answer, DispatchError, DispatchRequest, PendingDispatch};
pub use error::Error;
pub use faults::{ConnectUrl, Endpoint, Faults, Override, Refusal, Stage};
pub use gateway::Gateway;
pub use hosted::{call::A2aMethod, forgery::Forgery};
pub use ledger::{Ledger, LedgerEntry, ReceivedAnswer, SentDispatch};
pub use options::Options;
pub use records::{
    AgentRecord, Authorization, Direction, FrameKind, FrameRecord, RequestRecord, RoundTrips,
    SessionRecord,
};
pub use script::{Script, ScriptStatus};
pub use snapshot::Snapshot;
pub use totals::Totals;
