//! Connecting to the first address that answers: Happy Eyeballs (RFC 8305), so that an address family
//! which swallows packets costs a quarter of a second and not the whole stage.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an attempt has for itself before the next address is tried beside it. RFC 8305, section 8,
/// recommends 250 ms: longer than most round trips, short enough that nobody notices.
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// The connection that stands first. Without one, the error names each address with its cause.
pub(super) async fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    race(&interleaved(addresses), STAGGER, TcpStream::connect).await
}

/// The families in turn, beginning with that of the resolver's first address; within a family the
/// resolver's order (RFC 8305, section 4). A family that is broken as a whole thus delays by one stagger,
/// however many addresses it has.
pub(super) fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

/// Starts an attempt for each address, the next one when the stagger is over or when an attempt has failed,
/// whichever comes first. Attempts that have begun go on beside it: a slow address may still win. The losers
/// are dropped, which closes their sockets.
pub(super) async fn race<C, F: Future<Output = io::Result<C>>>(
    addresses: &[SocketAddr],
    stagger: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<C> {
    let attempt = async |address| (address, attempt(address).await);
    let mut running = FuturesUnordered::new();
    let mut waiting = addresses.iter();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            running.push(attempt(*address));
        }
        let ended = if waiting.as_slice().is_empty() {
            running.next().await
        } else {
            match timeout(stagger, running.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some((_, Ok(connection))) => return Ok(connection),
            Some((address, Err(error))) => failures.push(format!("{address}: {error}")),
            None if failures.is_empty() => return Err(io::Error::other("the host has no address")),
            None => return Err(io::Error::other(failures.join("; "))),
        }
    }
}
