//! The connection of an agent to the Svantic mesh.
#![deny(unsafe_code)]

pub mod agent;
pub mod config;
pub mod connector;
pub mod dispatch_auth;
pub mod error;
pub mod ffi;
pub mod hosted;
pub mod kernel;
pub mod machine;
mod net;
pub mod own_request;
pub mod protocol;
mod rare;
pub mod replay;
pub mod runtime;
mod sharing;
pub mod verification;
