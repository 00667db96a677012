//! Frames of a WebSocket (RFC 6455), as much of them as both ends here need.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// A further part of a message.
pub const CONTINUATION: u8 = 0;
/// A text message, or the first part of one.
pub const TEXT: u8 = 1;
/// The end of the connection.
pub const CLOSE: u8 = 8;
/// A question for a sign of life.
pub const PING: u8 = 9;
/// Its answer.
pub const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_U16: u8 = 126;
const LENGTH_U64: u8 = 127;

/// A frame at the beginning of what was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the payload.
    pub kind: u8,
    /// Whether it is a whole message.
    pub is_final: bool,
    /// What a client has masked the payload with.
    pub key: Option<[u8; 4]>,
    /// Bytes before the payload.
    pub head: usize,
    /// Bytes of the payload.
    pub length: usize,
}

impl Head {
    /// Nothing while too little is there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (mut head, length) = match second & !MASKED {
            LENGTH_U16 => (4, u64::from(u16::from_be_bytes(array(bytes, 2)?))),
            LENGTH_U64 => (10, u64::from_be_bytes(array(bytes, 2)?)),
            short => (2, u64::from(short)),
        };
        let mut key = None;
        if second & MASKED != 0 {
            key = Some(array(bytes, head)?);
            head += 4;
        }
        Some(Self {
            kind: first & 0x0f,
            is_final: first & FINAL != 0,
            key,
            head,
            length: usize::try_from(length).ok()?,
        })
    }

    /// Bytes of the whole frame.
    pub fn total(&self) -> usize {
        self.head.saturating_add(self.length)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Appends what comes before a payload of this length; from a client with a key.
pub fn push_head(out: &mut Vec<u8>, kind: u8, length: usize, key: Option<[u8; 4]>) {
    let masked = if key.is_some() { MASKED } else { 0 };
    out.push(FINAL | kind);
    if let Ok(short) = u8::try_from(length)
        && short < LENGTH_U16
    {
        out.push(masked | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(masked | LENGTH_U16);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(masked | LENGTH_U64);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
    out.extend_from_slice(&key.unwrap_or_default()[..if key.is_some() { 4 } else { 0 }]);
}

/// Appends a whole frame as a server sends it.
pub fn push_frame(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    push_head(out, kind, payload.len(), None);
    out.extend_from_slice(payload);
}

/// Masks or unmasks a payload.
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let word = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
    if let Some(rest) = rest.get_mut(4..) {
        for (byte, key) in rest.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// What `Sec-WebSocket-Accept` is for this `Sec-WebSocket-Key`.
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 24] {
            for key in [None, Some([1, 2, 3, 4])] {
                let mut out = Vec::new();
                push_head(&mut out, TEXT, length, key);
                let head = Head::read(&out).unwrap();
                assert_eq!((head.kind, head.length, head.key), (TEXT, length, key));
                assert_eq!((head.head, head.is_final), (out.len(), true));
                assert_eq!(Head::read(&out[..out.len() - 1]), None);
            }
        }
    }

    #[test]
    fn masking_twice_changes_nothing_and_once_follows_the_standard() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut payload = plain.clone();
            mask(&mut payload, [7, 11, 13, 17]);
            for (at, byte) in payload.iter().enumerate() {
                assert_eq!(*byte, plain[at] ^ [7, 11, 13, 17][at % 4]);
            }
            mask(&mut payload, [7, 11, 13, 17]);
            assert_eq!(payload, plain);
        }
    }

    #[test]
    fn the_handshake_of_the_standard() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
