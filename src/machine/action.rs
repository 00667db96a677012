//! What the machine asks its driver to do, and what the driver tells it of the outcome.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use secrecy::SecretString;

use super::event::Event;
use crate::agent::Capability;
use crate::error::{Error, ErrorKind};
use crate::protocol::a2a::ReplyTo;
use crate::protocol::frame::FrameText;
use crate::protocol::request::RequestText;

/// Names an operation that somebody waits for.
pub type OperationId = u64;

/// Names an HTTP request in progress.
pub type RequestId = u64;

/// Names a connection: a socket from its dial to its end. Never reused.
pub type ConnectionNo = u64;

/// The mesh's id of a dispatch, shared by everything that speaks of it.
pub type DispatchId = Arc<str>;

/// Names a call that came by POST. Never reused.
pub type CallId = u64;

/// Something to be done, in the order given. What every dispatch needs is small, and what is large is elsewhere: these are
/// moved from hand to hand.
pub enum Action {
    /// Send a request; report with `handle_reply`.
    Request(Box<Request>),
    /// Drop this request. Nothing is reported, but a reply that was there already.
    AbortRequest(RequestId),
    /// Open a WebSocket; report with `handle_dialed`.
    Dial(Box<Dial>),
    /// Write a text message.
    Send(ConnectionNo, FrameText),
    /// Write a ping with this payload; report its pong with `handle_pong`.
    Ping(ConnectionNo, [u8; 8]),
    /// Start the close handshake.
    Close(ConnectionNo, u16, Cow<'static, str>),
    /// Drop the socket without a word. Nothing is reported.
    Abort(ConnectionNo),
    /// Hand a dispatch to the application.
    Deliver(Dispatch),
    /// Hand a frame of a transport to the application, as it came.
    Frame(FrameText),
    /// Tell whoever called by POST.
    Respond(CallId, Response),
    /// Tell the application.
    Event(Event),
    /// An operation has ended.
    Complete(OperationId, Box<Result<Output, Error>>),
    /// Nothing more will come; the driver can end.
    Finished,
}

/// An HTTP request to the mesh.
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The path below `svantic_url`.
    pub path: Cow<'static, str>,
    /// Headers of the application's own.
    pub headers: HeaderMap,
    /// The token to show.
    pub bearer: Option<Arc<SecretString>>,
    /// The JSON body, which may hold the client secret.
    pub body: SecretString,
    /// How long it may take as a whole.
    pub timeout: Duration,
}

/// A WebSocket to open.
pub struct Dial {
    /// The connection that it will be.
    pub conn: ConnectionNo,
    /// The checked URL, `instance_id` included.
    pub url: url::Url,
    /// The token to show.
    pub bearer: Arc<SecretString>,
    /// How long all stages together may take.
    pub attempt_timeout: Duration,
    /// How long resolving the host's name may take.
    pub dns_timeout: Duration,
    /// How long each later stage (TCP, a proxy's CONNECT, TLS, upgrade) may take.
    pub stage_timeout: Duration,
}

/// What a call is told. Each gets exactly one of those that are the last.
pub enum Response {
    /// It is admitted, and its stream begins.
    Begin,
    /// Its handler is still at work.
    KeepAlive,
    /// The last: how it has ended.
    Answer(Box<CallAnswer>),
    /// The last: it is not believed to be the mesh's.
    Unauthenticated,
    /// The last: it could not be remembered as accepted, so it is not.
    Busy,
    /// The last: nobody waits for it any more.
    Cancelled,
}

impl Response {
    /// Whether it is the last.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Begin | Self::KeepAlive)
    }
}

/// How a call has ended.
pub struct CallAnswer {
    /// How it is to be written.
    pub to: ReplyTo,
    /// Whether a stream has begun, in which it is the last event.
    pub begun: bool,
    /// The dispatch, as the caller knows it; empty if it has not come as far.
    pub dispatch_id: Arc<str>,
    /// The `dispatch_result` or `error` frame that says it.
    pub frame: FrameText,
}

/// A capability call for the application.
#[derive(Clone)]
pub struct Dispatch {
    /// The mesh's id; the answer names it.
    pub id: DispatchId,
    /// What is called.
    pub capability: Arc<Capability>,
    /// The request as a JSON object (`protocol::request`).
    pub request: RequestText,
}

/// What an operation yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// It is done.
    Nothing,
    /// The mesh's reply to `create_session`, and the session's id in it.
    Session {
        /// The id.
        session_id: String,
        /// The reply as JSON.
        reply: String,
    },
    /// The mesh's reply to a request of the application's own, as JSON.
    Reply(String),
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The mesh, or something on the way, answered.
    Http(HttpReply),
    /// No answer.
    Failed(NetFailure),
}

/// An HTTP answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// `Retry-After`, read.
    pub retry_after: Option<Duration>,
    /// The host of `Location`; a redirect is never followed.
    pub location: Option<String>,
    /// The body, cut at the limit.
    pub body: Vec<u8>,
    /// The proxy (host and port) that answered instead of the mesh.
    pub proxy: Option<String>,
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetFailure {
    /// `Timeout`, `Tls` or `Network`.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub text: String,
}

impl NetFailure {
    /// The same, on the way through this proxy.
    #[must_use]
    pub fn through(mut self, proxy: &str) -> Self {
        self.text = format!("through the proxy {proxy}: {}", self.text);
        self
    }
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialed {
    /// The socket is open and the subprotocol agreed.
    Open,
    /// An HTTP answer other than 101.
    Refused(HttpReply),
    /// A 101 without our subprotocol.
    WrongSubprotocol(Option<String>),
    /// No answer.
    Failed(NetFailure),
}

/// How an open socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// A close frame.
    Closed {
        /// The code; `None` for a close frame without one.
        code: Option<u16>,
        /// The peer's reason.
        reason: String,
    },
    /// End of stream or an I/O error without a close frame.
    Broken(String),
    /// The peer broke the framing, sent text that is not UTF-8, or a message over the limit.
    Violation(String),
}

/// A handler's answer.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// Any JSON value, already checked to be one.
    Result(&'a str),
    /// A result that cannot be sent; both texts complete "the result …".
    Flawed {
        /// What the mesh is told.
        flaw: &'a str,
        /// What the application is told.
        detail: &'a str,
    },
    /// A failure.
    Error {
        /// The code on the wire; `HANDLER_ERROR` is the handler's own failure.
        code: &'a str,
        /// The text on the wire.
        message: &'a str,
    },
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_moved_from_hand_to_hand_is_small() {
        assert!(
            size_of::<super::Action>() <= 72,
            "{}",
            size_of::<super::Action>()
        );
    }
}
