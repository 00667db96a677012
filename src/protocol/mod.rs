//! What goes on the wire: frames, REST bodies, limits. Pure text in, pure text out; knows nobody.
//!
//! Every name and number here comes from the project's `protocol.md`; the section is named beside it.
//! Where the platform turns out to differ, one constant in this room changes.

pub mod a2a;
pub mod chunk;
pub mod close_code;
pub mod dispatch_auth;
pub mod frame;
pub mod frame_writer;
pub mod hex;
pub mod json_scan;
pub mod json_shape;
pub mod json_string;
pub mod limits;
pub mod origin;
pub mod request;
pub mod rest;
pub mod timestamp;
pub mod trace;
pub mod trace_context;
