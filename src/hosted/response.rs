//! What a call is answered with, as HTTP.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::ResponsePart;
use super::gate::Turned;
use crate::machine::action::{CallAnswer, Response};
use crate::protocol::a2a::{self, Outcome, Version, code};
use crate::protocol::frame_writer::Stamp;

/// The one text of all that cannot be believed (`security.md` S-04).
const UNAUTHENTICATED: &str = "the dispatch is not authenticated";

/// What the machine's response is as a part of HTTP's.
pub(crate) fn render(response: Response) -> ResponsePart {
    match response {
        Response::Begin => ResponsePart {
            head: Some((200, stream_headers())),
            more: true,
            ..ResponsePart::default()
        },
        Response::KeepAlive => ResponsePart {
            body: a2a::KEEP_ALIVE.to_owned(),
            more: true,
            ..ResponsePart::default()
        },
        Response::Answer(answer) => answered(&answer),
        Response::Unauthenticated => {
            let part = json_part(401, fixed(code::TASK_NOT_FOUND, UNAUTHENTICATED));
            part.with("www-authenticate", "Svantic-Dispatch")
        }
        Response::Busy => busy(503),
        Response::Cancelled => ResponsePart::cancelled(),
    }
}

/// The response to what was not even verified.
pub(crate) fn turned_away(why: Turned) -> ResponsePart {
    busy(match why {
        Turned::RateLimited => 429,
        Turned::TooMany => 503,
    })
}

/// The last part of a response when the library ends before it is there; `begun`: a part of it is out.
pub(crate) fn ended(begun: bool) -> ResponsePart {
    if begun {
        return ResponsePart::default();
    }
    unavailable(503, "the agent has ended")
}

/// The response when there is nobody to do the work.
pub(crate) fn no_thread() -> ResponsePart {
    unavailable(503, "the agent cannot take the call now")
}

fn busy(status: u16) -> ResponsePart {
    unavailable(status, "too many calls: try again later")
}

fn unavailable(status: u16, text: &str) -> ResponsePart {
    later(json_part(status, fixed(code::INTERNAL_ERROR, text)))
}

/// A response to a request of which nothing is repeated.
fn fixed(code: i32, message: &str) -> String {
    a2a::error("null", Version::V0_3, code, message, None)
}

fn later(part: ResponsePart) -> ResponsePart {
    part.with("retry-after", "1")
}

fn json_part(status: u16, body: String) -> ResponsePart {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ];
    ResponsePart::whole(status, headers, body)
}

/// A response that is a single event.
fn event_part(json: &str) -> ResponsePart {
    ResponsePart::whole(200, stream_headers(), a2a::event(json))
}

/// The response to a call that is none.
pub(super) fn refusal_part(by_event: bool, json: String) -> ResponsePart {
    if by_event {
        event_part(&json)
    } else {
        json_part(200, json)
    }
}

fn stream_headers() -> Vec<(&'static str, String)> {
    vec![
        ("content-type", "text/event-stream".to_owned()),
        ("cache-control", "no-store".to_owned()),
        // Or nginx would keep everything back until the end.
        ("x-accel-buffering", "no".to_owned()),
    ]
}

/// The frame that would have told the mesh.
#[derive(Deserialize)]
struct Frame<'a> {
    id: &'a str,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default, deserialize_with = "null_too")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

/// A result of `null` is one.
fn null_too<'a, 'de: 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// How the code of an `error` frame is answered over HTTP.
enum Refused {
    /// Not at all: it is how the work has ended.
    No,
    /// The call is wrong, and will be.
    Wrong,
    /// Another time it may do.
    Later,
    /// It has been answered, and the answer is gone.
    Gone,
}

fn refused(code: &str) -> Refused {
    match code {
        "INVALID_DISPATCH" | "UNKNOWN_SKILL" | "INVALID_ARGS" => Refused::Wrong,
        "AGENT_OVERLOADED" | "AGENT_SHUTDOWN" => Refused::Later,
        "DUPLICATE_DISPATCH" => Refused::Gone,
        _ => Refused::No,
    }
}

fn answered(answer: &CallAnswer) -> ResponsePart {
    let CallAnswer {
        to,
        begun,
        dispatch_id,
        frame,
    } = answer;
    let Ok(Frame { id, payload }) = serde_json::from_str(frame) else {
        debug_assert!(false, "frames of our own can be read");
        return ended(*begun);
    };
    let id = Uuid::try_parse(id).unwrap_or_default();
    // Of the first answer, so that a retry gets the same.
    let stamp = Stamp {
        id,
        unix_ms: unix_ms(id),
    };
    let refusal = match payload.result {
        Some(_) => Refused::No,
        None => refused(&payload.code),
    };
    let error = |number| {
        let message = &payload.message;
        a2a::error(&to.id, to.version, number, message, Some(&payload.code))
    };
    let (status, text) = match (&refusal, payload.result) {
        (Refused::Wrong, _) => (200, error(code::INVALID_PARAMS)),
        (Refused::Gone, _) => (200, error(code::INTERNAL_ERROR)),
        (Refused::Later, _) => (503, error(code::INTERNAL_ERROR)),
        (Refused::No, Some(result)) => {
            let outcome = Outcome::Result(result.get());
            (200, a2a::reply(to, outcome, dispatch_id, stamp))
        }
        (Refused::No, None) => {
            let outcome = Outcome::Failed {
                code: &payload.code,
                message: &payload.message,
            };
            (200, a2a::reply(to, outcome, dispatch_id, stamp))
        }
    };
    let by_event = match refusal {
        Refused::No => to.streaming,
        Refused::Later => false,
        Refused::Wrong | Refused::Gone => to.refuses_by_event(),
    };
    if *begun {
        return ResponsePart {
            body: a2a::event(&text),
            ..ResponsePart::default()
        };
    }
    if by_event {
        return event_part(&text);
    }
    let part = json_part(status, text);
    match refusal {
        Refused::Later => later(part),
        _ => part,
    }
}

/// When a frame of ours was written: its id says it.
fn unix_ms(id: Uuid) -> u64 {
    id.as_u64_pair().0 >> 16
}

#[cfg(test)]
mod tests;
