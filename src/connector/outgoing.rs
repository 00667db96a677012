//! What waits to be written to a socket, in pieces that let other things pass (`reliability.md` 6.4).

use std::collections::VecDeque;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// The largest piece of a message. Pongs and urgent pings go out between two pieces, so none of them waits for more
/// than this and what the kernel holds.
pub(super) const FRAGMENT_BYTES: usize = 64 << 10;

/// A ping that proves nothing but life.
const PLAIN_PING: [u8; 8] = [0; 8];

#[derive(Default)]
pub(super) struct Outgoing {
    messages: VecDeque<Message>,
    /// How much is left of what was pushed.
    bytes: usize,
    /// What is left of the message that is being written.
    rest: Option<Bytes>,
    /// A ping among the messages. The same one again means that there is a wait in front of it.
    waiting_ping: Option<[u8; 8]>,
    /// A plain ping goes out before anything else.
    urgent: bool,
}

impl Outgoing {
    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// How many bytes wait, pings aside.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A ping that stands behind everything else. If it waits there already, its peer is asked for a sign of life
    /// by one in front of everything.
    pub(super) fn ping(&mut self, payload: [u8; 8]) {
        if self.waiting_ping == Some(payload) {
            self.urgent = true;
            return;
        }
        self.waiting_ping = Some(payload);
        let payload = match payload {
            PLAIN_PING => Bytes::from_static(&PLAIN_PING),
            payload => Bytes::copy_from_slice(&payload),
        };
        self.messages.push_back(Message::Ping(payload));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.rest.is_none() && !self.urgent
    }

    /// Gives back the room of what has been written.
    pub(super) fn give_back_room(&mut self) {
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
    }

    /// The next piece; text in fragments that share its bytes.
    pub(super) fn next(&mut self) -> Option<Message> {
        if std::mem::take(&mut self.urgent) {
            return Some(Message::Ping(Bytes::from_static(&PLAIN_PING)));
        }
        if let Some(rest) = self.rest.take() {
            return Some(self.fragment(rest, Data::Continue));
        }
        match self.messages.pop_front()? {
            Message::Text(text) if text.len() > FRAGMENT_BYTES => {
                Some(self.fragment(text.into(), Data::Text))
            }
            message => {
                if let Message::Ping(payload) = &message {
                    self.waiting_ping.take_if(|waiting| *payload == waiting[..]);
                } else {
                    self.bytes -= message.len();
                }
                Some(message)
            }
        }
    }

    fn fragment(&mut self, mut bytes: Bytes, kind: Data) -> Message {
        let piece = bytes.split_to(bytes.len().min(FRAGMENT_BYTES));
        self.bytes -= piece.len();
        let is_last = bytes.is_empty();
        if !is_last {
            self.rest = Some(bytes);
        }
        Message::Frame(Frame::message(piece, OpCode::Data(kind), is_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What would be written: opcode, whether it is final, payload.
    fn written(outgoing: &mut Outgoing) -> Vec<(String, bool, Bytes)> {
        std::iter::from_fn(|| outgoing.next())
            .map(|message| match message {
                Message::Frame(frame) => {
                    let header = frame.header();
                    let kind = header.opcode.to_string();
                    (kind, header.is_final, frame.into_payload())
                }
                Message::Ping(payload) => ("ping".to_owned(), true, payload),
                other => ("message".to_owned(), true, other.into_data()),
            })
            .collect()
    }

    fn text(length: usize) -> Message {
        let bytes: Vec<u8> = (0..length)
            .map(|n| b'a' + u8::try_from(n % 26).unwrap())
            .collect();
        Message::Text(String::from_utf8(bytes).unwrap().into())
    }

    #[test]
    fn only_what_is_larger_than_a_fragment_is_cut_and_nothing_is_lost() {
        for (length, pieces) in [
            (0, 1),
            (FRAGMENT_BYTES, 1),
            (FRAGMENT_BYTES + 1, 2),
            (4 * FRAGMENT_BYTES, 4),
            (4 * FRAGMENT_BYTES + 7, 5),
        ] {
            let mut outgoing = Outgoing::default();
            outgoing.push(text(length));
            outgoing.push(text(3));
            let mut written = written(&mut outgoing);
            assert!(outgoing.is_empty());
            assert_eq!(written.pop().unwrap().2, text(3).into_data());
            assert_eq!(written.len(), pieces, "{length}");
            assert!(
                written
                    .iter()
                    .all(|(_, _, bytes)| bytes.len() <= FRAGMENT_BYTES)
            );
            let whole: Vec<u8> = written
                .iter()
                .flat_map(|(_, _, bytes)| bytes.to_vec())
                .collect();
            assert_eq!(text(length).into_data(), whole);
            let finals: Vec<bool> = written.iter().map(|(_, is_final, _)| *is_final).collect();
            assert!(finals.iter().rev().skip(1).all(|is_final| !is_final));
            assert_eq!(finals.last(), Some(&true));
            if pieces > 1 {
                assert_eq!(written[0].0, "TEXT");
                assert!(written[1..].iter().all(|(kind, ..)| kind == "CONTINUE"));
            }
        }
    }

    #[test]
    fn a_ping_stands_behind_what_it_fences_and_the_same_again_overtakes_with_a_plain_one() {
        let mut outgoing = Outgoing::default();
        let fence = 7_u64.to_be_bytes();
        outgoing.push(text(2 * FRAGMENT_BYTES));
        outgoing.ping(fence);
        outgoing.next();
        outgoing.ping(fence);
        let pieces = written(&mut outgoing);
        let kinds: Vec<_> = pieces.iter().map(|(kind, ..)| kind.as_str()).collect();
        assert_eq!(kinds, ["ping", "CONTINUE", "ping"]);
        assert_eq!(
            (&pieces[0].2[..], &pieces[2].2[..]),
            (&PLAIN_PING[..], &fence[..])
        );
        outgoing.ping(fence);
        assert_eq!(
            written(&mut outgoing)[0].2[..],
            fence,
            "it is asked for again"
        );
    }

    #[test]
    fn room_is_kept_from_message_to_message_until_it_is_given_back() {
        let mut outgoing = Outgoing::default();
        outgoing.push(text(3));
        outgoing.give_back_room();
        assert_eq!(written(&mut outgoing).len(), 1, "what waits is no room");
        assert_ne!(outgoing.messages.capacity(), 0);
        outgoing.give_back_room();
        assert_eq!(outgoing.messages.capacity(), 0);
    }
}
