//! Carries bytes and decides nothing: HTTP calls, dials, TLS. Everything here is asked for by the machine.

mod connect;
mod exchange;
pub(crate) mod http;
mod options;
pub(crate) mod proxy;
mod read_ahead;
mod resolver;
pub(crate) mod server;
pub(crate) mod socket;
mod stamp;
pub(crate) mod stream;
pub(crate) mod tls;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::machine::action::NetFailure;

pub(crate) use socket::{Socket, dial};

/// What the library calls itself.
pub(crate) const USER_AGENT: &str = concat!("libsvantic/", env!("CARGO_PKG_VERSION"));

/// A failure with its causes, told apart by whether TLS is to blame.
pub(crate) fn failure(error: &(dyn StdError + 'static)) -> NetFailure {
    let mut text = error.to_string();
    let mut tls = false;
    let mut cause = Some(error);
    while let Some(current) = cause {
        tls |= is_tls(current);
        let said = current.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = current.source();
    }
    let kind = if tls {
        ErrorKind::Tls
    } else {
        ErrorKind::Network
    };
    NetFailure { kind, text }
}

/// rustls errors come directly or inside I/O errors, and reqwest puts one of those into another. An I/O error
/// leaves what it holds out of its sources.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    error.is::<rustls::Error>()
        || error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .is_some_and(|inner| is_tls(inner))
}

/// A step that took too long.
pub(crate) fn timed_out(what: &str, limit: Duration) -> NetFailure {
    NetFailure {
        kind: ErrorKind::Timeout,
        text: format!("{what} took longer than {} ms", limit.as_millis()),
    }
}
