//! One request and its response.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::answer::{Answer, Turn};
use super::seats::{Phase, Seat};
use crate::hosted::{Head, ResponsePart};

/// Takes the body in, hands the request over and waits for the beginning of its response.
pub(super) async fn answer(
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    // One that was sent together with the one before.
    seat.heard();
    let (head, body) = request.into_parts();
    let head = Head {
        // Of a response to HEAD everything but the body is that of GET, and hyper leaves the body out.
        method: match head.method {
            Method::HEAD => Method::GET,
            other => other,
        },
        path: head.uri.path().to_owned(),
        headers: head.headers,
        peer: Some(peer.to_string()),
    };
    let received = receive(&shared, &seat, body).await;
    seat.enter(Phase::Response);
    let mut turn = Turn::new(Arc::clone(&shared.service), seat);
    let body = match received {
        Ok(body) => body,
        Err(flaw) => return Ok(refused(flaw, shared.limits.body_bytes, turn)),
    };
    let (sender, mut parts) = mpsc::unbounded_channel();
    // Whoever has gone needs no answer.
    let respond = Box::new(move |part| drop(sender.send(part)));
    let tag = turn.begin();
    shared.service.serve(&head, &body, tag, respond);
    let first = parts.recv().await.unwrap_or_default();
    Ok(response(first, parts, turn))
}

/// Why there is no body.
#[derive(Clone, Copy)]
enum Flaw {
    TooLarge,
    TooSlow,
    /// It ends before its end, or is no body at all.
    Cut,
}

async fn receive(shared: &Shared, seat: &Seat, mut body: Incoming) -> Result<Bytes, Flaw> {
    let limits = &shared.limits;
    let limit = limits.body_bytes;
    // Before a client that waits for "100 Continue" is told to go on.
    if body.size_hint().lower() > limit as u64 {
        return Err(Flaw::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let until = Instant::now() + limits.body;
    seat.enter(Phase::Body);
    let reading = async {
        let mut place = None;
        let (mut only, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            // Trailers mean nothing here.
            let Ok(data) = frame.map_err(|_| Flaw::Cut)?.into_data() else {
                continue;
            };
            let length = only.len() + whole.len() + data.len();
            if length > limit {
                return Err(Flaw::TooLarge);
            }
            seat.received(data.len());
            if length > limits.small && place.is_none() {
                place = find_place(shared, seat).await;
            }
            if only.is_empty() && whole.is_empty() {
                only = data;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut only));
                whole.extend_from_slice(&data);
            }
        }
        Ok(if whole.is_empty() {
            only
        } else {
            whole.freeze()
        })
    };
    let read = timeout_at(until, reading).await;
    read.unwrap_or(Err(Flaw::TooSlow))
}

/// A place for a large body. While there is none the slowest loses its own, when it had its time; so those who wait
/// are not at the mercy of those who never end.
async fn find_place<'a>(shared: &'a Shared, seat: &Seat) -> Option<SemaphorePermit<'a>> {
    let mut place = shared.bodies.try_acquire().ok();
    if place.is_none() {
        seat.enter(Phase::Queue);
    }
    while place.is_none() {
        let gives_way = shared.seats.slowest_body();
        let gives_way = gives_way.unwrap_or_else(|| Instant::now() + shared.limits.patience);
        place = match timeout_at(gives_way, shared.bodies.acquire()).await {
            Ok(place) => place.ok(),
            Err(_) => None,
        };
        if place.is_none() {
            shared.seats.end_slowest_body();
            // Its place is free when its task has run.
            yield_now().await;
        }
    }
    seat.enter(Phase::Large);
    place
}

fn refused(flaw: Flaw, limit: usize, turn: Turn) -> Response<Answer> {
    let (status, text) = match flaw {
        Flaw::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {limit} bytes\n"),
        ),
        Flaw::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long\n".to_owned(),
        ),
        Flaw::Cut => (
            StatusCode::BAD_REQUEST,
            "the body cannot be read to its end\n".to_owned(),
        ),
    };
    let mut response = Response::new(Answer::whole(text, turn));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // What follows of the body is no request.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn response(
    first: ResponsePart,
    rest: mpsc::UnboundedReceiver<ResponsePart>,
    turn: Turn,
) -> Response<Answer> {
    let Some((status, named)) = first.head else {
        // Whoever was to answer has ended.
        let mut response = Response::new(Answer::whole(String::new(), turn));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    let mut response = Response::new(if first.more {
        Answer::in_parts(first.body, rest, turn)
    } else {
        Answer::whole(first.body, turn)
    });
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in named {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
