//! Asks a running gateway through its control face.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::arguments::Ask;

const HOW_TO_START: &str =
    "Start one with `svantic-gateway serve`, or say where it is with --url or SVANTIC_URL.";

/// Why nobody could be asked.
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn plain(text: String) -> Self {
        Self { text, hint: None }
    }

    fn unreachable(whom: &Ask, error: &dyn std::fmt::Display) -> Self {
        Self {
            text: format!("no gateway at {}: {error}", whom.url),
            hint: Some(HOW_TO_START.to_owned()),
        }
    }
}

pub(crate) async fn get(whom: &Ask, what: &str) -> Result<(u16, Value), Failure> {
    whole(whom, send(whom, "GET", what, Bytes::new()).await?).await
}

pub(crate) async fn post(whom: &Ask, what: &str, body: &Value) -> Result<(u16, Value), Failure> {
    let body = Bytes::from(body.to_string());
    whole(whom, send(whom, "POST", what, body).await?).await
}

/// Calls `seen` with each line of JSON as it comes, until nobody wants more: a closed pipe is no failure.
pub(crate) async fn lines(
    whom: &Ask,
    what: &str,
    mut seen: impl FnMut(&Value) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut body = send(whom, "GET", what, Bytes::new()).await?.into_body();
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::unreachable(whom, &error))?;
        buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Ok(line) = serde_json::from_slice(&line)
                && seen(&line).is_err()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn whole(whom: &Ask, response: Response<Incoming>) -> Result<(u16, Value), Failure> {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| Failure::unreachable(whom, &error))?;
    let value = serde_json::from_slice(&body.to_bytes())
        .map_err(|_| Failure::unreachable(whom, &"what answers there is no svantic-gateway"))?;
    if status == 404 || status == 403 {
        return Err(Failure::unreachable(whom, &value));
    }
    Ok((status, value))
}

async fn send(
    whom: &Ask,
    method: &str,
    what: &str,
    body: Bytes,
) -> Result<Response<Incoming>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::unreachable(whom, error);
    let url = Url::parse(&whom.url).map_err(|error| failed(&error))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(failed(&"the URL names no host"));
    };
    let host = host.trim_matches(['[', ']']);
    let tcp = TcpStream::connect((host, port))
        .await
        .map_err(|error| failed(&error))?;
    let request = Request::builder()
        .method(method)
        .uri(format!("/_gateway/{what}"))
        .header(header::HOST, url.authority())
        .body(Full::new(body))
        .map_err(|error| failed(&error))?;
    if url.scheme() != "https" {
        return exchange(tcp, request).await.map_err(|error| failed(&error));
    }
    let Some(ca) = &whom.ca else {
        return Err(failed(
            &"an https gateway needs --ca with the file of its --ca-out",
        ));
    };
    let config = trusting(ca).map_err(|error| failed(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let tls = connector.connect(name, tcp).await;
    let tls = tls.map_err(|error| failed(&error))?;
    exchange(tls, request).await.map_err(|error| failed(&error))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn trusting(ca: &Path) -> Result<ClientConfig, String> {
    let name = ca.display();
    let certificates = CertificateDer::pem_file_iter(ca).map_err(|e| format!("{name}: {e}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("{name}: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
