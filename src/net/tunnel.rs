//! A way through a proxy: CONNECT, whether or not TLS follows.

use bytes::Bytes;
use http::Request;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http_body_util::Empty;
use tokio::net::TcpStream;
use url::Url;

use super::exchange::{Exchanged, exchange, other};
use super::proxy::Proxy;
use crate::machine::action::Dialed;

/// Asks the proxy for a connection to the target. What comes back is the stream to the target.
pub(super) async fn tunnel(
    tcp: TcpStream,
    proxy: &Proxy,
    target: &Url,
) -> Result<TcpStream, Dialed> {
    let host = target.host_str().unwrap_or_default();
    let port = target.port_or_known_default().unwrap_or(443);
    let authority = format!("{host}:{port}");
    let mut request = Request::connect(&authority)
        .header(HOST, &authority)
        .header(USER_AGENT, super::USER_AGENT);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| other(&error.to_string()))?;
    match exchange(tcp, request).await? {
        Exchanged::Switched(_, tcp, early) if early.is_empty() => Ok(tcp),
        // Both TLS and the upgrade begin with us.
        Exchanged::Switched(..) => Err(other("it sent something before the tunnel was used")),
        Exchanged::Refused(mut reply) => {
            reply.proxy = Some(proxy.name());
            Err(Dialed::Refused(reply))
        }
    }
}
