//! Frames of ours (section 4), each written in one pass.

use uuid::Uuid;

use super::chunk::Chunk;
use super::frame::FrameText;
use super::json_string::is_plain;
use super::timestamp::push_timestamp;

/// What a frame of ours starts with.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The frame's id.
    pub id: Uuid,
    /// The time of day, for people: nothing depends on it.
    pub unix_ms: u64,
}

/// `hello`: the first frame after the 101. `payload_json` is the whole payload.
pub fn hello(stamp: Stamp, payload_json: &str) -> String {
    stamped(stamp, "hello", payload_json)
}

/// The same with an id and a time of day of the caller's own.
pub fn hello_of(id: &str, ts: &str, payload_json: &str) -> String {
    frame("hello", id, ts, payload_json)
}

/// `heartbeat`. `payload_json` is the whole payload, as over HTTP.
pub fn heartbeat(stamp: Stamp, payload_json: &str) -> String {
    stamped(stamp, "heartbeat", payload_json)
}

fn stamped(stamp: Stamp, kind: &str, payload_json: &str) -> String {
    let mut ts = String::new();
    push_timestamp(&mut ts, stamp.unix_ms);
    let mut buffer = Uuid::encode_buffer();
    let id = stamp.id.hyphenated().encode_lower(&mut buffer);
    frame(kind, id, &ts, payload_json)
}

fn frame(kind: &str, id: &str, ts: &str, payload_json: &str) -> String {
    let mut out = String::with_capacity(ENVELOPE_BYTES + payload_json.len());
    push_kind(&mut out, kind);
    push_json_string(&mut out, id);
    out.push_str(BEHIND_ID);
    push_json_string(&mut out, ts);
    out.push_str(BEFORE_PAYLOAD);
    out.push_str(payload_json);
    out.push('}');
    out
}

/// Writes the answers to dispatches: what is the same in all of them once, and many of them to an allocation.
#[derive(Debug, Default)]
pub struct FrameWriter {
    /// The frame that is being written.
    frame: String,
    /// The time of day in the last one, and how a frame goes on behind its id then.
    unix_ms: u64,
    behind_id: String,
    chunk: Chunk,
}

impl FrameWriter {
    /// `dispatch_result`. `result_json` is any JSON value, already checked. How long the frame would be, if that is more
    /// than `limit`.
    pub fn dispatch_result(
        &mut self,
        stamp: Stamp,
        in_reply_to: &str,
        result_json: &str,
        limit: usize,
    ) -> Result<FrameText, usize> {
        self.begin(stamp, "dispatch_result", in_reply_to, result_json.len());
        let frame = &mut self.frame;
        frame.push_str("{\"result\":");
        frame.push_str(result_json);
        frame.push_str("}}");
        let size = frame.len();
        if size > limit {
            // Nothing so large is kept for a frame that is not sent.
            self.frame = String::new();
            return Err(size);
        }
        Ok(self.keep())
    }

    /// `error`: a dispatch's refusal or failure.
    pub fn error(
        &mut self,
        stamp: Stamp,
        in_reply_to: &str,
        code: &str,
        message: &str,
    ) -> FrameText {
        self.begin(stamp, "error", in_reply_to, code.len() + message.len());
        let frame = &mut self.frame;
        frame.push_str("{\"code\":");
        push_json_string(frame, code);
        frame.push_str(",\"message\":");
        push_json_string(frame, message);
        frame.push_str("}}");
        self.keep()
    }

    fn keep(&mut self) -> FrameText {
        let kept = self.chunk.keep(&mut self.frame);
        FrameText::try_from(kept).expect("what was a str is UTF-8")
    }

    fn begin(&mut self, stamp: Stamp, kind: &str, in_reply_to: &str, payload_bytes: usize) {
        if self.unix_ms != stamp.unix_ms || self.behind_id.is_empty() {
            let behind_id = &mut self.behind_id;
            behind_id.clear();
            behind_id.push('"');
            behind_id.push_str(BEHIND_ID);
            behind_id.push('"');
            push_timestamp(behind_id, stamp.unix_ms);
            behind_id.push_str("\",\"in_reply_to\":");
            self.unix_ms = stamp.unix_ms;
        }
        let frame = &mut self.frame;
        frame.clear();
        frame.reserve(ENVELOPE_BYTES + in_reply_to.len() + payload_bytes);
        push_kind(frame, kind);
        frame.push('"');
        frame.push_str(
            stamp
                .id
                .hyphenated()
                .encode_lower(&mut Uuid::encode_buffer()),
        );
        frame.push_str(&self.behind_id);
        push_json_string(frame, in_reply_to);
        frame.push_str(BEFORE_PAYLOAD);
    }
}

/// An upper bound of what an envelope takes besides its variable parts.
const ENVELOPE_BYTES: usize = 192;

/// What is between the id and the time.
const BEHIND_ID: &str = ",\"ts\":";

/// What is between the rest of an envelope and the payload.
const BEFORE_PAYLOAD: &str = ",\"payload\":";

/// Everything up to the id.
fn push_kind(out: &mut String, kind: &str) {
    out.push_str("{\"v\":1,\"type\":\"");
    out.push_str(kind);
    out.push_str("\",\"id\":");
}

/// Appends `text` as a JSON string, quotes included.
pub fn push_json_string(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STAMP: Stamp = Stamp {
        id: Uuid::nil(),
        unix_ms: 0,
    };

    fn parsed(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn frames_of_ours_have_the_documented_envelope() {
        let mut writer = FrameWriter::default();
        let id = "00000000-0000-0000-0000-000000000000";
        let ts = "1970-01-01T00:00:00.000Z";
        assert_eq!(
            parsed(
                &writer
                    .dispatch_result(STAMP, "d\"1", "[1,null]", 1000)
                    .unwrap()
            ),
            json!({"v":1,"type":"dispatch_result","id":id,"ts":ts,"in_reply_to":"d\"1","payload":{"result":[1,null]}})
        );
        assert_eq!(
            parsed(&writer.error(STAMP, "d1", "HANDLER_ERROR", "no \"such\"\norder")),
            json!({"v":1,"type":"error","id":id,"ts":ts,"in_reply_to":"d1",
                   "payload":{"code":"HANDLER_ERROR","message":"no \"such\"\norder"}})
        );
        assert_eq!(
            parsed(&hello(STAMP, r#"{"instance_id":"i"}"#)),
            json!({"v":1,"type":"hello","id":id,"ts":ts,"payload":{"instance_id":"i"}})
        );
        assert_eq!(parsed(&heartbeat(STAMP, "{}"))["type"], "heartbeat");
    }

    #[test]
    fn every_frame_has_its_own_time_and_none_is_over_the_limit() {
        let mut writer = FrameWriter::default();
        for unix_ms in [0, 0, 1, 1_777_622_400_000, 1] {
            let stamp = Stamp { unix_ms, ..STAMP };
            let frame = writer.dispatch_result(stamp, "d", "1", 1000).unwrap();
            let mut expected = String::new();
            push_timestamp(&mut expected, unix_ms);
            assert_eq!(parsed(&frame)["ts"], expected);
        }
        let size = writer.dispatch_result(STAMP, "d", "1", 1000).unwrap().len();
        assert!(writer.dispatch_result(STAMP, "d", "1", size).is_ok());
        assert_eq!(writer.dispatch_result(STAMP, "d", "1", size - 1), Err(size));
    }
}
