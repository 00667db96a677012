//! How much a client may ask of the server, and for how long (`security.md` S-17).

use std::time::Duration;

use crate::protocol::limits::MAX_CALL_BYTES;

/// Everything that a client could hold on to has a limit.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Large bodies that are being received at once. Nothing is known of their senders yet: what proves who they are
    /// is in the body.
    pub(crate) bodies: usize,
    /// Up to here a body is not large: as many as there are connections may be that long.
    pub(crate) small: usize,
    /// From the connection, or the first byte of a later request, to the end of the request's head. A TLS handshake
    /// is within it.
    pub(crate) header: Duration,
    /// The request line and all headers.
    pub(crate) header_bytes: usize,
    /// How many headers.
    pub(crate) headers: usize,
    /// From the end of the head to the end of the body.
    pub(crate) body: Duration,
    /// The body.
    pub(crate) body_bytes: usize,
    /// How long a body may take while others want its place, and how many bytes buy it another second.
    pub(crate) patience: Duration,
    /// See there.
    pub(crate) pace: u32,
    /// How long a connection is kept without a request. Longer than the minute of most load balancers: they take it
    /// for a fault when the other side ends a connection first.
    pub(crate) idle: Duration,
    /// How long a client may take nothing of what is written to it.
    pub(crate) stall: Duration,
    /// How long is read on after the last response: with unread bytes the kernel would reset the connection, and the
    /// response could be lost with it.
    pub(crate) linger: Duration,
    /// How long the last responses have to leave at the end.
    pub(crate) farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            bodies: 64,
            small: 64 << 10,
            header: Duration::from_secs(10),
            header_bytes: 16 << 10,
            headers: 64,
            body: Duration::from_secs(30),
            body_bytes: MAX_CALL_BYTES,
            patience: Duration::from_millis(250),
            pace: 64 << 10,
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            farewell: Duration::from_secs(1),
        }
    }
}
