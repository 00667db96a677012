//! REST calls: one client for all connectors with the same trust, no redirects, bounded bodies.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::Client;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use url::Url;

use super::resolver::Resolver;
use super::tls::{Trust, trusting_nobody};
use super::{USER_AGENT, failure, timed_out};
use crate::error::{Error, ErrorKind};
use crate::machine::action::{HttpReply, Reply, Request};
use crate::protocol::limits::MAX_HTTP_BODY_BYTES;
use crate::protocol::rest::retry_after;

/// How long an idle connection is kept for the next call.
const KEEP_IDLE: Duration = Duration::from_secs(20);

/// A client for `https` with this trust, or for plain `http`.
pub(crate) fn client(plain: bool, trust: &Trust) -> Result<Client, Error> {
    let tls = if plain {
        trusting_nobody()?
    } else {
        trust.config()?
    };
    Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        // A redirect would carry the token, or the client secret, to wherever it points.
        .redirect(Policy::none())
        .dns_resolver(Resolver)
        .no_proxy()
        .user_agent(USER_AGENT)
        .pool_idle_timeout(KEEP_IDLE)
        .pool_max_idle_per_host(2)
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "HTTP_SETUP", error.to_string()))
}

/// Sends one request and reads its reply.
pub(crate) async fn send(client: Client, url: String, request: Request) -> Reply {
    let limit = request.timeout;
    match tokio::time::timeout(limit, exchange(&client, url, &request)).await {
        Err(_) => Reply::Failed(timed_out("the answer", limit)),
        Ok(Err(error)) => Reply::Failed(failure(&error.without_url())),
        Ok(Ok(reply)) => Reply::Http(reply),
    }
}

async fn exchange(
    client: &Client,
    url: String,
    request: &Request,
) -> Result<HttpReply, reqwest::Error> {
    let mut call = client
        .post(url)
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
    }
}

/// The host that a redirect points to; the rest of the URL is nobody's business.
fn location(value: &str) -> String {
    Url::parse(value)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "the same host".to_owned())
}
