//! The C ABI. The only room with unsafe code: pointers in, safe calls out.
//!
//! Every exported function is a few lines: read the arguments, call the safe side inside
//! [`boundary::guard`], write the out parameters. `build.rs` turns the doc comments here into the header,
//! which is the C user's manual.
#![allow(unsafe_code)]
#![allow(non_camel_case_types)]
// The doc comments here become the C header: no Markdown, and what is unsafe is said in C's terms, per argument.
#![allow(clippy::doc_markdown, clippy::missing_safety_doc)]

mod backlog;
mod batch_answers;
mod boundary;
pub mod callback;
mod control_lane;
mod delivery;
pub mod dispatch;
pub mod dispatch_auth;
pub mod flat;
pub mod handles;
mod inside;
pub(crate) mod kernel;
mod lanes;
pub mod library;
pub mod lifeline;
pub mod mesh;
pub mod operations;
pub mod properties;
pub mod request;
pub mod serve;
pub(crate) mod signals;
pub mod status;
mod text;
pub mod trace;
pub mod transport;
mod wakeup;
