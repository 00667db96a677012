//! Where in a WebSocket's byte stream the frames begin, read from their headers alone: masking leaves those open.

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What begins at a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The first frame of a text message.
    Text,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// Anything else: binary, continuation, close.
    Other,
}

/// Before the frames comes the HTTP head of the upgrade; other HTTP never gets that far.
enum Part {
    Head(Vec<u8>),
    Frames,
    Opaque,
}

/// Follows one direction of one connection.
pub struct FrameCounter {
    part: Part,
    header: [u8; 10],
    header_length: usize,
    /// Mask and payload that are still to come.
    body_left: u64,
}

impl Default for FrameCounter {
    fn default() -> Self {
        Self {
            part: Part::Head(Vec::new()),
            header: [0; 10],
            header_length: 0,
            body_left: 0,
        }
    }
}

impl FrameCounter {
    /// Reads on; returns the offsets in `bytes` at which frames begin.
    pub fn advance(&mut self, bytes: &[u8]) -> Vec<(usize, Beginning)> {
        let mut begins = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.part {
                Part::Opaque => break,
                Part::Head(head) => {
                    head.push(bytes[at]);
                    at += 1;
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
                        let upgrade = text.contains("upgrade: websocket");
                        let agreed = !text.starts_with("http/") || text.starts_with("http/1.1 101");
                        self.part = if upgrade && agreed {
                            Part::Frames
                        } else {
                            Part::Opaque
                        };
                    }
                }
                Part::Frames if self.body_left > 0 => {
                    let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
                    let taken = left.min(bytes.len() - at);
                    self.body_left -= taken as u64;
                    at += taken;
                }
                Part::Frames => {
                    if self.header_length == 0 {
                        begins.push((at, beginning(bytes[at])));
                    }
                    self.take_header(bytes[at]);
                    at += 1;
                }
            }
        }
        begins
    }

    fn take_header(&mut self, byte: u8) {
        self.header[self.header_length] = byte;
        self.header_length += 1;
        if self.header_length < 2 {
            return;
        }
        let length = self.header[1] & 0x7f;
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_length < 2 + extended {
            return;
        }
        let payload = if extended == 0 {
            u64::from(length)
        } else {
            let digits = &self.header[2..2 + extended];
            digits
                .iter()
                .fold(0, |value, digit| value << 8 | u64::from(*digit))
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        self.body_left = payload + mask;
        self.header_length = 0;
    }
}

fn beginning(first: u8) -> Beginning {
    match first & 0x0f {
        TEXT => Beginning::Text,
        PING => Beginning::Ping,
        PONG => Beginning::Pong,
        CONTINUATION.. => Beginning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut stream = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let mut wanted = Vec::new();
        for (opcode, length, what) in [
            (TEXT, 5_usize, Beginning::Text),
            (PING, 8, Beginning::Ping),
            (TEXT, 300, Beginning::Text),
            (PONG, 0, Beginning::Pong),
            (TEXT, 70_000, Beginning::Text),
            (0x8, 2, Beginning::Other),
        ] {
            wanted.push((stream.len(), what));
            stream.push(0x80 | opcode);
            match length {
                0..126 => stream.push(0x80 | u8::try_from(length).unwrap()),
                126..=65_535 => {
                    stream.push(0x80 | 0x7e);
                    stream.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    stream.push(0x80 | 0x7f);
                    stream.extend((length as u64).to_be_bytes());
                }
            }
            stream.extend(vec![0x81; 4 + length]);
        }
        for cut in [1, 3, 7, 1_000, stream.len()] {
            let mut counter = FrameCounter::default();
            let mut seen = Vec::new();
            for (n, piece) in stream.chunks(cut).enumerate() {
                let begins = counter.advance(piece).into_iter();
                seen.extend(begins.map(|(at, what)| (n * cut + at, what)));
            }
            assert_eq!(seen, wanted, "cut into {cut}");
        }
    }

    #[test]
    fn plain_http_has_no_frames() {
        let mut counter = FrameCounter::default();
        let reply = b"HTTP/1.1 200 OK\r\n\r\n\x81\x05hello";
        assert!(counter.advance(reply).is_empty());
    }
}
