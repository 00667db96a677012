//! Frames from hell (R-30): a seeded generator of texts and of raw WebSocket bytes that no mesh should send.

use std::fmt::Write as _;

use fastrand::Rng;

const OPCODE_CONTINUATION: u8 = 0x0;
/// A text message.
pub const OPCODE_TEXT: u8 = 0x1;
const OPCODE_BINARY: u8 = 0x2;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;

/// How many kinds of bad text there are.
const KINDS: u8 = 17;

/// Everything here is *semantically* bad at most: the link has to survive all of it.
pub struct BadFrames {
    dice: Rng,
    made: u64,
}

impl BadFrames {
    /// The same seed makes the same frames.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Rng::with_seed(seed),
            made: 0,
        }
    }

    /// The text of the next bad frame.
    pub fn text(&mut self) -> String {
        self.made += 1;
        let kind = self.dice.u8(..KINDS);
        match kind {
            0 => self.noise(),
            1 => {
                let mut text = self.dispatch("echo");
                text.truncate(self.dice.usize(..text.len()));
                text
            }
            // An id that came before, with other arguments.
            2 => {
                let id = self.dice.u64(..self.made);
                frame("dispatch", &format!("h{id}"), r#"{"skill_id":"echo"}"#)
            }
            3 => {
                let kind = ["", "Dispatch", "dispatch ", "cancel", "draining", "\\u0000"];
                let kind = kind[self.dice.usize(..kind.len())];
                frame(kind, &self.id(), r#"{"skill_id":"echo"}"#)
            }
            4 => {
                let version = [
                    "0",
                    "2",
                    "-1",
                    "1.5",
                    "18446744073709551616",
                    "\"1\"",
                    "null",
                ];
                let version = version[self.dice.usize(..version.len())];
                self.dispatch("echo")
                    .replacen("\"v\":1", &format!("\"v\":{version}"), 1)
            }
            5 => self.wrong_type(),
            6 => self.deep(),
            7 => self.huge_number(),
            8 => self.lone_surrogate(),
            9 => self.duplicate_key(),
            10 => {
                let scalar = [
                    "",
                    " ",
                    "{}",
                    "[]",
                    "null",
                    "true",
                    "0",
                    "\"\"",
                    "[[]]",
                    "{\"v\":1}",
                ];
                scalar[self.dice.usize(..scalar.len())].to_owned()
            }
            11 => {
                let count = self.dice.usize(..40);
                (0..count).map(|_| self.dice.char(..)).collect()
            }
            12 => {
                let payload = ["{}", "{\"skill_id\":\"\"}", "{\"args\":{}}", "[]", "null"];
                let payload = payload[self.dice.usize(..payload.len())];
                frame("dispatch", &self.id(), payload)
            }
            13 => {
                let kind = ["welcome", "hello", "heartbeat", "dispatch_result", "error"];
                let kind = kind[self.dice.usize(..kind.len())];
                frame(kind, &self.id(), r#"{"resumed":true,"result":1}"#)
            }
            14 => {
                let id = ["x".repeat(1_000), "a\\u0000b".to_owned(), String::new()];
                let id = &id[self.dice.usize(..id.len())];
                frame("dispatch", id, r#"{"skill_id":"echo"}"#)
            }
            15 => self.dispatch("no_such_skill"),
            _ => self.mutated(),
        }
    }

    /// Appends the next bad frame as the bytes of a server: mostly a text, whole or in fragments with control frames
    /// in between, sometimes binary or a control frame that nobody asked for.
    pub fn raw(&mut self, out: &mut Vec<u8>) {
        match self.dice.u8(..20) {
            0 => {
                let count = self.dice.usize(..200);
                let bytes: Vec<u8> = (0..count).map(|_| self.dice.u8(..)).collect();
                push_frame(out, true, OPCODE_BINARY, &bytes);
            }
            1 => push_frame(out, true, OPCODE_PONG, &self.made.to_be_bytes()),
            2 => push_frame(out, true, OPCODE_PING, b"hell"),
            3..=7 => self.fragments(out),
            _ => push_frame(out, true, OPCODE_TEXT, self.text().as_bytes()),
        }
    }

    fn fragments(&mut self, out: &mut Vec<u8>) {
        let text = self.text();
        let bytes = text.as_bytes();
        let pieces = self.dice.usize(2..6);
        let length = bytes.len() / pieces + 1;
        let mut opcode = OPCODE_TEXT;
        // Cut without regard for characters; a message may even begin or end with an empty fragment.
        for piece in bytes.chunks(length) {
            push_frame(out, false, opcode, piece);
            opcode = OPCODE_CONTINUATION;
            match self.dice.u8(..4) {
                0 => push_frame(out, true, OPCODE_PING, &[]),
                1 => push_frame(out, true, OPCODE_PONG, b"nobody asked"),
                _ => {}
            }
        }
        push_frame(out, true, opcode, &[]);
    }

    fn id(&self) -> String {
        format!("h{}", self.made)
    }

    fn dispatch(&mut self, skill: &str) -> String {
        let n = self.dice.u32(..);
        let payload = format!(r#"{{"skill_id":"{skill}","args":{{"n":{n}}}}}"#);
        frame("dispatch", &self.id(), &payload)
    }

    fn noise(&mut self) -> String {
        let count = self.dice.usize(1..60);
        let marks = b"{}[]\":,\\0123456789eE+-. \tntrufalsv";
        (0..count)
            .map(|_| char::from(marks[self.dice.usize(..marks.len())]))
            .collect()
    }

    fn wrong_type(&mut self) -> String {
        let value = ["7", "null", "true", "[]", "{}", "\"x\"", "1e400"];
        let mut any = || value[self.dice.usize(..value.len())];
        let (id, skill, args) = (any(), any(), any());
        format!(
            r#"{{"v":1,"type":"dispatch","id":{id},"ts":{args},"payload":{{"skill_id":{skill},"args":{args},"session_context":{skill},"traceparent":{id},"baggage":{args}}}}}"#
        )
    }

    fn deep(&mut self) -> String {
        let depth = self.dice.usize(50..400);
        let (open, close) = if self.dice.bool() {
            ("[", "]")
        } else {
            ("{\"a\":", "}")
        };
        let middle = if open == "[" { "" } else { "1" };
        let args = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
        let payload = format!(r#"{{"skill_id":"echo","args":{args}}}"#);
        frame("dispatch", &self.id(), &payload)
    }

    fn huge_number(&mut self) -> String {
        let mut number = String::from(if self.dice.bool() { "-" } else { "" });
        match self.dice.u8(..4) {
            0 => number.push_str("1e999999999"),
            1 => number.push_str(&"9".repeat(self.dice.usize(20..400))),
            2 => number.push_str("0.000000000000000000000000000000000000001e-400"),
            _ => {
                let _ = write!(number, "{}", u128::MAX);
            }
        }
        let payload = format!(r#"{{"skill_id":"echo","args":{{"n":{number}}}}}"#);
        frame("dispatch", &self.id(), &payload)
    }

    fn lone_surrogate(&mut self) -> String {
        let surrogate = ["\\ud800", "\\udfff", "\\ud800\\ud800", "\\uDC00\\uD800"];
        let surrogate = surrogate[self.dice.usize(..surrogate.len())];
        let (mut id, mut skill, mut text) = (self.id(), "echo", "");
        match self.dice.u8(..3) {
            0 => surrogate.clone_into(&mut id),
            1 => skill = surrogate,
            _ => text = surrogate,
        }
        let payload = format!(r#"{{"skill_id":"{skill}","args":{{"t":"{text}"}}}}"#);
        frame("dispatch", &id, &payload)
    }

    fn duplicate_key(&mut self) -> String {
        let mut text = self.dispatch("echo");
        text.pop();
        let again = [
            ",\"id\":\"other\"}",
            ",\"type\":\"welcome\"}",
            ",\"payload\":{}}",
            ",\"v\":2}",
        ];
        text.push_str(again[self.dice.usize(..again.len())]);
        text
    }

    fn mutated(&mut self) -> String {
        let mut bytes = self.dispatch("echo").into_bytes();
        for _ in 0..self.dice.usize(1..4) {
            let at = self.dice.usize(..bytes.len());
            match self.dice.u8(..3) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, self.dice.u8(0..128)),
                _ => bytes[at] = self.dice.u8(0..128),
            }
        }
        // It was ASCII and still is.
        String::from_utf8(bytes).unwrap_or_default()
    }
}

fn frame(kind: &str, id: &str, payload: &str) -> String {
    format!(
        r#"{{"v":1,"type":"{kind}","id":"{id}","ts":"2026-05-01T08:00:05.000Z","payload":{payload}}}"#
    )
}

/// Appends one unmasked frame.
pub fn push_frame(out: &mut Vec<u8>, last: bool, opcode: u8, payload: &[u8]) {
    out.push(u8::from(last) << 7 | opcode);
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => out.extend(&short.to_be_bytes()[1..]),
        Ok(long) => {
            out.push(126);
            out.extend(long.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(payload);
}
