//! Opening a WebSocket: resolve, connect, a proxy's CONNECT, TLS, upgrade, each within its own time and all of
//! them within the attempt's. A stage's limit is for all of it: a peer that drips its bytes gains nothing.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::{Host, Url};

use super::connect::connect_first;
use super::options::set_options;
use super::proxy::Proxy;
use super::resolver::resolve;
use super::stream::{Counted, Stream};
use super::tls::TlsSetup;
use super::tunnel::tunnel;
use super::upgrade::upgrade;
use super::{failure, timed_out};
use crate::error::ErrorKind;
use crate::machine::action::{Dial, Dialed, NetFailure};

/// An open WebSocket.
pub(crate) type Socket = WebSocketStream<Stream>;

/// How much tungstenite takes from the stream at once. It is held for as long as the socket is; the stream itself asks
/// the kernel for more ([`super::read_ahead`]).
const READ_BUFFER_BYTES: usize = 1 << 10;

/// The time that an attempt has, as a whole and for each stage.
pub(super) struct Limits {
    began: Instant,
    attempt: Duration,
    pub(super) dns: Duration,
    pub(super) stage: Duration,
}

impl Limits {
    /// The clock starts now.
    pub(super) fn new(attempt: Duration, dns: Duration, stage: Duration) -> Self {
        Self {
            began: Instant::now(),
            attempt,
            dns,
            stage,
        }
    }

    /// Gives `work` its time, or what is left of the attempt's.
    async fn within<T>(
        &self,
        what: &str,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, NetFailure> {
        let (stage, attempt) = (Instant::now() + limit, self.began + self.attempt);
        timeout_at(stage.min(attempt), work).await.map_err(|_| {
            if stage <= attempt {
                return timed_out(what, limit);
            }
            timed_out(&format!("the attempt, at last {what},"), self.attempt)
        })
    }
}

/// Opens the WebSocket that the machine asked for, through the proxy if there is one.
pub(crate) async fn dial(
    dial: &Dial,
    proxy: Option<&Proxy>,
    tls: &TlsSetup,
    max_frame_bytes: usize,
) -> Result<Socket, Dialed> {
    let limits = Limits::new(dial.attempt_timeout, dial.dns_timeout, dial.stage_timeout);
    let tcp = match proxy {
        None => connect(&dial.url, &limits).await.map_err(Dialed::Failed)?,
        Some(proxy) => through(proxy, dial, &limits)
            .await
            .map_err(|failed| blaming(proxy, failed))?,
    };
    let tcp = Counted::new(tcp, proxy.is_some());
    let stream = if dial.url.scheme() == "wss" {
        let handshake = secure(&dial.url, tcp, tls);
        let secured = limits
            .within("the TLS handshake", limits.stage, handshake)
            .await
            .flatten()
            .map_err(Dialed::Failed)?;
        Stream::tls(secured)
    } else {
        Stream::plain(tcp)
    };
    let (stream, early) = limits
        .within("the WebSocket upgrade", limits.stage, upgrade(stream, dial))
        .await
        .map_err(Dialed::Failed)
        .flatten()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    // With room: a buffer that is full of frames still in use is replaced by one of the size it had at first.
    let mut read = Vec::with_capacity(READ_BUFFER_BYTES);
    read.extend_from_slice(&early);
    Ok(WebSocketStream::from_partially_read(stream, read, Role::Client, Some(config)).await)
}

async fn through(proxy: &Proxy, dial: &Dial, limits: &Limits) -> Result<TcpStream, Dialed> {
    let tcp = connect(&proxy.address, limits)
        .await
        .map_err(Dialed::Failed)?;
    let asking = tunnel(tcp, proxy, &dial.url);
    limits
        .within("the proxy's CONNECT", limits.stage, asking)
        .await
        .map_err(Dialed::Failed)
        .flatten()
}

/// The target has not been reached, so the error must not read as if it had failed.
fn blaming(proxy: &Proxy, failed: Dialed) -> Dialed {
    match failed {
        Dialed::Failed(net) => Dialed::Failed(net.through(&proxy.name())),
        other => other,
    }
}

pub(super) async fn connect(url: &Url, limits: &Limits) -> Result<TcpStream, NetFailure> {
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses = match url.host() {
        Some(Host::Ipv4(ip)) => vec![SocketAddr::from((ip, port))],
        Some(Host::Ipv6(ip)) => vec![SocketAddr::from((ip, port))],
        Some(Host::Domain(name)) => limits
            .within("resolving the host name", limits.dns, resolve(name, port))
            .await?
            .map_err(|error| failure(&error))?,
        None => Vec::new(),
    };
    let tcp = limits
        .within("connecting", limits.stage, connect_first(&addresses))
        .await?
        .map_err(|error| failure(&error))?;
    set_options(&tcp);
    Ok(tcp)
}

async fn secure(
    url: &Url,
    tcp: Counted,
    tls: &TlsSetup,
) -> Result<tokio_rustls::client::TlsStream<Counted>, NetFailure> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let refused = |text: String| NetFailure {
        kind: ErrorKind::Tls,
        text,
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(error.to_string()))?;
    let config = tls.config().map_err(|error| refused(error.to_string()))?;
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| failure(&error))
}
