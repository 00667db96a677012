//! S-17: what clients that mean no good cost an agent with a server of its own. The clients are in this process, but
//! what they need is allocated before anything is counted.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::json;
use svantic::agent::Capability;
use svantic::config::Config;
use svantic::connector::{Delivery, MeshConnector, Sink};
use svantic_rig::GUARD;
use svantic_rig::dice::from_environment;
use svantic_rig::live_bytes::LiveBytes;

#[global_allocator]
static MEMORY: LiveBytes = LiveBytes::new();

const KIB: isize = 1 << 10;
const MIB: isize = 1 << 20;

/// The count is the process's, so its tests take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the dispatches that reach the application.
#[derive(Default)]
struct Reached(AtomicUsize);

impl Sink for Reached {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        for delivery in batch.drain(..) {
            if let Delivery::Dispatch(_) = delivery {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn closed(&self) {}
}

/// An agent without a mesh, which wants dispatches signed.
struct Agent {
    connector: MeshConnector,
    reached: Arc<Reached>,
    address: SocketAddr,
}

impl Agent {
    fn new() -> Self {
        let config = json!({
            "name": "abused", "description": "echoes", "local": true, "listen": "127.0.0.1:0",
            "signing_secret": "a secret that nobody has guessed yet",
        });
        let config = Config::parse(&config.to_string(), &|_| None).expect("a configuration");
        let reached = Arc::new(Reached::default());
        let sink: Arc<dyn Sink> = Arc::clone(&reached) as _;
        let connector = MeshConnector::new(config, sink, "").expect("a connector");
        let echo = Capability::parse(r#"{"name":"echo","description":"d"}"#).expect("a capability");
        connector.define_capability(echo).expect("a new name");
        let snapshot = connector.snapshot();
        let address = snapshot["listening"].as_str().expect("it listens");
        let address = address.parse().expect("an address");
        Self {
            connector,
            reached,
            address,
        }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        stream
    }

    /// From an address of loopback's sixteen million.
    fn dial_from(&self, n: usize) -> TcpStream {
        let bits = 0x7f01_0000 + u32::try_from(n % 65_536).expect("it is small");
        let from = SocketAddr::from((IpAddr::V4(Ipv4Addr::from_bits(bits)), 0));
        let kind = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).expect("a socket");
        socket.bind(&from.into()).expect("an address of loopback");
        socket.connect(&self.address.into()).expect("it listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        stream
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.connector.stop();
        self.connector.wait_ended(GUARD);
    }
}

/// Reads a response with a length, on a connection that may go on, without allocating. Its status.
fn status(stream: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let (mut read, mut wanted) = (0, usize::MAX);
    while read < wanted {
        let n = stream.read(&mut buffer[read..]).expect("a response");
        assert_ne!(n, 0, "the response is cut off");
        read += n;
        let head = buffer[..read].windows(4).position(|end| end == b"\r\n\r\n");
        if let (Some(head), usize::MAX) = (head, wanted) {
            wanted = head + 4 + length(&buffer[..head]);
        }
    }
    assert_eq!(read, wanted, "there is more than one response");
    std::str::from_utf8(&buffer[9..12])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .expect("a status")
}

fn length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("ASCII");
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = lines
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .expect("a length");
    length.parse().expect("a number")
}

fn post(body: &str) -> String {
    format!(
        "POST /send HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn forged(n: usize) -> String {
    // As a token looks, and new each time.
    let token = format!("eyJhbGciOiJIUzI1NiJ9.eyJkaXNwYXRjaF9pZCI6Int7fX0ifQ.{n:043}");
    post(
        &json!({"jsonrpc": "2.0", "id": n, "method": "message/send", "params": {"message": {
            "kind": "message", "role": "user", "messageId": format!("m-{n}"), "parts": [
                {"kind": "data", "data": {"skill_id": "echo", "args": {"n": n}, "svantic_auth":
                    {"scheme": "svantic_jwt", "token": token, "expires_at": "2030-01-01T00:00:00.000Z"}}},
            ],
        }}})
        .to_string(),
    )
}

#[test]
fn forged_tokens_reach_no_handler_and_leave_nothing_behind() {
    // As many as a peer may fail at in a second, and as many again that are turned away.
    const EACH: usize = 20;
    // More than are told apart.
    const PEERS: usize = 4_200;
    let _turn = alone();
    let count = from_environment("SVANTIC_RIG_FORGERIES", 10_000);
    let agent = Agent::new();
    let mut buffer = vec![0; 16 << 10];
    let mut attempt = |peers: std::ops::Range<usize>, each: usize| {
        let (mut refused, mut turned_away) = (0, 0);
        for peer in peers {
            let mut stream = agent.dial_from(peer);
            for n in 0..each {
                let forged = forged(peer * each + n);
                stream.write_all(forged.as_bytes()).expect("it reads");
                match status(&mut stream, &mut buffer) {
                    401 => refused += 1,
                    429 => turned_away += 1,
                    other => panic!("a forged token got {other}"),
                }
            }
        }
        (refused, turned_away)
    };
    attempt(0..PEERS, 1);
    let before = MEMORY.live();
    MEMORY.reset_peak();
    let (refused, turned_away) = attempt(PEERS..PEERS + count / EACH, EACH);
    let (grown, peak) = (MEMORY.live() - before, MEMORY.peak() - before);
    println!(
        "S-17: {refused} forged tokens refused and {turned_away} turned away: {grown} bytes more, {peak} at most"
    );
    // How many are turned away is a matter of how fast this machine is.
    assert!(refused > 0);
    assert_eq!(agent.reached.0.load(Ordering::SeqCst), 0);
    assert!(grown.abs() <= 64 * KIB, "{grown} bytes more");
    assert!(peak <= MIB, "{peak} bytes at most");
}

#[test]
fn a_hundred_mebibytes_cost_no_more_than_the_limit() {
    let _turn = alone();
    let agent = Agent::new();
    let piece = vec![b' '; 1 << 20];
    let mut buffer = vec![0; 16 << 10];
    let mut send = |head: &str, between: [&str; 2]| {
        let before = MEMORY.live();
        MEMORY.reset_peak();
        let mut stream = agent.dial();
        stream.write_all(head.as_bytes()).expect("it reads");
        for _ in 0..100 {
            stream.write_all(between[0].as_bytes()).expect("it reads");
            stream.write_all(&piece).expect("it reads");
            stream.write_all(between[1].as_bytes()).expect("it reads");
        }
        assert_eq!(status(&mut stream, &mut buffer), 413);
        MEMORY.peak() - before
    };
    let head = "POST /send HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n";
    let told = send(
        &format!("{head}Content-Length: {}\r\n\r\n", 100 * MIB),
        [""; 2],
    );
    let untold = send(
        &format!("{head}Transfer-Encoding: chunked\r\n\r\n"),
        ["100000\r\n", "\r\n"],
    );
    println!("S-17: 100 MiB took {told} bytes, and {untold} when their length was not told");
    assert!(told <= MIB, "{told} bytes");
    // Twice the limit while a buffer of its size grows.
    assert!(untold <= 16 * MIB, "{untold} bytes");
}

#[test]
fn slow_clients_cost_little_and_delay_nobody() {
    const SLOW: usize = 1_000;
    let _turn = alone();
    let agent = Agent::new();
    let mut buffer = vec![0; 64 << 10];
    let card = "GET /.well-known/agent-card.json HTTP/1.1\r\nHost: agent\r\n\r\n";
    let mut slow = Vec::with_capacity(SLOW);
    let before = MEMORY.live();
    MEMORY.reset_peak();
    let mut took = Vec::with_capacity(SLOW);
    for n in 0..SLOW {
        let mut stream = agent.dial();
        let body = ["X-Slow: ", "Content-Length: 9\r\n\r\n{"][n % 2];
        write!(stream, "POST /send HTTP/1.1\r\n{body}").expect("it reads");
        slow.push(stream);
        let began = Instant::now();
        let mut good = agent.dial_from(n);
        let (request, wanted) = match n % 4 / 2 {
            0 => (card.to_owned(), 200),
            // As far as somebody without the secret gets.
            _ => (forged(n), 401),
        };
        good.write_all(request.as_bytes()).expect("it reads");
        assert_eq!(status(&mut good, &mut buffer), wanted);
        took.push(began.elapsed());
    }
    let peak = MEMORY.peak() - before;
    took.sort_unstable();
    // Said, not asserted: it is this machine's, with whatever else it does.
    println!(
        "S-17: {SLOW} slow clients: a good one waited {:?} (p50), {:?} (p99), {:?} (max); {peak} bytes at most",
        took[SLOW / 2],
        took[SLOW * 99 / 100],
        took[SLOW - 1]
    );
    assert!(peak <= 32 * MIB, "{peak} bytes");
}
