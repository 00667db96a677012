//! One HTTP/1.1 request whose answer may hand the stream over: the upgrade to a WebSocket, and a proxy's CONNECT.
//!
//! hyper speaks the HTTP part, because a refusal must be read like any other reply: headers within limits,
//! and the whole body, which carries the platform's code.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{failure, http as replies};
use crate::error::ErrorKind;
use crate::machine::action::{Dialed, HttpReply, NetFailure};
use crate::protocol::limits::MAX_HTTP_BODY_BYTES;

const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// What came of a request.
pub(super) enum Exchanged<S> {
    /// The stream is ours, with what came behind the answer's head.
    Switched(HeaderMap, S, Bytes),
    /// Another answer.
    Refused(HttpReply),
}

/// Sends the request and reads its answer.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Exchanged<S>, Dialed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Dialed::Failed(failure(&error));
    let tunnel = request.method() == Method::CONNECT;
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
    let switched = if tunnel {
        response.status().is_success()
    } else {
        response.status() == StatusCode::SWITCHING_PROTOCOLS
    };
    if !switched {
        let (head, body) = response.into_parts();
        let mut read = Bytes::new();
        // What a proxy writes of its own accord is no answer of the mesh's, and may repeat the password.
        if !tunnel {
            let mut work = pin!(async {
                // A body that is cut or too long still leaves the status to report.
                if let Ok(body) = Limited::new(body, MAX_HTTP_BODY_BYTES).collect().await {
                    read = body.to_bytes();
                }
            });
            drive(&mut work).await;
        }
        let reply = replies::reply(head.status.as_u16(), &head.headers, read.to_vec());
        return Ok(Exchanged::Refused(reply));
    }
    let headers = response.headers().clone();
    drop(response);
    drop(sender);
    let parts = match parts {
        Some(parts) => parts,
        None => connection.await,
    }
    .map_err(broken)?;
    let stream = parts.io.into_inner();
    Ok(Exchanged::Switched(headers, stream, parts.read_buf))
}

pub(super) fn other(text: &str) -> Dialed {
    Dialed::Failed(NetFailure {
        kind: ErrorKind::Network,
        text: text.to_owned(),
    })
}
