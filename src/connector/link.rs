//! An open WebSocket: what comes in, and what waits to go out. It is read on the I/O thread, and written to by whoever has it
//! ([`super::berth`]).

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Sink as _;
use futures_util::stream::Stream as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::outgoing::Outgoing;
use crate::machine::action::{ConnectionNo, Dialed, LinkEnd, Reply, RequestId};
use crate::machine::watch::Progress;
use crate::net::Socket;

/// How many frames are read before the machine is asked what to do about them.
const READ_BATCH: usize = 256;

/// What the network did since the machine was last asked.
pub(super) enum Input {
    Replied(RequestId, Box<Reply>),
    Dialed(ConnectionNo, Box<Dialed>),
    Inbound(ConnectionNo),
    Text(ConnectionNo, Utf8Bytes),
    Pong(ConnectionNo, Bytes),
    Closed(ConnectionNo, LinkEnd),
}

/// How a read went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// There is no more; the socket wakes the driver.
    All,
    /// There may be more than is read at once.
    Part,
    /// The socket has ended, which is the last input.
    End,
}

/// How much is written before the peer is listened to again.
const FRAGMENTS_PER_ROUND: usize = 8;

/// An open socket and what waits to be written to it.
pub(super) struct Link {
    pub(super) no: ConnectionNo,
    socket: Socket,
    outgoing: Outgoing,
    ping: LastPing,
    /// What the last ping said; its answer says the same.
    ping_payload: [u8; 8],
    /// Up to where in the TCP stream the peer has shown to have read, by answering a ping behind it.
    heard_until: u64,
    /// The last flush ended because of how much there is, not because the kernel took no more.
    has_more: bool,
    /// tungstenite would not take the next message before it has flushed all earlier ones.
    blocked: bool,
    received: u64,
    /// Something was written since the last flush.
    dirty: bool,
    /// How it ended while another thread than the driver's wrote to it; the read that finds no more tells.
    broken: Option<Input>,
    /// Wakes the driver.
    driver: Option<Waker>,
}

impl Link {
    pub(super) fn new(no: ConnectionNo, socket: Socket) -> Self {
        Self {
            no,
            socket,
            outgoing: Outgoing::default(),
            ping: LastPing::None,
            ping_payload: [0; 8],
            heard_until: 0,
            has_more: false,
            blocked: false,
            received: 0,
            // tungstenite may owe the peer a pong for what came right behind the 101.
            dirty: true,
            broken: None,
            driver: None,
        }
    }

    /// Before others may write to it: whom the socket is to wake.
    pub(super) fn leave(&mut self, driver: &Waker) {
        match &mut self.driver {
            Some(known) => known.clone_from(driver),
            None => self.driver = Some(driver.clone()),
        }
    }

    /// Gives the socket what waits, on another thread than the driver's. `true` if the driver has to see to something;
    /// where the kernel takes no more, the socket wakes it.
    pub(super) fn flush_elsewhere(&mut self) -> bool {
        let Some(driver) = self.driver.take() else {
            return true;
        };
        let mut inputs = Vec::new();
        if !self.flush(&mut Context::from_waker(&driver), &mut inputs) {
            self.broken = inputs.pop();
        }
        self.driver = Some(driver);
        self.has_more || self.broken.is_some()
    }

    /// Puts a message behind those that wait.
    pub(super) fn push(&mut self, message: Message) {
        self.outgoing.push(message);
    }

    /// Puts a ping behind what waits; or, if the same one waits already, another in front of it.
    pub(super) fn ping(&mut self, payload: [u8; 8]) {
        self.outgoing.ping(payload);
        self.ping = LastPing::Waiting;
    }

    /// Gives back the room of what has been written.
    pub(super) fn give_back_room(&mut self) {
        self.outgoing.give_back_room();
    }

    /// How many bytes wait to be written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Whether [`Link::flush`] is to be called again without waiting for anything.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// How far what was written has come. A system call.
    pub(super) fn progress(&self) -> Progress {
        let stream = self.socket.get_ref();
        let (written, unacknowledged) = (stream.written(), stream.unacknowledged());
        let acked = written.saturating_sub(unacknowledged.unwrap_or(0));
        let (ping_acked, unsure) = match (&self.ping, unacknowledged) {
            (LastPing::EndsAt(end), Some(_)) => (*end <= acked, 0),
            (LastPing::EndsAt(end), None) => (true, end.saturating_sub(self.heard_until)),
            _ => (false, 0),
        };
        Progress {
            acked,
            ping_acked,
            unsure,
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> Read {
        let first = inputs.len();
        let mut read = Read::Part;
        for _ in 0..READ_BATCH {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => {
                    read = Read::All;
                    // Not before what the peer had to say, which may be why.
                    if let Some(end) = self.broken.take() {
                        inputs.push(end);
                        read = Read::End;
                    }
                    break;
                }
                Poll::Ready(Some(Ok(Message::Text(text)))) => {
                    inputs.push(Input::Text(self.no, text));
                }
                Poll::Ready(Some(Ok(Message::Pong(payload)))) => {
                    if let LastPing::EndsAt(end) = self.ping
                        && *payload == self.ping_payload[..]
                    {
                        self.heard_until = end;
                    }
                    inputs.push(Input::Pong(self.no, payload));
                }
                // tungstenite has queued the pong; it leaves with the next flush.
                Poll::Ready(Some(Ok(Message::Ping(_)))) => self.dirty = true,
                // Binary messages mean nothing in this protocol.
                Poll::Ready(Some(Ok(Message::Binary(_) | Message::Frame(_)))) => {}
                Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                    // Our half of the close handshake, if the kernel takes it at once.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                    inputs.push(Input::Closed(self.no, closed(frame)));
                    read = Read::End;
                    break;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.complain(&error, cx);
                    inputs.push(Input::Closed(self.no, ended(&error)));
                    read = Read::End;
                    break;
                }
                Poll::Ready(None) => {
                    let end = LinkEnd::Broken("the peer ended the stream".to_owned());
                    inputs.push(Input::Closed(self.no, end));
                    read = Read::End;
                    break;
                }
            }
        }
        let received = self.socket.get_ref().received();
        if received != self.received {
            self.received = received;
            inputs.insert(first, Input::Inbound(self.no));
        }
        read
    }

    /// Tells a peer that broke the rules what it did, if the kernel takes it at once.
    fn complain(&mut self, error: &WsError, cx: &mut Context<'_>) {
        let (code, reason) = match error {
            WsError::Capacity(_) => (CloseCode::Size, "message too large"),
            WsError::Utf8(_) => (CloseCode::Invalid, "text is not UTF-8"),
            WsError::Protocol(_) => (CloseCode::Protocol, "protocol error"),
            _ => return,
        };
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::from_static(reason),
        };
        let mut socket = Pin::new(&mut self.socket);
        if socket.as_mut().poll_ready(cx).is_ready() {
            let _ = socket.as_mut().start_send(Message::Close(Some(frame)));
            let _ = socket.poll_flush(cx);
        }
    }

    /// Gives the socket what waits, as far as it takes it, in as few writes as possible. `false` when the
    /// socket has broken, which is then the last input.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> bool {
        let mut socket = Pin::new(&mut self.socket);
        self.has_more = false;
        let mut left = FRAGMENTS_PER_ROUND;
        let result = loop {
            if self.outgoing.is_empty() {
                break Ok(());
            }
            match socket.as_mut().poll_ready(cx) {
                Poll::Pending => {
                    self.blocked = true;
                    break Ok(());
                }
                Poll::Ready(Err(error)) => break Err(error),
                // tungstenite flushes what blocked before it is ready again.
                Poll::Ready(Ok(())) if std::mem::take(&mut self.blocked) => {
                    self.ping.flushed(socket.get_ref().written());
                }
                Poll::Ready(Ok(())) => {}
            }
            if left == 0 {
                // A peer that takes everything at once must not go unheard for as long as there is something.
                self.has_more = true;
                break Ok(());
            }
            let Some(message) = self.outgoing.next() else {
                break Ok(());
            };
            match &message {
                Message::Ping(payload) => {
                    self.ping_payload = payload[..].try_into().unwrap_or_default();
                    self.ping = LastPing::Written;
                }
                Message::Frame(_) => left -= 1,
                _ => {}
            }
            self.dirty = true;
            if let Err(error) = socket.as_mut().start_send(message) {
                break Err(error);
            }
        };
        let result = match result {
            Ok(()) if self.dirty => match socket.as_mut().poll_flush(cx) {
                Poll::Pending => Ok(()),
                Poll::Ready(result) => {
                    self.dirty = false;
                    self.blocked = false;
                    self.ping.flushed(socket.get_ref().written());
                    result
                }
            },
            result => result,
        };
        match result {
            Ok(()) => true,
            // After a close frame of either side nothing can be written; the end is heard of by reading.
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Protocol(_)) => {
                self.outgoing = Outgoing::default();
                self.has_more = false;
                self.dirty = false;
                true
            }
            Err(error) => {
                inputs.push(Input::Closed(self.no, ended(&error)));
                false
            }
        }
    }
}

/// Where in the TCP stream the last ping ends.
enum LastPing {
    None,
    Waiting,
    /// With tungstenite or TLS, where its end is not known yet.
    Written,
    EndsAt(u64),
}

impl LastPing {
    /// Everything up to `written` is with the kernel.
    fn flushed(&mut self, written: u64) {
        if matches!(self, Self::Written) {
            *self = Self::EndsAt(written);
        }
    }
}

/// How a close frame reads to the machine.
fn closed(frame: Option<CloseFrame>) -> LinkEnd {
    let Some(frame) = frame else {
        return LinkEnd::Closed {
            code: None,
            reason: String::new(),
        };
    };
    // tungstenite puts this in the place of every code that it does not know, such as a proxy's 1014 (bad
    // gateway); a peer that goes by such a code has not complained about us.
    if frame.code == CloseCode::Protocol && frame.reason.as_str() == "Protocol violation" {
        return LinkEnd::Closed {
            code: None,
            reason: "with a close code that is not defined".to_owned(),
        };
    }
    LinkEnd::Closed {
        code: Some(frame.code.into()),
        reason: frame.reason.to_string(),
    }
}

/// How the error of a socket reads to the machine.
fn ended(error: &WsError) -> LinkEnd {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => LinkEnd::Violation(
            format!("the peer sent a message of {size} bytes, and the limit is {max_size}"),
        ),
        // A reset without a closing handshake is how connections break, not how peers misbehave.
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            LinkEnd::Broken(error.to_string())
        }
        WsError::Capacity(_) | WsError::Utf8(_) | WsError::Protocol(_) => {
            LinkEnd::Violation(error.to_string())
        }
        other => LinkEnd::Broken(other.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests;
