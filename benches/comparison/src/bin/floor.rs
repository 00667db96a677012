//! The floor: `svantic-floor PORT`, a client that answers by cutting bytes out of a dispatch and putting them between others.
//! It parses no JSON, keeps no promise, has one thread, and reads and writes as much at once as there is. Nothing that
//! speaks the protocol can be much cheaper.

use std::{
    io::{Read, Result, Write},
    net::{Ipv4Addr, TcpStream},
    time::{SystemTime, UNIX_EPOCH},
};

use memchr::{memchr, memmem};
use svantic_bench::websocket::{CLOSE, Head, PING, PONG, TEXT, mask, push_head};

const READ_AT_ONCE: usize = 256 << 10;

fn main() -> Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.expect("usage: svantic-floor PORT");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    upgrade(&mut stream, port)?;
    serve(&mut stream)
}

fn upgrade(stream: &mut TcpStream, port: u16) -> Result<()> {
    write!(
        stream,
        "GET /agents/connect?instance_id=floor HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: c3ZhbnRpY2JlbmNobWFyaw==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: svantic.v1\r\nAuthorization: Bearer bench\r\n\r\n"
    )?;
    // The mesh says nothing more before it has had a hello.
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let mut out = Vec::new();
    let stamp = Stamp::new();
    push(
        &mut out,
        TEXT,
        stamp.dice,
        &[
            br#"{"v":1,"type":"hello","id":"h1","ts":""#,
            &stamp.time,
            br#"","payload":{"instance_id":"floor","agent_type":"floor","agent_version":"1.0.0","sdk_version":"floor","agent_card":{}}}"#,
        ],
    );
    stream.write_all(&out)
}

fn serve(stream: &mut TcpStream) -> Result<()> {
    let mut stamp = Stamp::new();
    let mut input = vec![0; READ_AT_ONCE];
    let mut output = Vec::with_capacity(READ_AT_ONCE);
    let (mut begin, mut end) = (0, 0);
    loop {
        let some = stream.read(&mut input[end..])?;
        if some == 0 {
            return Ok(());
        }
        end += some;
        stamp.look();
        let mut wanted = 0;
        while let Some(head) = Head::read(&input[begin..end]) {
            if begin + head.total() > end {
                wanted = head.total();
                break;
            }
            let payload = &input[begin + head.head..begin + head.total()];
            begin += head.total();
            match head.kind {
                TEXT => answer(&mut output, &mut stamp, payload),
                PING => push(&mut output, PONG, stamp.roll(), &[payload]),
                CLOSE => return Ok(()),
                _ => {}
            }
        }
        if begin == end {
            (begin, end) = (0, 0);
        } else if end == input.len() || begin + wanted > input.len() {
            input.copy_within(begin..end, 0);
            (begin, end) = (0, end - begin);
            input.resize(input.len().max(wanted), 0);
        }
        stream.write_all(&output)?;
        output.clear();
    }
}

fn answer(out: &mut Vec<u8>, stamp: &mut Stamp, text: &[u8]) {
    let Some((id, args)) = cut(text) else {
        return;
    };
    let (uuid, dice) = (stamp.uuid(), stamp.roll());
    let parts: [&[u8]; 9] = [
        br#"{"v":1,"type":"dispatch_result","id":""#,
        &uuid,
        br#"","ts":""#,
        &stamp.time,
        br#"","in_reply_to":""#,
        id,
        br#"","payload":{"result":"#,
        args,
        b"}}",
    ];
    push(out, TEXT, dice, &parts);
}

/// Id and arguments of a dispatch, as the mesh of these measurements writes it.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    memmem::find(&text[..text.len().min(64)], br#""type":"dispatch""#)?;
    let rest = &text[memmem::find(text, br#""id":""#)? + 6..];
    let id = &rest[..memchr(b'"', rest)?];
    let rest = &rest[memmem::find(rest, br#""args":"#)? + 7..];
    Some((id, &rest[..memmem::rfind(rest, br#","session_context""#)?]))
}

/// Appends a masked frame.
fn push(out: &mut Vec<u8>, kind: u8, dice: u64, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    let [a, b, c, d, ..] = dice.to_ne_bytes();
    let key = [a, b, c, d];
    push_head(out, kind, length, Some(key));
    let begin = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    mask(&mut out[begin..], key);
}

/// Time and chance.
struct Stamp {
    dice: u64,
    /// Milliseconds since 1970.
    now: u64,
    time: [u8; 24],
}

impl Stamp {
    fn new() -> Self {
        let mut stamp = Self {
            dice: 0x9e37_79b9_7f4a_7c15,
            now: 0,
            time: *b"1970-01-01T00:00:00.000Z",
        };
        stamp.look();
        stamp.dice ^= stamp.now;
        stamp
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }

    fn uuid(&mut self) -> [u8; 36] {
        let mut text = *b"00000000-0000-4000-8000-000000000000";
        let (mut high, mut low) = (self.roll(), self.roll());
        for (at, digit) in text.iter_mut().enumerate() {
            if matches!(at, 8 | 13 | 14 | 18 | 19 | 23) {
                continue;
            }
            let source = if at < 18 { &mut high } else { &mut low };
            *digit = b"0123456789abcdef"[usize::try_from(*source & 15).unwrap_or_default()];
            *source >>= 4;
        }
        text
    }

    /// Reads the clock and writes the time anew; the date only when it has changed.
    fn look(&mut self) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or_default();
        if now / 86_400_000 != self.now / 86_400_000 {
            let (year, month, day) = date(now / 86_400_000);
            self.digits(0, 4, year);
            self.digits(5, 2, month);
            self.digits(8, 2, day);
        }
        if now / 1000 != self.now / 1000 {
            let second = now / 1000 % 86_400;
            self.digits(11, 2, second / 3600);
            self.digits(14, 2, second / 60 % 60);
            self.digits(17, 2, second % 60);
        }
        self.digits(20, 3, now % 1000);
        self.now = now;
    }

    fn digits(&mut self, at: usize, length: usize, mut number: u64) {
        for digit in self.time[at..at + length].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    }
}

/// Year, month and day, so many days after 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_574), (2026, 5, 1));
    }

    #[test]
    fn a_dispatch_is_answered_with_its_own_bytes() {
        let text = br#"{"v":1,"type":"dispatch","id":"d-1","ts":"x","payload":{"skill_id":"echo","args":{"a":1},"session_context":{}}}"#;
        let mut out = Vec::new();
        answer(&mut out, &mut Stamp::new(), text);
        let head = Head::read(&out).unwrap();
        let payload = &mut out[head.head..];
        mask(payload, head.key.unwrap());
        let frame: serde_json::Value = serde_json::from_slice(payload).unwrap();
        assert_eq!(frame["in_reply_to"], "d-1");
        assert_eq!(frame["payload"]["result"]["a"], 1);
        assert!(cut(br#"{"v":1,"type":"welcome","id":"w"}"#).is_none());
    }
}
