//! A call, borrowed from the body of its request.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::method::{Method, NO_PUSH_TEXT, UNKNOWN_TEXT, method};
use super::reply::{ReplyTo, error, refuses_by_event};
use super::{Version, code};
use crate::protocol::frame::{Dispatch, is_usable_id, object_in, text_in};
use crate::protocol::json_scan::Raw;
use crate::protocol::json_shape;

/// The longest id of a JSON-RPC request, as it is written.
const MAX_REQUEST_ID_BYTES: usize = 256;

/// A message for the agent.
pub struct Call<'a> {
    /// What the answer is written in.
    pub version: Version,
    /// The request's id as it was written, quotes included; `null` where it has none.
    pub id: &'a str,
    /// Whether the answer goes out as an event.
    pub streaming: bool,
    /// The caller's id of the message.
    pub message_id: Option<Cow<'a, str>>,
    /// The conversation that the message belongs to.
    pub context_id: Option<Cow<'a, str>>,
    /// What the data part asks for, its aliases resolved; `None` where the message has no data part.
    pub dispatch: Option<Dispatch<'a>>,
    /// The caller's id of the dispatch, if the data part names it.
    pub dispatch_id: Option<Cow<'a, str>>,
    /// The data part as it was written: what is verified, `svantic_auth` included.
    pub data_json: Option<&'a str>,
    /// The text parts, joined by newlines, of a message without a data part.
    pub text: Option<String>,
}

/// Without what was written: what proves the call is in there.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("version", &self.version)
            .field("streaming", &self.streaming)
            .field("message_id", &self.message_id)
            .field("dispatch_id", &self.dispatch_id)
            .finish_non_exhaustive()
    }
}

impl Call<'_> {
    /// What has to be kept for the answer.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo {
            version: self.version,
            id: self.id.to_owned(),
            context_id: self.context_id.as_deref().map(str::to_owned),
            streaming: self.streaming,
        }
    }
}

/// A request that is answered with an error, whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// As in [`Call`].
    pub id: String,
    /// As in [`Call`]; where the request does not say it, what the header says.
    pub version: Version,
    /// As in [`Call`]; false where the request does not say it.
    pub streaming: bool,
    /// One of [`code`].
    pub code: i32,
    /// What is wrong, and what would be right. Nothing of the request is repeated.
    pub message: &'static str,
    /// The platform's code, where the trouble is with the dispatch and not with what carries it.
    pub platform_code: Option<&'static str>,
}

impl Fault {
    /// A body that is not even text.
    pub fn not_utf8(version_header: Option<&str>) -> Self {
        Self {
            id: "null".to_owned(),
            version: version_of(version_header).unwrap_or(Version::V0_3),
            streaming: false,
            code: code::PARSE_ERROR,
            message: "the body is no UTF-8",
            platform_code: None,
        }
    }

    /// Whether [`Fault::reply`] goes out as an event, see [`refuses_by_event`].
    pub fn by_event(&self) -> bool {
        refuses_by_event(self.version, self.streaming)
    }

    /// The JSON-RPC response.
    pub fn reply(&self) -> String {
        let Self {
            id, version, code, ..
        } = self;
        error(id, *version, *code, self.message, self.platform_code)
    }
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Raw<'a>>,
    #[serde(borrow, default)]
    id: Option<Raw<'a>>,
    #[serde(borrow, default)]
    method: Option<Raw<'a>>,
    #[serde(borrow, default)]
    params: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct WireParams<'a> {
    #[serde(borrow, default)]
    message: Option<Raw<'a>>,
    #[serde(borrow, default)]
    configuration: Option<Raw<'a>>,
}

/// The names of 1.0 may be written in `snake_case` too, as all of protobuf's JSON.
#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default, rename = "messageId", alias = "message_id")]
    message_id: Option<Raw<'a>>,
    #[serde(borrow, default, rename = "contextId", alias = "context_id")]
    context_id: Option<Raw<'a>>,
    #[serde(borrow, default)]
    parts: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct WireConfiguration<'a> {
    #[serde(
        borrow,
        default,
        rename = "pushNotificationConfig",
        alias = "taskPushNotificationConfig",
        alias = "push_notification_config",
        alias = "task_push_notification_config"
    )]
    push: Option<Raw<'a>>,
}

/// In 0.3 `kind` says which member counts, in 1.0 the member that is there.
#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, default)]
    kind: Option<Raw<'a>>,
    #[serde(borrow, default)]
    data: Option<Raw<'a>>,
    #[serde(borrow, default)]
    text: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct WireData<'a> {
    #[serde(borrow, default)]
    skill_id: Option<Raw<'a>>,
    #[serde(borrow, default, rename = "skillId")]
    skill_id_alias: Option<Raw<'a>>,
    #[serde(borrow, default)]
    capability: Option<Raw<'a>>,
    #[serde(borrow, default)]
    args: Option<Raw<'a>>,
    #[serde(borrow, default)]
    inputs: Option<Raw<'a>>,
    #[serde(borrow, default)]
    session_context: Option<Raw<'a>>,
    #[serde(borrow, default)]
    traceparent: Option<Raw<'a>>,
    #[serde(borrow, default)]
    baggage: Option<Raw<'a>>,
    #[serde(borrow, default)]
    dispatch_id: Option<Raw<'a>>,
}

/// Why a call is refused, before it is known whom to tell.
type Refusal = (i32, &'static str, Option<&'static str>);

const fn invalid(message: &'static str) -> Refusal {
    (code::INVALID_PARAMS, message, Some("INVALID_DISPATCH"))
}

/// Reads the body of a `POST`. `version_header` is the value of [`super::VERSION_HEADER`], if it was sent.
pub fn read<'a>(body: &'a str, version_header: Option<&str>) -> Result<Call<'a>, Fault> {
    let mut fault = Fault {
        id: "null".to_owned(),
        version: version_of(version_header).unwrap_or(Version::V0_3),
        streaming: false,
        code: code::INVALID_REQUEST,
        message: "",
        platform_code: None,
    };
    let refused = |fault: Fault, (code, message, platform_code): Refusal| Fault {
        code,
        message,
        platform_code,
        ..fault
    };
    let wire = match envelope(body) {
        Ok(wire) => wire,
        Err((code, message)) => return Err(refused(fault, (code, message, None))),
    };
    let Some(id) = request_id(wire.id) else {
        let message = "the `id` of a request is a text of at most 254 bytes, a number or null";
        return Err(refused(fault, (code::INVALID_REQUEST, message, None)));
    };
    id.clone_into(&mut fault.id);
    if text_in(wire.jsonrpc).as_deref() != Some("2.0") {
        let message = "`jsonrpc` is not \"2.0\"";
        return Err(refused(fault, (code::INVALID_REQUEST, message, None)));
    }
    let Some(name) = text_in(wire.method) else {
        let message = "there is no `method`, or it is no text";
        return Err(refused(fault, (code::INVALID_REQUEST, message, None)));
    };
    let found = method(&name);
    if let Some((version, found)) = found {
        fault.version = version;
        let resubscribes = name == "tasks/resubscribe";
        fault.streaming = resubscribes || found == (Method::Send { streaming: true });
    }
    if version_of(version_header).is_none() {
        let message = "this agent speaks the versions 0.3 and 1.0 of A2A";
        return Err(refused(fault, (code::VERSION_NOT_SUPPORTED, message, None)));
    }
    let (version, streaming) = match found {
        Some((version, Method::Send { streaming })) => (version, streaming),
        Some((_, Method::Refused(code, message))) => {
            return Err(refused(fault, (code, message, None)));
        }
        None => return Err(refused(fault, (code::METHOD_NOT_FOUND, UNKNOWN_TEXT, None))),
    };
    let call = Call {
        version,
        id,
        streaming,
        message_id: None,
        context_id: None,
        dispatch: None,
        dispatch_id: None,
        data_json: None,
        text: None,
    };
    with_message(call, wire.params).map_err(|refusal| refused(fault, refusal))
}

/// The outermost object. An array is told apart, since batches are JSON-RPC and yet not taken.
fn envelope(body: &str) -> Result<WireCall<'_>, (i32, &'static str)> {
    if json_shape::check(body).is_err() {
        let message = "the body is nested deeper than 64 levels or has more than 100000 values";
        return Err((code::INVALID_REQUEST, message));
    }
    if body.trim_ascii_start().starts_with('{')
        && let Ok(wire) = serde_json::from_str(body)
    {
        return Ok(wire);
    }
    // What it is instead matters only now.
    let Ok(whole) = serde_json::from_str::<&RawValue>(body) else {
        return Err((code::PARSE_ERROR, "the body is no JSON"));
    };
    let message = if whole.get().starts_with('[') {
        "batches are not taken: send one request a POST"
    } else {
        "the body is no object, or names a member of it twice"
    };
    Err((code::INVALID_REQUEST, message))
}

/// Repeated in the answer as it stands, so it has to be something that every parser takes.
fn request_id(raw: Option<Raw<'_>>) -> Option<&str> {
    let Some(raw) = raw else { return Some("null") };
    let text = raw.get();
    let fits = text.len() <= MAX_REQUEST_ID_BYTES;
    let plain = text_in(Some(raw)).is_some() || serde_json::from_str::<Number>(text).is_ok();
    (fits && plain).then_some(text)
}

/// The version that the header asks for: 0.3 where it is missing, as 1.0 says; `None` for one that is not spoken here.
fn version_of(header: Option<&str>) -> Option<Version> {
    match header.map_or("", str::trim) {
        "" | "0" => Some(Version::V0_3),
        "1" => Some(Version::V1_0),
        other if other.starts_with("0.") => Some(Version::V0_3),
        other if other.starts_with("1.") => Some(Version::V1_0),
        _ => None,
    }
}

fn with_message<'a>(mut call: Call<'a>, params: Option<Raw<'a>>) -> Result<Call<'a>, Refusal> {
    let params: WireParams<'_> = object_in(params).ok_or(invalid("`params` is no object"))?;
    let message: WireMessage<'_> =
        object_in(params.message).ok_or(invalid("`params.message` is no object"))?;
    if let Some(configuration) = params.configuration {
        let read: WireConfiguration<'_> =
            object_in(Some(configuration)).ok_or(invalid("`params.configuration` is no object"))?;
        if read.push.is_some() {
            return Err((code::PUSH_NOTIFICATION_NOT_SUPPORTED, NO_PUSH_TEXT, None));
        }
    }
    call.message_id = identifier(message.message_id).ok_or(invalid(
        "`messageId` is no text of at most 128 bytes without NUL",
    ))?;
    call.context_id = identifier(message.context_id).ok_or(invalid(
        "`contextId` is no text of at most 128 bytes without NUL",
    ))?;
    let parts: Vec<Raw<'a>> = message
        .parts
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or(invalid("`message.parts` is no list"))?;
    if parts.is_empty() {
        return Err(invalid("`message.parts` is empty"));
    }
    with_parts(call, &parts)
}

/// Takes the first data part that names a skill, else the first, so that a caller may add data of its own.
fn with_parts<'a>(mut call: Call<'a>, parts: &[Raw<'a>]) -> Result<Call<'a>, Refusal> {
    let mut chosen: Option<(Raw<'_>, WireData<'_>)> = None;
    let mut texts: Vec<Cow<'_, str>> = Vec::new();
    for part in parts {
        let part: WirePart<'_> =
            object_in(Some(*part)).ok_or(invalid("a part of the message is no object"))?;
        let kind = text_in(part.kind);
        let is = |name: &str| kind.as_deref().is_none_or(|kind| kind == name);
        if is("data")
            && let Some(raw) = part.data
        {
            let data: WireData<'_> = object_in(Some(raw)).ok_or(invalid(
                "the data part is no object, or names a member of it twice",
            ))?;
            let better = chosen
                .as_ref()
                .is_none_or(|(_, first)| first.skill().is_none() && data.skill().is_some());
            if better {
                chosen = Some((raw, data));
            }
        } else if is("text")
            && let Some(raw) = part.text
        {
            texts.push(text_in(Some(raw)).ok_or(invalid("the text of a part is no text"))?);
        }
    }
    if let Some((raw, data)) = chosen {
        call.dispatch_id = identifier(data.dispatch_id).ok_or(invalid(
            "`dispatch_id` is no text of at most 128 bytes without NUL",
        ))?;
        call.data_json = Some(raw.get());
        call.dispatch = Some(data.dispatch());
    } else if texts.is_empty() {
        let message = "no part that a capability can be called with: send a data part with `skill_id` and `args`";
        let code = code::CONTENT_TYPE_NOT_SUPPORTED;
        return Err((code, message, Some("INVALID_DISPATCH")));
    } else {
        call.text = Some(texts.join("\n"));
    }
    Ok(call)
}

/// An id that may be missing or empty, which is the same in protobuf's JSON. `None` is an id that cannot be used.
#[allow(
    clippy::option_option,
    reason = "an id that is missing is not one that is wrong"
)]
fn identifier(raw: Option<Raw<'_>>) -> Option<Option<Cow<'_, str>>> {
    let Some(raw) = raw else { return Some(None) };
    let id = text_in(Some(raw))?;
    is_usable_id(&id).then(|| (!id.is_empty()).then_some(id))
}

impl<'a> WireData<'a> {
    fn skill(&self) -> Option<Raw<'a>> {
        self.skill_id.or(self.skill_id_alias).or(self.capability)
    }

    fn dispatch(&self) -> Dispatch<'a> {
        Dispatch {
            skill_id: self.skill(),
            args: self.args.or(self.inputs),
            session_context: self.session_context,
            traceparent: self.traceparent,
            baggage: self.baggage,
            session: None,
        }
    }
}
