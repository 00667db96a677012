//! A client's WebSocket, seen from the mesh: written and read in turns on one thread, which does not sleep while
//! time is measured: it yields, to the client where there is no other processor for that.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::{
    Failure,
    websocket::{self, CLOSE, CONTINUATION, Head, PING, TEXT},
};

/// How long anything is waited for that must come.
pub const PATIENCE: Duration = Duration::from_mins(1);

const WELCOME: &str = r#"{"v":1,"type":"welcome","id":"w1","ts":"2026-01-01T00:00:00.000Z","payload":{"resumed":false,"server_time":"2026-01-01T00:00:00.000Z"}}"#;
const READ_AT_ONCE: usize = 1 << 20;

/// How long a client that is not in a hurry is left alone.
const NAP: Duration = Duration::from_micros(200);

/// See the [module documentation](self).
pub struct Link {
    stream: TcpStream,
    /// What was received and not looked at is `input[read..filled]`.
    input: Vec<u8>,
    read: usize,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    /// What the client does is counted, not timed.
    has_time: bool,
    /// What has come of a message in parts.
    parts: Vec<u8>,
}

impl Link {
    /// Waits for the client's hello and welcomes it.
    ///
    /// # Errors
    ///
    /// When it says something else, or nothing.
    pub(crate) fn greet(stream: TcpStream) -> Result<Self, Failure> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut link = Self {
            stream,
            input: vec![0; READ_AT_ONCE],
            read: 0,
            filled: 0,
            output: Vec::new(),
            written: 0,
            has_time: false,
            parts: Vec::new(),
        };
        let mut hello = None;
        while hello.is_none() {
            link.exchange(|message| {
                let text: serde_json::Value = serde_json::from_slice(message).unwrap_or_default();
                hello = Some(text["type"] == "hello" && text["v"] == 1);
                Ok(())
            })?;
        }
        if hello != Some(true) {
            return Err(Failure::new("its first message is no hello"));
        }
        websocket::push_frame(&mut link.output, TEXT, WELCOME.as_bytes());
        Ok(link)
    }

    /// From now on it sleeps while nothing comes: for clients whose time is not measured.
    pub fn take_your_time(&mut self) {
        self.has_time = true;
    }

    /// Where frames for the client are put; they are sent with the next exchange.
    pub fn output(&mut self) -> &mut Vec<u8> {
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        &mut self.output
    }

    /// Sends what there is to send, and hands out what comes, until at least one message has come.
    ///
    /// # Errors
    ///
    /// When the link ends, nothing comes, or `take` fails.
    pub fn exchange(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut until = None;
        let mut taken = 0;
        while taken == 0 {
            let moved = self.write()? | self.fill()?;
            taken = self.take_messages(&mut take)?;
            if !moved {
                self.wait(&mut until)?;
            }
        }
        Ok(())
    }

    /// Sends all that there is to send, whatever comes meanwhile.
    ///
    /// # Errors
    ///
    /// When the link ends, or nothing is taken.
    pub fn send(&mut self) -> Result<(), Failure> {
        let mut until = None;
        while self.written < self.output.len() {
            if !self.write()? {
                self.wait(&mut until)?;
            }
        }
        Ok(())
    }

    fn wait(&self, until: &mut Option<Instant>) -> Result<(), Failure> {
        let until = until.get_or_insert_with(|| Instant::now() + PATIENCE);
        if Instant::now() >= *until {
            return Err(Failure::new("nothing more came over its link"));
        }
        if self.has_time {
            thread::sleep(NAP);
        } else {
            thread::yield_now();
        }
        Ok(())
    }

    fn write(&mut self) -> Result<bool, Failure> {
        let before = self.written;
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(Failure::new("its link takes nothing")),
                Ok(some) => self.written += some,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::new(format!("its link broke: {error}"))),
            }
        }
        Ok(self.written > before)
    }

    fn fill(&mut self) -> Result<bool, Failure> {
        if self.read == self.filled {
            (self.read, self.filled) = (0, 0);
        }
        let wanted = Head::read(&self.input[self.read..self.filled]).map_or(0, |head| head.total());
        if self.filled == self.input.len() || self.read + wanted > self.input.len() {
            self.input.copy_within(self.read..self.filled, 0);
            (self.read, self.filled) = (0, self.filled - self.read);
            let length = self.input.len().max(wanted);
            self.input.resize(length, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => Err(Failure::new("it closed its link")),
            Ok(some) => {
                self.filled += some;
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) => Err(Failure::new(format!("its link broke: {error}"))),
        }
    }

    /// How many messages there were.
    fn take_messages(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut taken = 0;
        while let Some(head) = Head::read(&self.input[self.read..self.filled]) {
            let (begin, end) = (self.read + head.head, self.read + head.total());
            if end > self.filled {
                break;
            }
            let Some(key) = head.key else {
                return Err(Failure::new("a frame of it is not masked"));
            };
            let payload = &mut self.input[begin..end];
            websocket::mask(payload, key);
            self.read = end;
            match head.kind {
                TEXT if head.is_final => {
                    taken += 1;
                    take(payload)?;
                }
                TEXT | CONTINUATION => {
                    self.parts.extend_from_slice(payload);
                    if head.is_final {
                        taken += 1;
                        take(&self.parts)?;
                        self.parts.clear();
                    }
                }
                PING => websocket::push_frame(&mut self.output, websocket::PONG, payload),
                CLOSE => return Err(Failure::new("it closed its WebSocket")),
                websocket::PONG => {}
                other => {
                    let text = format!("a frame of it has the kind {other}");
                    return Err(Failure::new(text));
                }
            }
        }
        Ok(taken)
    }
}
