//! Hosted agents: the gateway comes to them (protocol.md 3 and 8).
//!
//! `probe` reads the card at registration, `call` writes a dispatch as a JSON-RPC call, `dispatch_auth` signs it
//! with what `secrets` holds and spoils it where a `forgery` is asked for, `exchange` carries it, `reply` reads what
//! comes back, `replay` sends a call that was seen before, `posting` is what runs, `routing` what the state knows of it.
//! `control` is its part of the control face.

pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod dispatch_auth;
pub(crate) mod exchange;
pub(crate) mod forgery;
pub(crate) mod posting;
pub(crate) mod probe;
pub(crate) mod replay;
pub(crate) mod reply;
pub(crate) mod routing;
pub(crate) mod secrets;
