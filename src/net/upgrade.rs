//! The HTTP/1.1 upgrade of a stream to a WebSocket.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Empty;
use secrecy::ExposeSecret as _;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

use super::exchange::{Exchanged, exchange, other};
use super::stream::Stream;
use crate::machine::action::{Dial, Dialed};
use crate::protocol::limits::SUBPROTOCOL;

/// Asks for the upgrade. Returns the stream and what came behind the 101.
pub(super) async fn upgrade(stream: Stream, dial: &Dial) -> Result<(Stream, Bytes), Dialed> {
    let key = generate_key();
    match exchange(stream, request(dial, &key)?).await? {
        Exchanged::Refused(reply) => Err(Dialed::Refused(reply)),
        Exchanged::Switched(headers, stream, early) => {
            check(&headers, &key)?;
            Ok((stream, early))
        }
    }
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
