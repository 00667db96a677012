//! The HTTP/1.1 upgrade of a stream to a WebSocket.
//!
//! hyper speaks the HTTP part, because a refusal must be read like any other reply: headers within limits,
//! and the whole body, which carries the platform's code.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

use super::stream::Stream;
use super::{failure, http as replies};
use crate::error::ErrorKind;
use crate::machine::action::{Dial, Dialed, NetFailure};
use crate::protocol::limits::{MAX_HTTP_BODY_BYTES, SUBPROTOCOL};

const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Asks for the upgrade. Returns the stream and what came behind the 101.
pub(super) async fn upgrade(stream: Stream, dial: &Dial) -> Result<(Stream, Bytes), Dialed> {
    let key = generate_key();
    let request = request(dial, &key)?;
    let broken = |error: hyper::Error| Dialed::Failed(failure(&error));
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // The connection only moves while it is polled, so everything below is awaited beside it.
    let mut connection = pin!(connection.without_shutdown());
    let mut parts = None;
    let mut drive = async |work: &mut (dyn Future<Output = ()> + Unpin + Send)| {
        poll_fn(|cx| {
            if parts.is_none()
                && let Poll::Ready(result) = connection.as_mut().poll(cx)
            {
                parts = Some(result);
            }
            std::pin::Pin::new(&mut *work).poll(cx)
        })
        .await;
    };

    let mut response = None;
    {
        let mut work = pin!(async { response = Some(sender.send_request(request).await) });
        drive(&mut work).await;
    }
    let response = response
        .ok_or_else(|| other("the request was not answered"))?
        .map_err(broken)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = response.into_parts();
        let mut read = Bytes::new();
        {
            let mut work = pin!(async {
                // A body that is cut or too long still leaves the status to report.
                if let Ok(body) = Limited::new(body, MAX_HTTP_BODY_BYTES).collect().await {
                    read = body.to_bytes();
                }
            });
            drive(&mut work).await;
        }
        let reply = replies::reply(head.status.as_u16(), &head.headers, read.to_vec());
        return Err(Dialed::Refused(reply));
    }
    check(response.headers(), &key)?;
    drop(sender);
    let parts = match parts {
        Some(parts) => parts,
        None => connection.await,
    }
    .map_err(broken)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn request(dial: &Dial, key: &str) -> Result<Request<Empty<Bytes>>, Dialed> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", dial.bearer.expose_secret()))
        .map_err(|_| other("the token cannot be put into a header"))?;
    bearer.set_sensitive(true);
    Request::get(path_and_query(&dial.url))
        .header(HOST, host(&dial.url))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(USER_AGENT, super::USER_AGENT)
        .header(AUTHORIZATION, bearer)
        .body(Empty::new())
        .map_err(|error| other(&error.to_string()))
}

fn check(headers: &HeaderMap, key: &str) -> Result<(), Dialed> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let upgraded = text(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let accepted = text(SEC_WEBSOCKET_ACCEPT) == Some(&derive_accept_key(key.as_bytes()));
    if !upgraded || !accepted {
        return Err(other("the 101 is not the answer to our WebSocket upgrade"));
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(other(
            "the 101 switches on a WebSocket extension that was not offered",
        ));
    }
    match text(SEC_WEBSOCKET_PROTOCOL) {
        Some(SUBPROTOCOL) => Ok(()),
        other => {
            let shown = other.map(|name| name.chars().take(64).collect());
            Err(Dialed::WrongSubprotocol(shown))
        }
    }
}

fn path_and_query(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn other(text: &str) -> Dialed {
    Dialed::Failed(NetFailure {
        kind: ErrorKind::Network,
        text: text.to_owned(),
    })
}
