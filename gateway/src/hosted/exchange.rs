//! One HTTP request of the gateway to a hosted agent: no redirects, no proxy, loopback only unless allowed.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::{error::Error, options::Options};

/// Whom the gateway may go to, and whom it trusts.
pub(crate) struct Reach {
    allow_remote: bool,
    tls: Option<Arc<ClientConfig>>,
}

/// What is sent.
pub(crate) struct Sending<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'static str, &'static str)],
    pub(crate) body: Bytes,
    /// The largest reply that is read.
    pub(crate) limit_bytes: usize,
    /// Goes away when the head of the reply is there.
    pub(crate) leaves_early: bool,
}

/// What came back.
pub(crate) struct HttpReply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Whether it may go better on another connection.
    pub(crate) is_of_the_connection: bool,
}

impl Failure {
    fn lasting(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_of_the_connection: false,
        }
    }

    fn passing(error: &dyn std::error::Error) -> Self {
        // The cause is what tells: "connection error" alone does not.
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        Self {
            text,
            is_of_the_connection: true,
        }
    }
}

impl Reach {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let tls = options.agent_ca.as_deref().map(trusting).transpose();
        Ok(Self {
            allow_remote: options.allow_remote,
            tls: tls.map_err(Error::Certificate)?.map(Arc::new),
        })
    }

    /// Sends one request on a connection of its own and reads the reply.
    pub(crate) async fn exchange(&self, sending: Sending<'_>) -> Result<HttpReply, Failure> {
        let url = Url::parse(sending.url)
            .map_err(|error| Failure::lasting(format!("{:?} is no URL: {error}", sending.url)))?;
        let tls = match (url.scheme(), &self.tls) {
            ("http", _) => None,
            ("https", Some(tls)) => Some(TlsConnector::from(Arc::clone(tls))),
            ("https", None) => {
                let text =
                    "an https agent needs its certificate authority: agent_ca, --agent-ca FILE";
                return Err(Failure::lasting(text));
            }
            (other, _) => {
                let text = format!("{other} is neither http nor https");
                return Err(Failure::lasting(text));
            }
        };
        let tcp = self.dial(&url).await?;
        let Some(tls) = tls else {
            return converse(tcp, &url, sending).await;
        };
        let host = url.host_str().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| Failure::lasting(error.to_string()))?;
        let tls = tls.connect(name, tcp).await;
        converse(
            tls.map_err(|error| Failure::passing(&error))?,
            &url,
            sending,
        )
        .await
    }

    /// Connects to an address that has been looked at: there is no second look-up.
    async fn dial(&self, url: &Url) -> Result<TcpStream, Failure> {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Failure::lasting("the URL names no host"));
        };
        let addresses: Vec<SocketAddr> = match host {
            Host::Ipv4(ip) => vec![(ip, port).into()],
            Host::Ipv6(ip) => vec![(ip, port).into()],
            Host::Domain(name) => tokio::net::lookup_host((name, port))
                .await
                .map_err(|error| Failure::passing(&error))?
                .collect(),
        };
        let away = addresses
            .iter()
            .find(|at| !at.ip().to_canonical().is_loopback());
        if let Some(away) = away.filter(|_| !self.allow_remote) {
            return Err(Failure::lasting(format!(
                "{away} is not on this machine; say allow_remote (--allow-remote) if that is meant"
            )));
        }
        let tcp = TcpStream::connect(&*addresses).await;
        let tcp = tcp.map_err(|error| Failure::passing(&error))?;
        // Only speed depends on it.
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    sending: Sending<'_>,
) -> Result<HttpReply, Failure> {
    let broken = |error: hyper::Error| Failure::passing(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let connection = tokio::spawn(connection);
    // Whoever stops waiting hangs up.
    let _hangs_up = HangsUp(connection.abort_handle());
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder()
        .method(sending.method)
        .uri(target)
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close");
    for (name, value) in sending.headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(sending.body))
        .map_err(|error| Failure::lasting(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    if sending.leaves_early {
        return Err(Failure {
            text: "the gateway hung up on purpose".to_owned(),
            is_of_the_connection: true,
        });
    }
    let (head, body) = response.into_parts();
    let body = Limited::new(body, sending.limit_bytes).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let limit = sending.limit_bytes;
            Failure::lasting(format!("the reply is larger than {limit} bytes"))
        } else {
            Failure::passing(&*error)
        }
    })?;
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    Ok(HttpReply {
        status: head.status.as_u16(),
        content_type: content_type.unwrap_or_default().to_ascii_lowercase(),
        body: body.to_bytes(),
    })
}

struct HangsUp(tokio::task::AbortHandle);

impl Drop for HangsUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn trusting(pem: &str) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let authority = authority.map_err(|error| error.to_string())?;
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
