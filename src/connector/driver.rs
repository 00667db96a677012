//! Carries out what the machine asks for, on the I/O thread. Decides nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, Stream as _};
use futures_util::Sink as _;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Delivery, DriverState, Shared};
use crate::error::{Error, ErrorKind};
use crate::machine::action::{Action, ConnectionNo, Dialed, LinkEnd, Reply, Request, RequestId};
use crate::machine::event::Event;
use crate::net::{self, Socket};
use crate::runtime::{self, Runtime};

/// How many frames are read before the machine is asked what to do about them.
const READ_BATCH: usize = 256;

/// How often the driver goes round before it lets other connectors have the thread.
const ROUNDS: usize = 32;

/// Starts the driver of a connector.
pub(super) fn start(shared: &Arc<Shared>) -> Result<(), Error> {
    let runtime = runtime::get()?;
    let client = runtime.client(shared.base.is_plain(), &shared.trust)?;
    let shared = Arc::clone(shared);
    runtime.handle().spawn({
        let runtime = Arc::clone(&runtime);
        async move {
            let ending = Ending(shared);
            let driver = Driver::new(Arc::clone(&ending.0), runtime, client);
            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                ending.0.abandon(&panicked());
            }
        }
    });
    Ok(())
}

fn panicked() -> Error {
    Error::new(
        ErrorKind::Internal,
        "PANIC",
        "a bug in libsvantic: the connector's driver panicked and was ended",
    )
    .hint("free this connector, create another, and report the bug")
}

/// However the driver ends, also by the runtime's: nobody is left waiting.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.lock().driver = DriverState::Ended;
        let text = "the library was shut down";
        shared.abandon(&Error::new(ErrorKind::Cancelled, "CANCELLED", text));
        shared.sink.closed();
        shared.ended.notify_all();
    }
}

impl Shared {
    /// Fails every operation that is still waited for.
    fn abandon(&self, error: &Error) {
        let completions = std::mem::take(&mut self.lock().completions);
        if completions.is_empty() && error.kind() == ErrorKind::Cancelled {
            return;
        }
        let failed = crate::machine::event::EventKind::Failed;
        let mut batch = vec![Delivery::Event(Event::new(failed, error.to_json()))];
        self.sink.deliver(&mut batch);
        for done in completions.into_values() {
            done(Err(error.clone()));
        }
    }
}

/// What the network did since the machine was last asked.
enum Input {
    Replied(RequestId, Reply),
    Dialed(ConnectionNo, Dialed),
    Inbound(ConnectionNo),
    Text(ConnectionNo, Utf8Bytes),
    Pong(ConnectionNo, bytes::Bytes),
    Closed(ConnectionNo, LinkEnd),
}

/// An open socket and what waits to be written to it.
struct Link {
    no: ConnectionNo,
    socket: Socket,
    unsent: VecDeque<Message>,
    received: u64,
    /// Something was written since the last flush.
    dirty: bool,
}

struct Driver {
    shared: Arc<Shared>,
    /// Held so that the thread outlives what runs on it.
    _runtime: Arc<Runtime>,
    client: reqwest::Client,
    requests: FuturesUnordered<BoxFuture<'static, (RequestId, Reply)>>,
    dial: Option<(ConnectionNo, BoxFuture<'static, Result<Socket, Dialed>>)>,
    link: Option<Link>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Duration>,
    inputs: Vec<Input>,
    actions: Vec<Action>,
    batch: Vec<Delivery>,
}

impl Driver {
    fn new(shared: Arc<Shared>, runtime: Arc<Runtime>, client: reqwest::Client) -> Self {
        Self {
            shared,
            _runtime: runtime,
            client,
            requests: FuturesUnordered::new(),
            dial: None,
            link: None,
            timer: Box::pin(sleep_until(Instant::now())),
            timer_at: None,
            inputs: Vec::new(),
            actions: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// Takes in what the network has for us.
    fn gather(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some((id, reply))) = Pin::new(&mut self.requests).poll_next(cx) {
            self.inputs.push(Input::Replied(id, reply));
        }
        if let Some((no, dial)) = &mut self.dial
            && let Poll::Ready(result) = dial.as_mut().poll(cx)
        {
            let no = *no;
            self.dial = None;
            let dialed = match result {
                Ok(socket) => {
                    self.link = Some(Link::new(no, socket));
                    Dialed::Open
                }
                Err(dialed) => dialed,
            };
            self.inputs.push(Input::Dialed(no, dialed));
        }
        if let Some(link) = &mut self.link
            && !link.read(cx, &mut self.inputs)
        {
            self.link = None;
        }
    }

    /// Tells the machine and asks what to do. Returns the time of its next timer.
    fn consult(&mut self) -> Option<Duration> {
        let now = self.shared.now();
        let mut core = self.shared.lock();
        let machine = &mut core.machine;
        for input in self.inputs.drain(..) {
            match input {
                Input::Replied(id, reply) => machine.handle_reply(now, id, &reply),
                Input::Dialed(no, dialed) => machine.handle_dialed(now, no, dialed),
                Input::Inbound(no) => machine.handle_inbound(now, no),
                Input::Text(no, text) => machine.handle_text(now, no, text),
                Input::Pong(no, payload) => machine.handle_pong(now, no, &payload),
                Input::Closed(no, end) => machine.handle_closed(now, no, &end),
            }
        }
        if machine.poll_timeout().is_some_and(|at| at <= now.mono) {
            machine.handle_timeout(now);
        }
        while let Some(action) = machine.poll_action() {
            self.actions.push(action);
        }
        machine.poll_timeout()
    }

    /// Does what was asked for. `true` when the machine has finished.
    fn act(&mut self, cx: &mut Context<'_>) -> bool {
        let mut finished = false;
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Request(request) => self.request(request),
                Action::Dial(dial) => {
                    self.link = None;
                    let (no, shared) = (dial.conn, Arc::clone(&self.shared));
                    let opening = async move {
                        net::dial(&dial, &shared.trust, shared.max_frame_bytes).await
                    };
                    self.dial = Some((no, opening.boxed()));
                }
                Action::Send(no, text) => self.write(no, Message::Text(text)),
                Action::Ping(no, payload) => {
                    let payload = bytes::Bytes::copy_from_slice(&payload);
                    self.write(no, Message::Ping(payload));
                }
                Action::Close(no, code, reason) => {
                    let frame = CloseFrame {
                        code: CloseCode::from(code),
                        reason: Utf8Bytes::from_static(reason),
                    };
                    self.write(no, Message::Close(Some(frame)));
                }
                Action::Abort(no) => {
                    self.dial.take_if(|(dialing, _)| *dialing == no);
                    self.link.take_if(|link| link.no == no);
                }
                Action::Deliver(dispatch) => self.batch.push(Delivery::Dispatch(dispatch)),
                Action::Event(event) => self.batch.push(Delivery::Event(event)),
                Action::Complete(id, result) => {
                    // What happened before is told before.
                    self.shared.sink.deliver(&mut self.batch);
                    let done = self.shared.lock().completions.remove(&id);
                    if let Some(done) = done {
                        done(result);
                    }
                }
                Action::Finished => finished = true,
            }
        }
        self.actions = actions;
        if !self.batch.is_empty() {
            self.shared.sink.deliver(&mut self.batch);
        }
        if let Some(link) = &mut self.link
            && !link.flush(cx, &mut self.inputs)
        {
            self.link = None;
        }
        finished
    }

    fn request(&mut self, request: Request) {
        let url = self.shared.base.endpoint(request.path);
        let client = self.client.clone();
        let id = request.id;
        let exchange = async move { (id, net::http::send(client, url, request).await) };
        self.requests.push(exchange.boxed());
    }

    fn write(&mut self, no: ConnectionNo, message: Message) {
        if let Some(link) = self.link.as_mut().filter(|link| link.no == no) {
            link.unsent.push_back(message);
        }
    }

    /// Sleeps until the machine's next timer. `true` if that is now.
    fn rearm(&mut self, at: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let Some(at) = at else {
            self.timer_at = None;
            return false;
        };
        if self.timer_at != Some(at) {
            self.timer_at = Some(at);
            let instant = Instant::from_std(self.shared.born + at);
            self.timer.as_mut().reset(instant);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Registered before looking, so that a command given in between is not slept through.
        this.shared.waker.register(cx.waker());
        for _ in 0..ROUNDS {
            this.gather(cx);
            let heard = !this.inputs.is_empty();
            let next = this.consult();
            let acted = !this.actions.is_empty();
            if this.act(cx) {
                return Poll::Ready(());
            }
            let due = this.rearm(next, cx);
            if !heard && !acted && !due && this.inputs.is_empty() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Link {
    fn new(no: ConnectionNo, socket: Socket) -> Self {
        Self {
            no,
            socket,
            unsent: VecDeque::new(),
            received: 0,
            // tungstenite may owe the peer a pong for what came right behind the 101.
            dirty: true,
        }
    }

    /// Reads what is there. `false` when the socket has ended, which is then the last input.
    fn read(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> bool {
        let first = inputs.len();
        let mut open = true;
        for _ in 0..READ_BATCH {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Message::Text(text)))) => {
                    inputs.push(Input::Text(self.no, text));
                }
                Poll::Ready(Some(Ok(Message::Pong(payload)))) => {
                    inputs.push(Input::Pong(self.no, payload));
                }
                // tungstenite has queued the pong; it leaves with the next flush.
                Poll::Ready(Some(Ok(Message::Ping(_)))) => self.dirty = true,
                // Binary messages mean nothing in this protocol.
                Poll::Ready(Some(Ok(Message::Binary(_) | Message::Frame(_)))) => {}
                Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                    // Our half of the close handshake, if the kernel takes it at once.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                    let end = LinkEnd::Closed {
                        code: frame.as_ref().map(|frame| frame.code.into()),
                        reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
                    };
                    inputs.push(Input::Closed(self.no, end));
                    open = false;
                    break;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.complain(&error, cx);
                    inputs.push(Input::Closed(self.no, ended(&error)));
                    open = false;
                    break;
                }
                Poll::Ready(None) => {
                    let end = LinkEnd::Broken("the peer ended the stream".to_owned());
                    inputs.push(Input::Closed(self.no, end));
                    open = false;
                    break;
                }
            }
        }
        let received = self.socket.get_ref().received();
        if received != self.received {
            self.received = received;
            inputs.insert(first, Input::Inbound(self.no));
        }
        open
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
    fn flush(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> bool {
        let mut socket = Pin::new(&mut self.socket);
        let result = loop {
            if self.unsent.is_empty() {
                break Ok(());
            }
            match socket.as_mut().poll_ready(cx) {
                Poll::Pending => break Ok(()),
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Ready(Ok(())) => {}
            }
            let Some(message) = self.unsent.pop_front() else {
                break Ok(());
            };
            self.dirty = true;
            if let Err(error) = socket.as_mut().start_send(message) {
                break Err(error);
            }
        };
        let result = match result {
            Ok(()) if self.dirty => match socket.poll_flush(cx) {
                Poll::Pending => Ok(()),
                Poll::Ready(result) => {
                    self.dirty = false;
                    result
                }
            },
            result => result,
        };
        match result {
            Ok(()) => true,
            // After a close frame of either side nothing can be written; the end is heard of by reading.
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Protocol(_)) => {
                self.unsent.clear();
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

/// How the error of a socket reads to the machine.
fn ended(error: &WsError) -> LinkEnd {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => LinkEnd::Violation(
            format!("the peer sent a message of {size} bytes, and the limit is {max_size}"),
        ),
        WsError::Capacity(_) | WsError::Utf8(_) => LinkEnd::Violation(error.to_string()),
        // A reset without a closing handshake is how connections break, not how peers misbehave.
        WsError::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
        | WsError::Io(_)
        | WsError::ConnectionClosed
        | WsError::AlreadyClosed => LinkEnd::Broken(error.to_string()),
        WsError::Protocol(_) => LinkEnd::Violation(error.to_string()),
        other => LinkEnd::Broken(other.to_string()),
    }
}
