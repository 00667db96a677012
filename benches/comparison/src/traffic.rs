//! What is sent and what must come back: one text per kind of work, in which only two numbers change.

use memchr::memmem;

use crate::websocket::{self, TEXT};

/// How many hexadecimal digits an id has behind `d-`.
const ID_DIGITS: usize = 16;
/// How many the number in the arguments has.
const NUMBER_DIGITS: usize = 8;
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";

/// What the arguments of a dispatch are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One long string.
    Text,
    /// An array of small objects.
    Objects,
}

/// A kind of work.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// How it is named in tables.
    pub name: &'static str,
    /// About how many bytes of JSON the arguments have.
    pub size: usize,
    /// What they are made of.
    pub shape: Shape,
    /// How many dispatches are kept unanswered.
    pub window: usize,
}

impl Work {
    const fn new(name: &'static str, size: usize, shape: Shape, window: usize) -> Self {
        Self {
            name,
            size,
            shape,
            window,
        }
    }
}

/// Everything that a comparison measures.
pub const WORKS: [Work; 5] = [
    Work::new("32 B, 64 in flight", 32, Shape::Text, 64),
    Work::new("1 KiB of text, 64 in flight", 1 << 10, Shape::Text, 64),
    Work::new(
        "1 KiB of small objects, 64 in flight",
        1 << 10,
        Shape::Objects,
        64,
    ),
    Work::new("64 KiB of text, 64 in flight", 64 << 10, Shape::Text, 64),
    Work::new("32 B, one at a time", 32, Shape::Text, 1),
];

/// The frame of a dispatch, ready but for its id.
pub struct Traffic {
    frame: Vec<u8>,
    id_at: usize,
    number_at: usize,
    args: Vec<u8>,
    /// The arguments without their spaces, for clients that write JSON with other ones.
    args_packed: Vec<u8>,
    hints: Hints,
}

/// Where something was in the last answer is where it is looked for first.
#[derive(Default)]
struct Hints {
    in_reply_to: usize,
    kind: usize,
    result: usize,
}

impl Traffic {
    /// Of arguments of this size and shape.
    pub fn new(size: usize, shape: Shape) -> Self {
        let args = args(size, shape);
        let mut text = br#"{"v":1,"type":"dispatch","id":"d-"#.to_vec();
        let id_at = text.len();
        text.extend_from_slice(&[b'0'; ID_DIGITS]);
        text.extend_from_slice(
            br#"","ts":"2026-01-01T00:00:00.000Z","payload":{"skill_id":"echo","args":"#,
        );
        let number_at = text.len() + br#"{"bn":""#.len();
        text.extend_from_slice(&args);
        text.extend_from_slice(br#","session_context":{"session_id":"s1","tenant_id":"t1"}}}"#);
        let mut frame = Vec::new();
        websocket::push_frame(&mut frame, TEXT, &text);
        let head = frame.len() - text.len();
        Self {
            frame,
            id_at: head + id_at,
            number_at: head + number_at,
            args_packed: packed(&args),
            args,
            hints: Hints::default(),
        }
    }

    /// Appends the dispatch of this number.
    pub fn push(&mut self, out: &mut Vec<u8>, number: u64) {
        write_hex(&mut self.frame[self.id_at..self.id_at + ID_DIGITS], number);
        let at = self.number_at;
        write_hex(&mut self.frame[at..at + NUMBER_DIGITS], number);
        out.extend_from_slice(&self.frame);
    }

    /// The number of the dispatch that this message answers; nothing if it is no answer at all.
    ///
    /// # Errors
    ///
    /// When it answers with something else than the arguments of that dispatch.
    pub fn answered(&mut self, message: &[u8]) -> Result<Option<u64>, &'static str> {
        let Some(at) = find(message, b"\"in_reply_to\"", &mut self.hints.in_reply_to) else {
            return Ok(None);
        };
        let id = value(message, at + 13)
            .strip_prefix(b"\"d-")
            .and_then(|id| id.get(..ID_DIGITS));
        let number = id
            .and_then(read_hex)
            .ok_or("it answers an id that was never sent")?;
        if find(message, b"\"dispatch_result\"", &mut self.hints.kind).is_none() {
            return Err("it is no dispatch_result");
        }
        let at = find(message, b"\"result\"", &mut self.hints.result).ok_or("it has no result")?;
        self.check(value(message, at + 8), number)?;
        Ok(Some(number))
    }

    fn check(&mut self, result: &[u8], number: u64) -> Result<(), &'static str> {
        const AT: usize = br#"{"bn":""#.len();
        write_hex(&mut self.args[AT..AT + NUMBER_DIGITS], number);
        if result.starts_with(&self.args) {
            return Ok(());
        }
        write_hex(&mut self.args_packed[AT..AT + NUMBER_DIGITS], number);
        if packed(result).starts_with(&self.args_packed) {
            return Ok(());
        }
        Err("it does not echo the arguments")
    }
}

fn args(size: usize, shape: Shape) -> Vec<u8> {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    let mut args = br#"{"bn":"00000000","bd":"#.to_vec();
    match shape {
        Shape::Text => {
            args.push(b'"');
            while args.len() < size.saturating_sub(2).max(24) {
                // Six bits fit any index.
                args.push(LETTERS[usize::try_from(roll() % 64).unwrap_or_default()]);
            }
            args.push(b'"');
        }
        Shape::Objects => {
            args.push(b'[');
            for number in 0.. {
                let (name, price, quantity) = (roll() >> 32, roll() % 900 + 10, roll() % 50);
                let active = roll() % 2 == 0;
                let object = format!(
                    r#"{{"id":{},"name":"item {name:08x}","price":{price}.5,"qty":{quantity},"active":{active},"tags":["alpha","beta"],"note":null}}"#,
                    1000 + number
                );
                if number > 0 && args.len() + object.len() + 3 > size {
                    break;
                }
                if number > 0 {
                    args.push(b',');
                }
                args.extend_from_slice(object.as_bytes());
            }
            args.push(b']');
        }
    }
    args.push(b'}');
    args
}

fn find(message: &[u8], what: &[u8], hint: &mut usize) -> Option<usize> {
    if message
        .get(*hint..)
        .is_some_and(|rest| rest.starts_with(what))
    {
        return Some(*hint);
    }
    *hint = memmem::find(message, what)?;
    Some(*hint)
}

/// What stands behind a key that ends here.
fn value(message: &[u8], mut at: usize) -> &[u8] {
    while matches!(message.get(at), Some(b' ' | b':')) {
        at += 1;
    }
    message.get(at..).unwrap_or_default()
}

fn packed(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b' ').collect()
}

fn write_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::try_from(number & 15).unwrap_or_default()];
        number >>= 4;
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn sent(traffic: &mut Traffic, number: u64) -> Value {
        let mut out = Vec::new();
        traffic.push(&mut out, number);
        let head = websocket::Head::read(&out).unwrap();
        serde_json::from_slice(&out[head.head..]).unwrap()
    }

    fn answer(id: &str, result: &str) -> Vec<u8> {
        format!(
            r#"{{"v":1,"type":"dispatch_result","id":"x","ts":"t","in_reply_to":"{id}","payload":{{"result":{result}}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn dispatches_have_their_size_and_their_number() {
        for work in WORKS {
            let mut traffic = Traffic::new(work.size, work.shape);
            let frame = sent(&mut traffic, 0x1234);
            assert_eq!(frame["id"], "d-0000000000001234");
            let args = &frame["payload"]["args"];
            assert_eq!(args["bn"], "00001234");
            let size = traffic.args.len();
            let objects = work.shape == Shape::Objects;
            assert!(
                size <= work.size && (size == work.size || objects),
                "{size} {}",
                work.name
            );
            assert!(size * 10 > work.size * 8, "{size} {}", work.name);
        }
    }

    #[test]
    fn the_echo_is_an_answer_also_with_spaces() {
        for shape in [Shape::Text, Shape::Objects] {
            let mut traffic = Traffic::new(400, shape);
            sent(&mut traffic, 7);
            let echo = String::from_utf8(traffic.args.clone()).unwrap();
            let echo = echo.replace("00000000", "00000007");
            let good = answer("d-0000000000000007", &echo);
            assert_eq!(traffic.answered(&good), Ok(Some(7)));
            let spaced = echo.replace("\":", "\": ").replace(",\"", ", \"");
            let spaced = answer("d-0000000000000007", &spaced);
            assert_eq!(traffic.answered(&spaced), Ok(Some(7)));
        }
    }

    #[test]
    fn what_is_not_the_echo_is_noticed() {
        let mut traffic = Traffic::new(100, Shape::Text);
        sent(&mut traffic, 7);
        let echo = String::from_utf8(traffic.args.clone()).unwrap();
        let right = echo.replace("00000000", "00000007");
        for (id, result) in [
            ("d-0000000000000008", right.as_str()),
            ("d-0000000000000007", &right.replace("\"}", "x\"}")),
            ("d-0000000000000007", "{}"),
            ("other", &right),
        ] {
            assert!(
                traffic.answered(&answer(id, result)).is_err(),
                "{id} {result}"
            );
        }
        let text = String::from_utf8(answer("d-0000000000000007", &right)).unwrap();
        let error = text.replace("dispatch_result", "error");
        assert!(traffic.answered(error.as_bytes()).is_err());
        assert_eq!(traffic.answered(br#"{"type":"heartbeat"}"#), Ok(None));
    }
}
