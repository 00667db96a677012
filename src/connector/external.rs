//! A socket that the application carries: what the machine wants done with it is delivered like everything else, and the
//! application tells what became of it.
//!
//! Both are done on the application's own thread, with no hop over the I/O thread: when a call returns, what it has led to
//! waits in the queue. Only what time brings about comes from the I/O thread.

use std::borrow::Cow;

use super::{Delivery, MeshConnector};
use crate::error::{Error, ErrorKind};
use crate::machine::LinkState;
use crate::machine::Machine;
use crate::machine::action::{Action, ConnectionNo, Dial, Dialed, HttpReply, LinkEnd, NetFailure};
use crate::machine::time::Now;
use crate::protocol::frame::FrameText;

/// What is to be done with a socket.
pub enum SocketRequest {
    /// Open it.
    Open(Box<Dial>),
    /// Send a text message.
    Send(ConnectionNo, FrameText),
    /// Close it, whether it is open or being opened.
    Close(ConnectionNo, u16, Cow<'static, str>),
}

/// What became of a socket.
pub enum SocketEvent {
    /// It is open.
    Open,
    /// A text message came in.
    Message(String),
    /// It has ended; without a close frame there is no code, or 1005 or 1006.
    Close {
        /// The close code.
        code: Option<u16>,
        /// The peer's reason.
        reason: String,
    },
    /// It has failed.
    Error {
        /// What happened, for people.
        message: String,
        /// The status of the answer that refused the upgrade.
        http_status: Option<u16>,
    },
}

/// What the application is to do about an action; the action itself if it is nothing of a socket's.
#[allow(
    clippy::result_large_err,
    reason = "nothing fails here: the other way is the usual one"
)]
pub(super) fn delivery(action: Action) -> Result<Delivery, Action> {
    Ok(match action {
        Action::Dial(dial) => Delivery::Socket(SocketRequest::Open(dial)),
        Action::Send(no, text) => Delivery::Socket(SocketRequest::Send(no, text)),
        Action::Close(no, code, reason) => Delivery::Socket(SocketRequest::Close(no, code, reason)),
        // Nobody waits for the end of a socket that is given up; a code that every kind of socket lets pass.
        Action::Abort(no) => Delivery::Socket(SocketRequest::Close(no, 1000, "".into())),
        Action::Frame(text) => Delivery::Frame(text),
        other => return Err(other),
    })
}

impl MeshConnector {
    /// Tells what became of a socket that the application carries. Never blocks.
    pub fn socket_event(&self, socket: ConnectionNo, event: SocketEvent) -> Result<(), Error> {
        if !self.shared.external {
            let text = "socket_event: the library carries the bytes of this one itself";
            return Err(Error::new(ErrorKind::InvalidState, "NOT_EXTERNAL", text)
                .hint("create a transport with \"external_socket\":true"));
        }
        let mut core = self.shared.lock();
        let now = self.shared.now();
        let machine = &mut core.machine;
        feed(machine, now, socket, event);
        if !self.shared.sink.has_room() {
            machine.handle_overrun(now);
        }
        drop(core);
        self.shared.settle();
        Ok(())
    }
}

fn feed(machine: &mut Machine, now: Now, socket: ConnectionNo, event: SocketEvent) {
    let dialing = machine.link() == LinkState::Dialing;
    match event {
        SocketEvent::Open => machine.handle_dialed(now, socket, Dialed::Open),
        SocketEvent::Message(text) => {
            machine.handle_inbound(now, socket);
            machine.handle_text(now, socket, text.into());
        }
        SocketEvent::Close { code, reason } if dialing => {
            let code = code.map_or(String::new(), |code| format!(" with code {code}"));
            let mut text = format!("the socket was closed{code} before it was open");
            if !reason.is_empty() {
                text = format!("{text}: {reason}");
            }
            machine.handle_dialed(now, socket, failed(text));
        }
        SocketEvent::Close { code, reason } => {
            // What programs are told where no close frame came.
            let code = code.filter(|code| !matches!(code, 1005 | 1006));
            machine.handle_closed(now, socket, &LinkEnd::Closed { code, reason });
        }
        SocketEvent::Error {
            http_status: Some(status),
            ..
        } if dialing => {
            let reply = HttpReply {
                status,
                ..HttpReply::default()
            };
            machine.handle_dialed(now, socket, Dialed::Refused(reply));
        }
        SocketEvent::Error { message, .. } if dialing => {
            machine.handle_dialed(now, socket, failed(message));
        }
        SocketEvent::Error { message, .. } => {
            machine.handle_socket_error(now, socket, message);
        }
    }
}

fn failed(text: String) -> Dialed {
    Dialed::Failed(NetFailure {
        kind: ErrorKind::Network,
        text,
    })
}
