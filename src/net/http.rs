//! REST calls: one client for all connectors with the same trust, no redirects, bounded bodies.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::Client;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use url::Url;

use super::proxy::Proxy;
use super::resolver::Resolver;
use super::tls::{TlsSetup, trusting_nobody};
use super::{USER_AGENT, failure, timed_out};
use crate::error::{Error, ErrorKind};
use crate::machine::action::{HttpReply, Reply, Request};
use crate::protocol::limits::MAX_HTTP_BODY_BYTES;
use crate::protocol::rest::retry_after;

/// How long an idle connection is kept for the next call.
const KEEP_IDLE: Duration = Duration::from_secs(20);

/// A client for `https` with this setup, or for plain `http`; all its calls go through the proxy, if there is one.
pub(crate) fn client(tls: Option<&TlsSetup>, proxy: Option<&Proxy>) -> Result<Client, Error> {
    let setup = |error: reqwest::Error| {
        Error::new(
            ErrorKind::Internal,
            "HTTP_SETUP",
            error.without_url().to_string(),
        )
    };
    let tls = match tls {
        Some(tls) => tls.config()?,
        None => trusting_nobody()?,
    };
    let builder = Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        // A redirect would carry the token, or the client secret, to wherever it points.
        .redirect(Policy::none())
        .dns_resolver(Resolver)
        // reqwest reads the environment by itself, and by other rules than ours.
        .no_proxy()
        .user_agent(USER_AGENT)
        .pool_idle_timeout(KEEP_IDLE)
        .pool_max_idle_per_host(2);
    let builder = match proxy {
        None => builder,
        Some(proxy) => {
            let mut through = reqwest::Proxy::all(proxy.address.clone()).map_err(setup)?;
            if let Some(authorization) = &proxy.authorization {
                through = through.custom_http_auth(authorization.clone());
            }
            builder.proxy(through)
        }
    };
    builder.build().map_err(setup)
}

/// Sends one request and reads its reply.
pub(crate) async fn send(
    client: &Client,
    proxy: Option<Proxy>,
    url: String,
    request: Request,
) -> Reply {
    let limit = request.timeout;
    let failed = match tokio::time::timeout(limit, exchange(client, url, &request)).await {
        Err(_) => timed_out("the answer", limit),
        Ok(Err(error)) => {
            if let Some(proxy) = &proxy
                && wants_credentials(&error)
            {
                return Reply::Http(refused_by(proxy));
            }
            failure(&error.without_url())
        }
        Ok(Ok(reply)) => {
            return Reply::Http(match &proxy {
                // Only a proxy asks for this; without TLS its answer comes like one of the mesh's.
                Some(proxy) if reply.status == PROXY_AUTH => refused_by(proxy),
                _ => reply,
            });
        }
    };
    Reply::Failed(match proxy {
        Some(proxy) => failed.through(&proxy.name()),
        None => failed,
    })
}

/// "Proxy Authentication Required".
const PROXY_AUTH: u16 = 407;

/// Without the body: what a proxy writes may repeat the password, and is no answer of the mesh's.
fn refused_by(proxy: &Proxy) -> HttpReply {
    HttpReply {
        status: PROXY_AUTH,
        proxy: Some(proxy.name()),
        ..HttpReply::default()
    }
}

/// Whether a proxy has answered CONNECT with 407. hyper-util keeps the type of that error to itself and reads no
/// other status, so its words are all there is; a test with a real proxy notices when they change.
fn wants_credentials(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        if current.to_string() == "tunnel error: proxy authorization required" {
            return true;
        }
        cause = current.source();
    }
    false
}

async fn exchange(
    client: &Client,
    url: String,
    request: &Request,
) -> Result<HttpReply, reqwest::Error> {
    let mut call = client
        .post(url)
        .headers(request.headers.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(request.body.expose_secret().to_owned());
    if let Some(token) = &request.bearer
        && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
    {
        value.set_sensitive(true);
        call = call.header(AUTHORIZATION, value);
    }
    let mut response = call.send().await?;
    let mut body = Vec::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Err(error) if response.status().is_success() => return Err(error),
            // The body of a refusal that is cut still leaves the status to report.
            Ok(None) | Err(_) => break,
        };
        let room = MAX_HTTP_BODY_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_HTTP_BODY_BYTES {
            break;
        }
    }
    Ok(reply(response.status().as_u16(), response.headers(), body))
}

/// What the machine wants to know of a reply.
pub(super) fn reply(status: u16, headers: &HeaderMap, body: Vec<u8>) -> HttpReply {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    HttpReply {
        status,
        retry_after: text(RETRY_AFTER).and_then(|value| retry_after(value, text(DATE))),
        location: text(LOCATION).map(location),
        body,
        proxy: None,
    }
}

/// The host that a redirect points to; the rest of the URL is nobody's business.
fn location(value: &str) -> String {
    Url::parse(value)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "the same host".to_owned())
}
