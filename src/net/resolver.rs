//! Name resolution, the same for HTTP and WebSocket.

use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The addresses of a host. `localhost` must mean this machine and nothing else (`security.md` S-01):
/// plain text is allowed to it by its name.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::other(format!("{host} has no address")));
    }
    if host.eq_ignore_ascii_case("localhost") && !addresses.iter().all(|a| a.ip().is_loopback()) {
        return Err(io::Error::other(
            "localhost resolves to an address that is not loopback on this machine",
        ));
    }
    Ok(addresses)
}

/// [`resolve`] for reqwest.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = resolve(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
