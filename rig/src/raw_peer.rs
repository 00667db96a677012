//! A mesh that sends any bytes: just enough HTTP and WebSocket to be joined, no rules of its own.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::bad_frames::{OPCODE_TEXT, push_frame};

const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;

/// What has come from the agent.
#[derive(Debug, Default)]
pub struct Heard {
    /// How many WebSocket connections were opened.
    pub connections: u64,
    /// The ids of answered dispatches that begin with `good-`.
    pub good: HashSet<String>,
    /// Answers of any kind.
    pub answers: u64,
    /// The codes of close frames.
    pub closes: Vec<u16>,
    /// Pongs.
    pub pongs: u64,
    socket: Option<Arc<TcpStream>>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A running raw mesh.
pub struct RawPeer {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl RawPeer {
    /// Listens on a free port of loopback.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let on_thread = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if on_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&on_thread);
                // An error is a peer that went away in the middle.
                thread::spawn(move || drop(serve(&shared, stream, address)));
            }
        });
        Ok(Self { shared, address })
    }

    /// For `svantic_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes raw bytes on the newest WebSocket.
    pub fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        let socket = self.shared.lock().socket.clone();
        match socket {
            Some(socket) => (&*socket).write_all(bytes),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Looks at what was heard.
    pub fn look<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Waits until `condition` holds; false when `timeout` passes first.
    pub fn wait_until(&self, timeout: Duration, mut condition: impl FnMut(&Heard) -> bool) -> bool {
        let (heard, waited) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), timeout, |heard| !condition(heard))
            .unwrap_or_else(PoisonError::into_inner);
        drop(heard);
        !waited.timed_out()
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(socket) = self.shared.lock().socket.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(shared: &Shared, stream: TcpStream, address: SocketAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Arc::new(stream);
    let mut reader = BufReader::new(&*stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    if let Some(key) = header("sec-websocket-key") {
        let accept = derive_accept_key(key.as_bytes());
        let reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: svantic.v1\r\n\r\n"
        );
        (&*stream).write_all(reply.as_bytes())?;
        return frames(shared, &stream, &mut reader);
    }
    let length = header("content-length").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let body = json!({
        "ok": true, "tenant_id": "t", "deployment_mode": "connected",
        "connect_url": format!("ws://{address}/agents/connect"),
    })
    .to_string();
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    (&*stream).write_all(reply.as_bytes())
}

fn frames(shared: &Shared, stream: &Arc<TcpStream>, reader: &mut impl Read) -> std::io::Result<()> {
    let mut welcomed = false;
    loop {
        let (opcode, payload) = read_frame(reader)?;
        let mut out = Vec::new();
        match opcode {
            OPCODE_TEXT if !welcomed => {
                welcomed = true;
                let welcome = br#"{"v":1,"type":"welcome","id":"w","payload":{"resumed":false}}"#;
                push_frame(&mut out, true, OPCODE_TEXT, welcome);
                shared.change(|heard| {
                    heard.connections += 1;
                    heard.socket = Some(Arc::clone(stream));
                });
            }
            OPCODE_TEXT => answer(shared, &payload),
            OPCODE_PING => push_frame(&mut out, true, OPCODE_PONG, &payload),
            OPCODE_PONG => shared.change(|heard| heard.pongs += 1),
            OPCODE_CLOSE => {
                let code = payload
                    .get(..2)
                    .map_or(0, |code| u16::from(code[0]) << 8 | u16::from(code[1]));
                shared.change(|heard| heard.closes.push(code));
                return Ok(());
            }
            _ => {}
        }
        (&**stream).write_all(&out)?;
    }
}

fn answer(shared: &Shared, payload: &[u8]) {
    let frame: Value = serde_json::from_slice(payload).unwrap_or_default();
    let id = frame["in_reply_to"].as_str().unwrap_or_default();
    shared.change(|heard| {
        heard.answers += u64::from(!id.is_empty());
        if id.starts_with("good-") && frame["type"] == "dispatch_result" {
            heard.good.insert(id.to_owned());
        }
    });
}

/// One masked frame of an agent.
fn read_frame(reader: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    let mut length = u64::from(head[1] & 0x7f);
    let extended = match length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if extended > 0 {
        let mut digits = [0; 8];
        reader.read_exact(&mut digits[8 - extended..])?;
        length = u64::from_be_bytes(digits);
    }
    let mut mask = [0; 4];
    reader.read_exact(&mut mask)?;
    let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
    reader.read_exact(&mut payload)?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Ok((head[0] & 0x0f, payload))
}
