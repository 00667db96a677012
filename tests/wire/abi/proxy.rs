//! A forward proxy on loopback, as a company has one: CONNECT and absolute URLs, with Basic credentials or without.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a proxy treats CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connect {
    /// Opens the tunnel.
    Tunnel,
    /// Says nothing.
    Silence,
    /// Answers a byte at a time and never gets to the end.
    Drip,
    /// Opens a tunnel in which nothing ever comes.
    BlindTunnel,
    /// Another status.
    Refuse(u16),
}

/// The first request of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
}

struct State {
    /// `user:password` that it wants, if any.
    credentials: Mutex<Option<String>>,
    connect: Mutex<Connect>,
    asked: Mutex<Vec<Asked>>,
    sockets: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// Whatever host it is asked for, it connects to that port of 127.0.0.1: no target of a test is reached past it.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        Self::start_at(0)
    }

    pub(crate) fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            credentials: Mutex::default(),
            connect: Mutex::new(Connect::Tunnel),
            asked: Mutex::default(),
            sockets: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let accepting = thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                shared.hold(&client);
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(client));
            }
        });
        Self {
            address,
            state,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What the message of an error calls it.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// The URL to configure; `user` is `user:password@` or nothing.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    pub(crate) fn wants(&self, credentials: Option<&str>) {
        *self.state.credentials.lock().unwrap() = credentials.map(str::to_owned);
    }

    pub(crate) fn on_connect(&self, connect: Connect) {
        *self.state.connect.lock().unwrap() = connect;
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How many connections began with this method.
    pub(crate) fn count(&self, method: &str) -> usize {
        let asked = self.asked();
        asked.iter().filter(|asked| asked.method == method).count()
    }
}

impl Drop for Proxy {
    /// Dies with all its connections; the port is free afterwards.
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        for socket in self.state.sockets.lock().unwrap().drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

impl State {
    /// Remembers a socket, to end it with the proxy.
    fn hold(&self, socket: &TcpStream) {
        let copy = socket.try_clone().expect("a descriptor");
        self.sockets.lock().unwrap().push(copy);
    }

    fn serve(&self, mut client: TcpStream) {
        let Some(head) = read_head(&mut client) else {
            return;
        };
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap_or_default());
        let authorization = text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let wanted = name.eq_ignore_ascii_case("proxy-authorization");
            wanted.then(|| value.to_owned())
        });
        let tunnel = method == "CONNECT";
        let port = port(&target);
        let expected = self.credentials.lock().unwrap().clone();
        let expected = expected.map(|text| format!("Basic {}", STANDARD.encode(text)));
        let good = expected.is_none() || expected == authorization;
        self.asked.lock().unwrap().push(Asked {
            method,
            target,
            authorization: authorization.clone(),
        });
        if !good {
            // Some proxies show what they were sent.
            let shown = authorization.unwrap_or_default();
            return answer(&mut client, 407, &format!("<h1>no: {shown}</h1>"));
        }
        let connect = *self.connect.lock().unwrap();
        match connect {
            _ if !tunnel => {}
            Connect::Tunnel => {}
            Connect::Silence => return until_end(&mut client),
            Connect::Drip => return drip(&mut client, b"HTTP/1.1 200 OK\r\nX-Slow: "),
            Connect::BlindTunnel => {
                drop(client.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n"));
                return until_end(&mut client);
            }
            Connect::Refuse(status) => return answer(&mut client, status, "no"),
        }
        let Ok(mut mesh) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            return answer(&mut client, 502, "no mesh there");
        };
        self.hold(&mesh);
        if tunnel {
            // As squid writes it.
            drop(client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n"));
        } else {
            drop(mesh.write_all(&head));
        }
        let (from, to) = (client.try_clone().unwrap(), mesh.try_clone().unwrap());
        thread::spawn(move || pump(from, to));
        pump(mesh, client);
    }
}

fn port(target: &str) -> u16 {
    let authority = target.trim_start_matches("http://");
    let authority = authority.split('/').next().unwrap_or_default();
    let (_, port) = authority.rsplit_once(':').unwrap_or_default();
    port.parse().unwrap_or(80)
}

fn answer(client: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nProxy-Authenticate: Basic realm=\"x\"\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    drop(client.write_all(text.as_bytes()));
    drop(client.shutdown(Shutdown::Write));
    // Closing with bytes unread would reset the connection and take the answer along.
    until_end(client);
}

/// The head of the first request, byte for byte, so that nothing behind it is taken.
fn read_head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(head)
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// Reads until the peer has gone.
pub(crate) fn until_end(stream: &mut TcpStream) {
    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
}

/// Writes these bytes and then more of the last kind for ever, one at a time: each of them is progress, and none
/// the last. Ends when the peer has gone.
pub(crate) fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    drop(stream.set_nodelay(true));
    for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
