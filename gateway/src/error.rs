//! Why a gateway could not start.

use std::{fmt, io, net::SocketAddr};

/// Why [`Gateway::start`](crate::Gateway::start) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A host other than loopback was asked for without `allow_remote`.
    RemoteNotAllowed(SocketAddr),
    /// The address could not be bound.
    Bind(SocketAddr, io::Error),
    /// The runtime or one of its threads could not be started.
    Runtime(io::Error),
    /// The certificate for `tls` could not be made.
    Certificate(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoteNotAllowed(address) => write!(
                f,
                "refusing to listen on {address}: anybody who reaches it could use the agents; \
                 say allow_remote (--allow-remote) if that is meant"
            ),
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Runtime(error) => write!(f, "cannot start the gateway's threads: {error}"),
            Self::Certificate(error) => write!(f, "cannot make a certificate: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) | Self::Runtime(error) => Some(error),
            Self::RemoteNotAllowed(_) | Self::Certificate(_) => None,
        }
    }
}
