//! A2A over JSON-RPC 2.0 (section 8): a call is read borrowed, its answer written in one pass.
//!
//! Two versions of the protocol are spoken at one URL, told apart by the names of their methods: 0.3 (`message/send`, `kind`
//! in every object) and 1.0 (`SendMessage`, the form of protobuf's JSON). An answer has the version of its call.

mod call;
mod card;
mod method;
mod reply;
mod stream;

pub use call::{Call, Fault, read};
pub use card::card;
pub use reply::{Outcome, ReplyTo, error, refuses_by_event, reply};
pub use stream::{KEEP_ALIVE, event};

/// The header that says which version a client speaks.
pub const VERSION_HEADER: &str = "a2a-version";

/// A version of A2A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The platform's own.
    V0_3,
    /// What today's official clients speak first.
    V1_0,
}

/// The numbers of the errors, from JSON-RPC 2.0 and from A2A.
pub mod code {
    /// The body is no JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// JSON, but no JSON-RPC request that is taken: a batch, too deep, without a method.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The call says something that the agent cannot be called with.
    pub const INVALID_PARAMS: i32 = -32602;
    /// The agent cannot take the call now.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// No task is kept; also what a failed authentication is answered with.
    pub const TASK_NOT_FOUND: i32 = -32001;
    /// Nobody is called back.
    pub const PUSH_NOTIFICATION_NOT_SUPPORTED: i32 = -32003;
    /// A method of A2A that agents of this library do not have.
    pub const UNSUPPORTED_OPERATION: i32 = -32004;
    /// Parts that no capability is called with, such as files.
    pub const CONTENT_TYPE_NOT_SUPPORTED: i32 = -32005;
    /// There is one card for everybody.
    pub const EXTENDED_CARD_NOT_CONFIGURED: i32 = -32007;
    /// A version of A2A that is neither 0.x nor 1.x.
    pub const VERSION_NOT_SUPPORTED: i32 = -32009;
}

#[cfg(test)]
mod tests;
