//! Opening a WebSocket: resolve, connect, TLS, upgrade, each within its own time.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::{Host, Url};

use super::connect::connect_first;
use super::options::set_options;
use super::resolver::resolve;
use super::stream::{Counted, Stream};
use super::tls::Trust;
use super::upgrade::upgrade;
use super::{failure, timed_out};
use crate::error::ErrorKind;
use crate::machine::action::{Dial, Dialed, NetFailure};

/// An open WebSocket.
pub(crate) type Socket = WebSocketStream<Stream>;

/// How much is read from the kernel at once. It is held for as long as the socket is.
const READ_BUFFER_BYTES: usize = 16 << 10;

/// Opens the WebSocket that the machine asked for.
pub(crate) async fn dial(
    dial: &Dial,
    trust: &Trust,
    max_frame_bytes: usize,
) -> Result<Socket, Dialed> {
    let limit = dial.stage_timeout;
    let tcp = connect(&dial.url, limit).await.map_err(Dialed::Failed)?;
    let tcp = Counted::new(tcp);
    let stream = if dial.url.scheme() == "wss" {
        let handshake = secure(&dial.url, tcp, trust);
        let tls = timeout(limit, handshake)
            .await
            .unwrap_or_else(|_| Err(timed_out("the TLS handshake", limit)))
            .map_err(Dialed::Failed)?;
        Stream::tls(tls)
    } else {
        Stream::plain(tcp)
    };
    let (stream, early) = timeout(limit, upgrade(stream, dial))
        .await
        .unwrap_or_else(|_| Err(Dialed::Failed(timed_out("the WebSocket upgrade", limit))))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    let early = early.to_vec();
    Ok(WebSocketStream::from_partially_read(stream, early, Role::Client, Some(config)).await)
}

pub(super) async fn connect(url: &Url, limit: Duration) -> Result<TcpStream, NetFailure> {
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses = match url.host() {
        Some(Host::Ipv4(ip)) => vec![SocketAddr::from((ip, port))],
        Some(Host::Ipv6(ip)) => vec![SocketAddr::from((ip, port))],
        Some(Host::Domain(name)) => timeout(limit, resolve(name, port))
            .await
            .map_err(|_| timed_out("resolving the host name", limit))?
            .map_err(|error| failure(&error))?,
        None => Vec::new(),
    };
    let connected = timeout(limit, connect_first(&addresses))
        .await
        .map_err(|_| timed_out("connecting", limit))?;
    let tcp = connected.map_err(|error| failure(&error))?;
    set_options(&tcp);
    Ok(tcp)
}

async fn secure(
    url: &Url,
    tcp: Counted,
    trust: &Trust,
) -> Result<tokio_rustls::client::TlsStream<Counted>, NetFailure> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let refused = |text: String| NetFailure {
        kind: ErrorKind::Tls,
        text,
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(error.to_string()))?;
    let config = trust.config().map_err(|error| refused(error.to_string()))?;
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| failure(&error))
}
