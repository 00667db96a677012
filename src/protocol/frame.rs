//! Frames of the mesh (section 4), read borrowed.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The text of a whole frame: shared, never copied on its way to the socket.
pub use tokio_tungstenite::tungstenite::Utf8Bytes as FrameText;

use super::json_scan::{Raw, Scanner, Unsure};
use super::json_shape::{self, ShapeError};
use super::limits::{ENVELOPE_VERSION, MAX_ID_BYTES};

/// One frame from the mesh, borrowed from its text.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// What the frame is.
    pub kind: Kind,
    /// The sender's id of the frame; empty where it sent none.
    pub id: Cow<'a, str>,
    /// The payload's text.
    pub payload: Option<Raw<'a>>,
    /// What the payload says if it is that of a dispatch.
    pub dispatch: Dispatch<'a>,
    /// Whether the payload says who it is from (section 8).
    pub is_signed: bool,
}

/// The frame types that mean something to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Completes the handshake.
    Welcome,
    /// A capability call.
    Dispatch,
    /// Anything else: ignored and counted, since the platform may grow.
    Unknown,
}

/// Why a frame was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Not JSON, not an object, a field of the wrong type, or a field twice.
    Malformed,
    /// Nested too deep or too many values.
    Shape(ShapeError),
    /// An envelope of a version that this library does not know.
    UnknownVersion,
    /// An id longer than [`MAX_ID_BYTES`], or with a NUL in it, which C strings cannot carry.
    UnusableId,
}

#[derive(Deserialize)]
struct WireEnvelope<'a> {
    #[serde(default)]
    v: Option<u64>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    /// Raw, since serde copies a string that may be `null`.
    #[serde(borrow, default)]
    id: Option<Raw<'a>>,
    #[serde(borrow, default)]
    payload: Option<Raw<'a>>,
}

/// Reads one frame. A frame without `v` is read as version 1: strict in what is sent, tolerant in what is accepted.
pub fn parse(text: &str) -> Result<Envelope<'_>, FrameError> {
    at_once(text).or_else(|Unsure| with_care(text))
}

/// Reads a frame as the mesh sends them, in one pass. It says of a frame what [`with_care`] would say, or nothing.
fn at_once(text: &str) -> Result<Envelope<'_>, Unsure> {
    let (mut version, mut kind, mut id, mut payload) = (None, None, None, None);
    let (mut dispatch, mut is_signed) = Default::default();
    let mut scan = Scanner::new(text);
    scan.object(|scan, key| match key {
        b"v" => fill(&mut version, scan),
        b"type" => fill(&mut kind, scan),
        b"id" => fill(&mut id, scan),
        b"payload" if scan.is_at_object() => {
            let start = scan.position();
            (dispatch, is_signed) = Dispatch::scan(scan)?;
            once(&mut payload, scan.since(start))
        }
        b"payload" => Err(Unsure),
        _ => scan.skip(),
    })?;
    scan.finish()?;
    if version.is_some_and(|v: Raw<'_>| v.get().parse() != Ok(ENVELOPE_VERSION)) {
        return Err(Unsure);
    }
    let id = id.map_or(Some(""), Raw::plain_text);
    let id = id.filter(|id| id.len() <= MAX_ID_BYTES).ok_or(Unsure)?;
    let kind = kind.and_then(Raw::plain_text).ok_or(Unsure)?;
    Ok(Envelope {
        kind: Kind::named(kind),
        id: Cow::Borrowed(id),
        payload,
        dispatch,
        is_signed,
    })
}

/// Reads a member. To serde null is no value, and two of them are two.
fn fill<'a>(place: &mut Option<Raw<'a>>, scan: &mut Scanner<'a>) -> Result<(), Unsure> {
    let value = scan.value()?;
    if value.get() == "null" {
        return Err(Unsure);
    }
    once(place, value)
}

/// Fills a place that must have been empty.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Unsure> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Unsure),
    }
}

/// Reads any frame, and says what is wrong with one that cannot be read.
fn with_care(text: &str) -> Result<Envelope<'_>, FrameError> {
    json_shape::check(text).map_err(FrameError::Shape)?;
    let wire: WireEnvelope<'_> = serde_json::from_str(text).map_err(|_| FrameError::Malformed)?;
    if wire.v.is_some_and(|v| v != ENVELOPE_VERSION) {
        return Err(FrameError::UnknownVersion);
    }
    let id = match wire.id {
        Some(id) => text_in(Some(id)).ok_or(FrameError::Malformed)?,
        None => Cow::default(),
    };
    if !is_usable_id(&id) {
        return Err(FrameError::UnusableId);
    }
    Ok(Envelope {
        kind: Kind::named(&wire.kind),
        id,
        payload: wire.payload,
        dispatch: object_in(wire.payload).unwrap_or_default(),
        is_signed: is_signed(wire.payload),
    })
}

/// Whether a payload says who it is from. One that cannot be read says it, to be refused for it.
fn is_signed(payload: Option<Raw<'_>>) -> bool {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow, default)]
        svantic_auth: Option<Raw<'a>>,
    }
    let text = payload.map_or("", Raw::get);
    text.starts_with('{')
        && serde_json::from_str::<Probe<'_>>(text)
            .map_or(true, |probe| probe.svantic_auth.is_some())
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "welcome" => Self::Welcome,
            "dispatch" => Self::Dispatch,
            _ => Self::Unknown,
        }
    }
}

/// Whether an id can be kept and handed to the application, see [`FrameError::UnusableId`].
pub fn is_usable_id(id: &str) -> bool {
    id.len() <= MAX_ID_BYTES && !id.contains('\0')
}

/// Whether the text is one JSON object within the limits, whatever it says.
pub fn is_object(text: &str) -> bool {
    let mut scan = Scanner::new(text);
    if !scan.is_at_object() {
        return false;
    }
    let recognised = scan.value().and_then(|_| scan.finish()).is_ok();
    recognised
        || (json_shape::check(text).is_ok() && serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// What kind of frame it is that was not understood, for people.
pub fn described(text: &str) -> String {
    match parse(text) {
        Ok(_) => {
            let wire: Result<WireEnvelope<'_>, _> = serde_json::from_str(text);
            let kind = wire.map(|wire| wire.kind.into_owned()).unwrap_or_default();
            let shown: String = kind
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_SHOWN_TYPE)
                .collect();
            format!("of type `{shown}`")
        }
        Err(FrameError::Malformed) => "malformed".to_owned(),
        Err(FrameError::Shape(_)) => "nested too deep or too large".to_owned(),
        Err(FrameError::UnknownVersion) => "of an unknown version".to_owned(),
        Err(FrameError::UnusableId) => "without a usable id".to_owned(),
    }
}

/// How much of a type that we do not know is shown.
const MAX_SHOWN_TYPE: usize = 64;

/// The payload of a `welcome`.
#[derive(Debug, Default, Deserialize)]
pub struct Welcome {
    /// Whether the mesh took up an earlier connection of this instance.
    #[serde(default)]
    pub resumed: bool,
}

impl Welcome {
    /// Reads the payload; what is missing or malformed counts as not resumed.
    pub fn read(payload: Option<Raw<'_>>) -> Self {
        payload
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    }
}

/// The payload of a `dispatch`, every field still raw: one that is malformed must not cost the others. A payload that is no
/// object, or names a member twice, is a dispatch without a `skill_id`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Dispatch<'a> {
    /// Which capability is called.
    #[serde(borrow, default)]
    pub skill_id: Option<Raw<'a>>,
    /// The arguments; absent or not an object means `{}` (section 7, rule 2).
    #[serde(borrow, default)]
    pub args: Option<Raw<'a>>,
    /// `{session_id?, tenant_id?, …}`.
    #[serde(borrow, default)]
    pub session_context: Option<Raw<'a>>,
    /// W3C trace context.
    #[serde(borrow, default)]
    pub traceparent: Option<Raw<'a>>,
    /// W3C baggage.
    #[serde(borrow, default)]
    pub baggage: Option<Raw<'a>>,
    /// What `session_context` says, where that has been read already.
    #[serde(skip)]
    pub(super) session: Option<Session<'a>>,
}

/// The part of `session_context` that has a place of its own in the handler's context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Session<'a> {
    /// The session's id.
    #[serde(borrow, default)]
    pub session_id: Option<Raw<'a>>,
    /// On whose behalf it is.
    #[serde(borrow, default)]
    pub tenant_id: Option<Raw<'a>>,
    /// W3C trace context.
    #[serde(borrow, default)]
    pub traceparent: Option<Raw<'a>>,
    /// W3C baggage.
    #[serde(borrow, default)]
    pub baggage: Option<Raw<'a>>,
}

impl<'a> Session<'a> {
    fn scan(scan: &mut Scanner<'a>) -> Result<Self, Unsure> {
        let mut read = Self::default();
        scan.object(|scan, key| {
            let place = match key {
                b"session_id" => &mut read.session_id,
                b"tenant_id" => &mut read.tenant_id,
                b"traceparent" => &mut read.traceparent,
                b"baggage" => &mut read.baggage,
                _ => return scan.skip(),
            };
            fill(place, scan)
        })?;
        Ok(read)
    }
}

impl<'a> Dispatch<'a> {
    /// What `session_context` says; nothing if it is no object, or names a member twice.
    pub fn session(&self) -> Session<'a> {
        self.session
            .unwrap_or_else(|| object_in(self.session_context).unwrap_or_default())
    }

    /// Reads the payload that is next, and whether it says who it is from.
    fn scan(scan: &mut Scanner<'a>) -> Result<(Self, bool), Unsure> {
        let mut read = Self::default();
        let mut svantic_auth = None;
        scan.object(|scan, key| {
            let place = match key {
                b"skill_id" => &mut read.skill_id,
                b"args" => &mut read.args,
                b"session_context" => {
                    let start = scan.position();
                    read.session = Some(Session::scan(scan)?);
                    return once(&mut read.session_context, scan.since(start));
                }
                b"traceparent" => &mut read.traceparent,
                b"baggage" => &mut read.baggage,
                b"svantic_auth" => &mut svantic_auth,
                _ => return scan.skip(),
            };
            fill(place, scan)
        })?;
        Ok((read, svantic_auth.is_some()))
    }
}

/// The members of the object in `raw`; `None` for anything else and for an object that names one of them twice.
pub fn object_in<'a, T: Deserialize<'a>>(raw: Option<Raw<'a>>) -> Option<T> {
    let text = raw?.get();
    // serde would read an array as the members in order.
    text.starts_with('{')
        .then(|| serde_json::from_str(text).ok())?
}

/// The string in `raw`, if it is one.
pub fn text_in(raw: Option<Raw<'_>>) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let raw = raw?;
    if let Some(plain) = raw.plain_text() {
        return Some(Cow::Borrowed(plain));
    }
    let text: Text<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_tolerantly() {
        let frame =
            parse(r#"{"type":"dispatch","id":"d1","payload":{"skill_id":"a"},"new":1}"#).unwrap();
        assert_eq!((frame.kind, frame.id.as_ref()), (Kind::Dispatch, "d1"));
        assert_eq!(text_in(frame.dispatch.skill_id).as_deref(), Some("a"));
        let frame = parse(r#"{"v":1,"type":"to be invented"}"#).unwrap();
        assert_eq!((frame.kind, frame.id.as_ref()), (Kind::Unknown, ""));
        assert!(!Welcome::read(None).resumed);
        let welcome = parse(r#"{"v":1,"type":"welcome","payload":{"resumed":true}}"#).unwrap();
        assert!(Welcome::read(welcome.payload).resumed);
    }

    #[test]
    fn a_broken_frame_is_named() {
        for text in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"dispatch","id":7}"#,
            r#"{"type":"welcome","type":"dispatch"}"#,
            r#"{"type":"welcome"} x"#,
        ] {
            assert_eq!(parse(text).unwrap_err(), FrameError::Malformed, "{text}");
        }
        assert_eq!(
            parse(r#"{"v":2,"type":"welcome"}"#).unwrap_err(),
            FrameError::UnknownVersion
        );
        let long = format!(
            r#"{{"type":"dispatch","id":"{}"}}"#,
            "x".repeat(MAX_ID_BYTES + 1)
        );
        assert_eq!(parse(&long).unwrap_err(), FrameError::UnusableId);
        let nul = r#"{"type":"dispatch","id":"a\u0000b"}"#;
        assert_eq!(parse(nul).unwrap_err(), FrameError::UnusableId);
        let deep = format!(r#"{{"type":"x","payload":{}"#, "[".repeat(100_000));
        assert_eq!(
            parse(&deep).unwrap_err(),
            FrameError::Shape(ShapeError::TooDeep)
        );
    }

    /// What is read at once is read as it is read with care.
    #[test]
    fn both_ways_of_reading_agree_about_any_frame() {
        let frames = [
            r#"{"v":1,"type":"dispatch","id":"d-1","ts":"t","payload":{"skill_id":"echo","args":{"a":"x"},"session_context":{"session_id":"s"}}}"#,
            r#"{"type":"dispatch","payload":{"svantic_auth":{"scheme":"x"},"traceparent":null,"baggage":"a=b"},"id":"d","v":1}"#,
            r#"{"v":1,"type":"welcome","id":"w","payload":{"resumed":true}}"#,
        ];
        let pieces = [
            "\"v\":1,",
            "\"v\":2,",
            "\"v\":1.0,",
            "null",
            "\"id\":\"x\",",
            "\"id\":null,",
            "\"type\":\"dispatch\",",
            "\"skill_id\":\"a\",",
            "\"svantic_auth\":null,",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\",
            "\\u0041",
            ",",
            ":",
            "7",
            " ",
            "\n",
            "{}",
            "\"args\":null,",
        ];
        let mut rng = fastrand::Rng::with_seed(3);
        let mut read = 0;
        for _ in 0..60_000 {
            let mut text = frames[rng.usize(..frames.len())].to_owned();
            for _ in 0..rng.usize(..3) {
                let at = rng.usize(..=text.len());
                let end = text.len().min(at + rng.usize(..6) * rng.usize(..2));
                text.replace_range(at..end, pieces[rng.usize(..pieces.len())]);
            }
            let Ok(quick) = at_once(&text) else { continue };
            let mut careful = with_care(&text).expect(&text);
            if quick.dispatch.session.is_some() {
                careful.dispatch.session = Some(careful.dispatch.session());
            }
            assert_eq!(format!("{quick:?}"), format!("{careful:?}"), "{text}");
            read += 1;
        }
        assert!(read > 10_000, "{read} were read at once");
        assert!(
            frames
                .iter()
                .all(|text| text.contains("null") || at_once(text).is_ok())
        );
    }

    #[test]
    fn a_payload_that_is_no_object_is_an_empty_dispatch() {
        for payload in ["7", "\"x\"", "null", "[]", "[\"echo\"]"] {
            let text = format!(r#"{{"type":"dispatch","id":"d","payload":{payload}}}"#);
            let frame = parse(&text).unwrap();
            assert!(frame.dispatch.skill_id.is_none(), "{payload}");
        }
    }
}
