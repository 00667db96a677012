//! A mesh for measuring: it answers the HTTP calls of an agent's `connect()`, takes its WebSocket, sends dispatches that
//! were built before, and checks every answer by its id and by every byte of its content.
//!
//! It is no model of the real mesh (`svantic-gateway` is): it is made to cost next to nothing, so that the client is what
//! is measured. `svantic-compare` measures many clients in turns (`cargo xtask bench`), `svantic-paced` sends a fixed
//! number of dispatches to one that is counted from outside (`cargo xtask guard`), and `svantic-floor` is the cheapest
//! client there can be.

pub mod client;
mod failure;
pub mod figures;
pub mod http;
pub mod link;
pub mod load;
pub mod mesh;
pub mod plan;
pub mod plot;
pub mod system_calls;
pub mod table;
pub mod traffic;
pub mod websocket;

pub use failure::Failure;
