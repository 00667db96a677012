//! Servers that do on the wire what the gateway never would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Accepts on a thread and gives every connection to a handler on a thread of its own.
pub(crate) struct RawServer {
    address: SocketAddr,
    /// From where each connection came, and a bell for whoever waits for one.
    peers: Arc<(Mutex<Vec<SocketAddr>>, Condvar)>,
    stop: Arc<AtomicBool>,
}

impl RawServer {
    pub(crate) fn start(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", handle)
    }

    pub(crate) fn start_at(
        address: &str,
        handle: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port on loopback");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            peers: Arc::default(),
            stop: Arc::default(),
        };
        let (peers, stop) = (Arc::clone(&server.peers), Arc::clone(&server.stop));
        let handle = Arc::new(handle);
        thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                peers.0.lock().unwrap().push(peer);
                peers.1.notify_all();
                let handle = Arc::clone(&handle);
                thread::spawn(move || handle(stream));
            }
        });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made so far, those in the kernel's queue included.
    pub(crate) fn connections(&self) -> usize {
        // One of our own goes behind all others, and is accepted after them.
        let probe = TcpStream::connect(self.address).expect("it listens");
        let ours = probe.local_addr().expect("an address");
        let (peers, bell) = &*self.peers;
        let waiting = |peers: &mut Vec<SocketAddr>| !peers.contains(&ours);
        let mut peers = bell.wait_while(peers.lock().unwrap(), waiting).unwrap();
        peers.retain(|peer| *peer != ours);
        peers.len()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// A listener that nobody may ever connect to, on another host than the gateway's.
pub(crate) fn forbidden() -> RawServer {
    RawServer::start_at("127.0.0.2:0", |_| {})
}

/// The head of one request.
pub(crate) struct Head {
    pub(crate) path: String,
    pub(crate) lines: Vec<String>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Reads one request with its body; `None` when the client has gone.
pub(crate) fn read_request(stream: &TcpStream) -> Option<Head> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines
        .first()?
        .split(' ')
        .nth(1)?
        .split('?')
        .next()?
        .to_owned();
    let head = Head { path, lines };
    let length = head
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head)
}

/// Writes a whole reply and ends the connection.
pub(crate) fn reply(stream: &mut TcpStream, status: u16, body: &str) {
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(text.as_bytes()));
}

/// Plays the mesh; what `special` answers itself (it returns true) is its own affair.
pub(crate) fn mesh(
    special: impl Fn(&Head, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> RawServer {
    RawServer::start(move |mut stream| {
        let address = stream.local_addr().expect("an address");
        if let Some(head) = read_request(&stream) {
            if special(&head, &mut stream) {
                return;
            }
            let body = match head.path.as_str() {
                "/auth/get_token" => json!({"token": "opaque-token-of-the-raw-mesh"}),
                "/agents/register" => {
                    json!({"ok": true, "connect_url": format!("ws://{address}/agents/connect")})
                }
                _ => json!({"ok": true}),
            };
            reply(&mut stream, 200, &body.to_string());
        }
    })
}

/// The 101 that the request asked for.
pub(crate) fn accept_upgrade(head: &Head, stream: &mut TcpStream) {
    let key = head.header("sec-websocket-key").unwrap_or_default();
    let text = format!(
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\
         Sec-WebSocket-Protocol: svantic.v1\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    drop(stream.write_all(text.as_bytes()));
}

/// An unmasked frame, as servers send it. `first` is FIN, the reserved bits and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(u8::try_from(short).unwrap_or(0)),
        medium @ 126..=65_535 => {
            frame.push(126);
            frame.extend(u16::try_from(medium).unwrap_or(0).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

pub(crate) const WELCOME: &str =
    r#"{"v":1,"type":"welcome","id":"w1","payload":{"resumed":false}}"#;

/// Reads masked frames until a close frame, and returns its code.
pub(crate) fn close_code(stream: &mut TcpStream) -> Option<u16> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).ok()?;
                usize::from(u16::from_be_bytes(length))
            }
            short => usize::from(short),
        };
        let mut rest = vec![0; 4 + length];
        stream.read_exact(&mut rest).ok()?;
        if head[0] & 0x0f == 8 && length >= 2 {
            return Some(u16::from_be_bytes([rest[4] ^ rest[0], rest[5] ^ rest[1]]));
        }
    }
}
