//! One WebSocket from the 101 to its end: hello, welcome, frames, close (protocol.md 4).

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    sync::{Notify, mpsc},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::{
    assumptions::DuplicateSocket,
    envelope,
    faults::Stage,
    frame_filter::FrameFilter,
    records::{Direction, FrameKind},
    script::Event,
    server_ping,
    shared::Shared,
    state::{Link, State},
    timestamp,
    wire::Wire,
};

/// How long a peer has to answer our close frame before its TCP connection is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest message a client may be configured to send (security.md S-09), and some.
const MESSAGE_LIMIT_BYTES: usize = 65 << 20;
const CLOSE_PROTOCOL: u16 = 4400;
const CLOSE_HELLO_LATE: u16 = 4408;
const CLOSE_SUPERSEDED: u16 = 4409;

/// What the task of a socket is told to send.
pub(crate) enum Command {
    Text(String),
    Welcome(String),
    Dispatch(Arc<str>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close(u16, String),
}

type Socket = WebSocketStream<FrameFilter<Wire>>;

/// Enters the socket in the state and runs it on a task of its own.
pub(crate) fn start(shared: &Arc<Shared>, instance_id: String, upgrade: OnUpgrade) {
    let (sender, commands) = mpsc::unbounded_channel();
    let link = shared.change(|state| {
        let key = state.next_key();
        let agent = state.agents.get_mut(&instance_id);
        let connection = agent.map_or(1, |agent| {
            agent.connections += 1;
            agent.connections
        });
        let link = Link {
            key,
            instance_id,
            connection,
            ready: false,
            welcomed: false,
            commands: sender,
            abort: Arc::new(Notify::new()),
        };
        state.totals.upgrades += 1;
        state.link(link.clone());
        link
    });
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        run(&shared, &link, commands, upgrade).await;
        shared.change(|state| state.unlink(link.key));
    });
}

enum End {
    /// The peer has gone, or both sides have closed.
    Closed,
    Reset,
}

async fn run(
    shared: &Shared,
    link: &Link,
    mut commands: mpsc::UnboundedReceiver<Command>,
    upgrade: OnUpgrade,
) {
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<Wire>>() else {
        return;
    };
    let filter = FrameFilter::new(parts.io.into_inner(), Arc::clone(&shared.mutes));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT_BYTES))
        .max_frame_size(Some(MESSAGE_LIMIT_BYTES));
    let part = parts.read_buf.to_vec();
    let socket =
        WebSocketStream::from_partially_read(filter, part, Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();
    let end = tokio::select! {
        biased;
        () = link.abort.notified() => End::Reset,
        () = write(shared, link, &mut sink, &mut commands) => End::Closed,
        () = server_ping::run(shared, link) => End::Closed,
        () = read(shared, link, &mut stream) => End::Closed,
    };
    let Ok(socket) = sink.reunite(stream) else {
        return;
    };
    let mut wire = socket.into_inner().into_inner();
    match end {
        End::Reset => wire.reset_on_drop(),
        End::Closed if shared.mutes.close() => {
            // The stall at `close`: no close frame came out, and the TCP connection stays until the peer ends it.
            let mut rest = [0_u8; 1_024];
            let peer_gone = async { while matches!(wire.read(&mut rest).await, Ok(1..)) {} };
            tokio::select! {
                () = peer_gone => {}
                () = link.abort.notified() => {}
            }
        }
        End::Closed => {}
    }
}

/// Writes what is queued, in order; ends when a close frame got no answer in time.
async fn write(
    shared: &Shared,
    link: &Link,
    sink: &mut SplitSink<Socket, Message>,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) {
    while let Some(command) = commands.recv().await {
        shared.unsilenced().await;
        let mut event = None;
        let (message, closing) = match command {
            Command::Text(text) => (Message::text(text), false),
            Command::Welcome(text) => {
                event = Some(Event::Welcome);
                (Message::text(text), false)
            }
            Command::Dispatch(text) => {
                event = Some(Event::Dispatch);
                (Message::text(&*text), false)
            }
            Command::Binary(bytes) => (Message::binary(bytes), false),
            Command::Ping(bytes) => (Message::Ping(Bytes::from(bytes)), false),
            Command::Close(code, reason) => {
                let frame = CloseFrame {
                    code: code.into(),
                    reason: reason.into(),
                };
                (Message::Close(Some(frame)), true)
            }
        };
        let sent = sink.send(message).await;
        if closing && sent.is_ok() {
            tokio::time::sleep(CLOSE_TIMEOUT).await;
            return;
        }
        if sent.is_err() {
            break;
        }
        if let Some(event) = event {
            shared.happened(event, &link.instance_id);
        }
    }
    // The reading side sees the end of a broken socket, with what the peer managed to send before.
    pending::<()>().await;
}

async fn read(shared: &Shared, link: &Link, stream: &mut SplitStream<Socket>) {
    let hello = tokio::time::timeout(
        shared.options.hello_timeout,
        next_text(shared, link, stream),
    );
    let refused = match hello.await {
        Ok(None) => return,
        Ok(Some(text)) => shared
            .change(|state| take_hello(state, link, &text))
            .err()
            .map(|fault| (CLOSE_PROTOCOL, fault)),
        Err(_) => Some((CLOSE_HELLO_LATE, "no hello in time".to_owned())),
    };
    if let Some((code, fault)) = refused {
        shared.change(|state| state.violation(&link.instance_id, &fault));
        // A close reason has room for 123 bytes.
        let reason: String = fault.chars().take(30).collect();
        close(shared, link, code, &reason);
        while next_text(shared, link, stream).await.is_some() {}
        return;
    }

    let mut unstalled = std::pin::pin!(shared.unstalled(Stage::Welcome));
    loop {
        tokio::select! {
            biased;
            text = next_text(shared, link, stream) => match text {
                Some(text) => early(shared, link, &text),
                None => return,
            },
            () = &mut unstalled => break,
        }
    }
    let first = shared.faults.borrow().before_welcome.clone();
    shared.change(|state| {
        for text in first {
            state.send_text(link, text);
        }
    });
    // What has arrived by now was sent without waiting for the welcome.
    while let Some(text) = next_text(shared, link, stream).now_or_never() {
        match text {
            Some(text) => early(shared, link, &text),
            None => return,
        }
    }
    shared.change(|state| welcome(state, link));
    while let Some(text) = next_text(shared, link, stream).await {
        shared.change(|state| state.receive(link, &text));
    }
}

fn early(shared: &Shared, link: &Link, text: &str) {
    let kind = envelope::read(text).map_or_else(|fault| fault, |frame| frame.kind);
    let fault = format!("a frame between hello and welcome: {kind}");
    shared.change(|state| state.violation(&link.instance_id, &fault));
}

/// The next text message; everything else is recorded on the way. `None` when the connection has ended.
async fn next_text(
    shared: &Shared,
    link: &Link,
    stream: &mut SplitStream<Socket>,
) -> Option<String> {
    loop {
        let message = match stream.next().await? {
            Ok(message) => message,
            Err(error) => {
                use tokio_tungstenite::tungstenite::Error::{Capacity, Protocol, Utf8};
                use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
                let broken = match &error {
                    Protocol(ResetWithoutClosingHandshake) => false,
                    Protocol(_) | Capacity(_) | Utf8(_) => true,
                    _ => false,
                };
                if broken {
                    let fault = format!("broken WebSocket: {error}");
                    shared.change(|state| state.violation(&link.instance_id, &fault));
                }
                return None;
            }
        };
        let lossy = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let (kind, text) = match message {
            Message::Text(text) => (FrameKind::Text, text.as_str().to_owned()),
            Message::Binary(bytes) => (FrameKind::Binary, lossy(&bytes)),
            Message::Ping(bytes) => (FrameKind::Ping, lossy(&bytes)),
            Message::Pong(bytes) => (FrameKind::Pong, lossy(&bytes)),
            Message::Close(frame) => (
                FrameKind::Close,
                frame.map_or_else(String::new, |f| {
                    format!("{} {}", u16::from(f.code), f.reason)
                }),
            ),
            Message::Frame(_) => continue,
        };
        shared.change(|state| {
            state.record_frame(link, Direction::FromAgent, kind, &text);
            if kind == FrameKind::Pong {
                state.take_pong(link, &text);
            }
            if kind == FrameKind::Binary {
                state.violation(&link.instance_id, "a binary message");
            }
        });
        if kind == FrameKind::Text {
            return Some(text);
        }
    }
}

fn take_hello(state: &mut State, link: &Link, text: &str) -> Result<(), String> {
    let hello = envelope::read(text)?;
    if hello.kind != "hello" {
        return Err(format!("{} before hello", hello.kind));
    }
    if let Some(fault) = hello.payload_fault() {
        return Err(fault);
    }
    state.check_frame_id(link, &hello, text);
    let Some(agent) = state.agents.get_mut(&link.instance_id) else {
        return Err("hello of an unknown instance".to_owned());
    };
    for (key, wanted) in [
        ("instance_id", &link.instance_id),
        ("agent_type", &agent.agent_type),
    ] {
        if hello.payload[key] != wanted.as_str() {
            return Err(format!("hello with {key} {}", hello.payload[key]));
        }
    }
    agent.hello = Some(Value::Object(hello.payload));
    Ok(())
}

/// The newest socket of an instance wins; then it gets its welcome and what waits for it.
fn welcome(state: &mut State, link: &Link) {
    if !state.links.contains_key(&link.key) {
        // Reset while its hello was on the way.
        return;
    }
    let older: Vec<u64> = state
        .links_of(&link.instance_id)
        .map(|other| other.key)
        .filter(|key| *key < link.key)
        .collect();
    let mut takes_over = false;
    for key in older {
        if let Some(older) = state.unlink(key) {
            takes_over |= older.welcomed;
            match state.duplicate_socket {
                DuplicateSocket::NewestSilent => older.abort.notify_one(),
                // The second upgrade of a pair that came at the same moment is not refused any more.
                DuplicateSocket::Newest | DuplicateSocket::Refuse => {
                    send_close(state, &older, CLOSE_SUPERSEDED, "superseded");
                }
            }
        }
    }
    let left_at = state.presence_mut(&link.instance_id).left_at;
    let recently = match state.resumed_window {
        None => true,
        Some(window) => takes_over || left_at.is_some_and(|at| at.elapsed() <= window),
    };
    let resumed = state
        .agents
        .get_mut(&link.instance_id)
        .is_some_and(|agent| {
            agent.welcomes += 1;
            agent.welcomes > 1 && recently
        });
    let payload = json!({"resumed": resumed, "server_time": timestamp::now()});
    let id = format!("w-{}", uuid::Uuid::new_v4().simple());
    let text = envelope::write("welcome", &id, None, &payload);
    state.record_frame(link, Direction::ToAgent, FrameKind::Text, &text);
    // An error means that the socket's task has ended; its end is recorded by itself.
    let _ = link.commands.send(Command::Welcome(text));
    if let Some(link) = state.links.get_mut(&link.key) {
        link.ready = true;
        link.welcomed = true;
    }
    state.recount(&link.instance_id);
    state.send_waiting(&link.instance_id);
}

fn send_close(state: &mut State, link: &Link, code: u16, reason: &str) {
    let content = format!("{code} {reason}");
    state.record_frame(link, Direction::ToAgent, FrameKind::Close, &content);
    // An error means that the socket's task has ended already.
    let _ = link.commands.send(Command::Close(code, reason.to_owned()));
}

/// Closes one socket from our side: nothing is dispatched to it any more.
pub(crate) fn close(shared: &Shared, link: &Link, code: u16, reason: &str) {
    shared.change(|state| {
        send_close(state, link, code, reason);
        if let Some(link) = state.links.get_mut(&link.key) {
            link.ready = false;
        }
        state.recount(&link.instance_id);
        state.forget_sendings(link.key);
    });
}
