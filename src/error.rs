//! The one error type: what failed, on what, why, and what to do about it.

use std::borrow::Cow;
use std::fmt;

use serde_json::json;

/// The kind of a failure. The discriminants are the numbers of the C ABI's `svantic_status`
/// and keep their meaning for ever: 1-19 the caller's, 20-39 the network's or the mesh's, 90 a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorKind {
    /// A required value is missing, or a value is out of range.
    InvalidArgument = 1,
    /// The handle was never valid or has been freed.
    InvalidHandle = 2,
    /// Not UTF-8, not JSON, or not the JSON that is expected here.
    InvalidJson = 3,
    /// Not possible in the connector's current state.
    InvalidState = 4,
    /// Waiting here could never end.
    WouldDeadlock = 5,
    /// The library was initialised before `fork()`.
    Forked = 6,
    /// No such session or dispatch, or it has ended.
    NotFound = 7,
    /// Not finished in time.
    Timeout = 20,
    /// Ended by cancel, disconnect, free or shutdown.
    Cancelled = 21,
    /// DNS, TCP or WebSocket failure.
    Network = 22,
    /// TLS handshake or certificate failure.
    Tls = 23,
    /// The mesh refused the credentials or the token.
    Auth = 24,
    /// The mesh answered with an error.
    Remote = 25,
    /// The mesh sent something this version does not understand.
    Protocol = 26,
    /// A bug in libsvantic.
    Internal = 90,
}

/// Why an operation failed.
///
/// `message` says what failed, on what and why; `hint` says what to do about it. Neither ever
/// holds a secret: whoever builds an error from a server's text redacts it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    code: Cow<'static, str>,
    message: String,
    hint: Option<Cow<'static, str>>,
    http_status: Option<u16>,
    retryable: bool,
}

impl Error {
    /// An error with a stable `code` (`UPPER_SNAKE`) and a text for people.
    pub fn new(
        kind: ErrorKind,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            hint: None,
            http_status: None,
            retryable: false,
        }
    }

    /// Adds what the caller can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the HTTP status that the mesh answered with.
    #[must_use]
    pub fn http_status(mut self, status: Option<u16>) -> Self {
        self.http_status = status;
        self
    }

    /// Puts what the message is about in front of it: it is the rest of a sentence.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.message = format!("{subject} {}", self.message);
        self
    }

    /// Puts what was attempted in front of the message.
    #[must_use]
    pub fn within(mut self, attempt: &str) -> Self {
        self.message = format!("{attempt}: {}", self.message);
        self
    }

    /// Marks the failure as one that may pass by itself.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// The kind, which is also the C status.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The stable code: the platform's own where it sent one, otherwise the library's.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What failed, on what, and why.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status that the mesh answered with, when it did.
    pub fn http_status_code(&self) -> Option<u16> {
        self.http_status
    }

    /// Whether trying again later may succeed without a change on the caller's side.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The form in which asynchronous completions carry an error.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "status": self.kind as i32,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "http_status": self.http_status,
            "retryable": self.retryable,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)?;
        match &self.hint {
            Some(hint) => write!(f, ". {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
