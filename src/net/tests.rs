//! Connecting with real sockets of loopback, and the order in which it is tried.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::Url;

use super::connect::{STAGGER, connect_first, interleaved, race};
use super::options;
use super::socket::{Limits, connect};
use crate::error::ErrorKind;

/// A stagger that no test lives to see the end of.
const NEVER: Duration = Duration::from_hours(24);

/// What ends a test that hangs. Nothing is concluded from it.
const WATCHDOG: Duration = Duration::from_mins(1);

#[derive(Debug, PartialEq)]
enum Event {
    Started(SocketAddr),
    Connected(SocketAddr),
    Failed(SocketAddr),
    /// Given up before it had ended.
    Dropped(SocketAddr),
}
use Event::{Connected, Dropped, Failed, Started};

#[derive(Default)]
struct Log(RefCell<Vec<Event>>);

impl Log {
    fn push(&self, event: Event) {
        self.0.borrow_mut().push(event);
    }

    /// An attempt with all that happens to it.
    async fn attempt<C>(
        &self,
        address: SocketAddr,
        connecting: impl Future<Output = io::Result<C>>,
    ) -> io::Result<C> {
        struct Unfinished<'a>(&'a Log, SocketAddr);
        impl Drop for Unfinished<'_> {
            fn drop(&mut self) {
                self.0.push(Dropped(self.1));
            }
        }
        self.push(Started(address));
        let unfinished = Unfinished(self, address);
        let result = connecting.await;
        std::mem::forget(unfinished);
        self.push(match &result {
            Ok(_) => Connected(address),
            Err(_) => Failed(address),
        });
        result
    }

    /// Races real connections.
    async fn race(&self, addresses: &[SocketAddr], stagger: Duration) -> io::Result<TcpStream> {
        let attempt = |address| self.attempt(address, TcpStream::connect(address));
        within(race(addresses, stagger, attempt)).await
    }

    fn is(&self, expected: &[Event]) {
        assert_eq!(*self.0.borrow(), expected);
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(WATCHDOG, future).await.expect("the test hangs")
}

fn bound() -> (Socket, SocketAddr) {
    bound_to(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn bound_to(any_port: SocketAddr) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::for_address(any_port), Type::STREAM, None).unwrap();
    socket.bind(&any_port.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// An address that refuses. Its port is held, so that no other test comes to listen there.
struct Refusing {
    _held: Socket,
    address: SocketAddr,
}

impl Refusing {
    fn new() -> Self {
        let (held, address) = bound();
        Self {
            _held: held,
            address,
        }
    }
}

/// An address that swallows packets: Linux drops a SYN when the queue for `accept` is full.
#[cfg(target_os = "linux")]
struct BlackHole {
    _listener: TcpStream,
    _queued: TcpStream,
    address: SocketAddr,
}

#[cfg(target_os = "linux")]
impl BlackHole {
    async fn new() -> Self {
        Self::at(bound()).await
    }

    async fn at((listener, address): (Socket, SocketAddr)) -> Self {
        // Linux queues one more than it is told.
        listener.listen(0).unwrap();
        listener.set_nonblocking(true).unwrap();
        // Tokio's listener can only accept, which would take the connection out of the queue again; as a stream
        // the same descriptor can be waited for.
        let listener = TcpStream::from_std(listener.into()).unwrap();
        let queued = TcpStream::connect(address).await.unwrap();
        // The client's end stands a moment before the connection is in the queue.
        within(listener.readable()).await.unwrap();
        Self {
            _listener: listener,
            _queued: queued,
            address,
        }
    }
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The listener has this connection and not another.
async fn has(listener: &TcpListener, tcp: &TcpStream) {
    let (_, peer) = within(listener.accept()).await.unwrap();
    assert_eq!(peer, tcp.local_addr().unwrap());
}

#[test]
fn the_families_take_turns_beginning_with_the_resolvers_first() {
    let rows: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["127.0.0.1:1"], &["127.0.0.1:1"]),
        (&["[::1]:1", "127.0.0.1:1"], &["[::1]:1", "127.0.0.1:1"]),
        (&["127.0.0.1:1", "[::1]:1"], &["127.0.0.1:1", "[::1]:1"]),
        (
            &["[::1]:1", "[::1]:2", "[::1]:3", "127.0.0.1:1"],
            &["[::1]:1", "127.0.0.1:1", "[::1]:2", "[::1]:3"],
        ),
        (
            &[
                "127.0.0.1:1",
                "[::1]:1",
                "[::1]:2",
                "[::1]:3",
                "127.0.0.1:2",
            ],
            &[
                "127.0.0.1:1",
                "[::1]:1",
                "127.0.0.1:2",
                "[::1]:2",
                "[::1]:3",
            ],
        ),
        (
            &["127.0.0.3:1", "127.0.0.1:1", "127.0.0.2:1"],
            &["127.0.0.3:1", "127.0.0.1:1", "127.0.0.2:1"],
        ),
    ];
    let parsed = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    for (resolved, tried) in rows {
        assert_eq!(interleaved(&parsed(resolved)), parsed(tried));
    }
}

#[tokio::test]
async fn one_attempt_is_enough_where_the_first_address_answers() {
    let ((listener, first), (_second, second)) = (listening().await, listening().await);
    let log = Log::default();
    let tcp = log.race(&[first, second], NEVER).await.unwrap();
    has(&listener, &tcp).await;
    log.is(&[Started(first), Connected(first)]);
}

#[tokio::test]
async fn a_refusal_starts_the_next_attempt_at_once() {
    let (refusing, (listener, good)) = (Refusing::new(), listening().await);
    let bad = refusing.address;
    let log = Log::default();
    // The stagger never ends, so only the refusal can have started the second.
    let tcp = log.race(&[bad, good], NEVER).await.unwrap();
    has(&listener, &tcp).await;
    log.is(&[Started(bad), Failed(bad), Started(good), Connected(good)]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_black_hole_is_not_waited_for() {
    let (hole, (listener, good)) = (BlackHole::new().await, listening().await);
    let log = Log::default();
    let tcp = log.race(&[hole.address, good], STAGGER).await.unwrap();
    has(&listener, &tcp).await;
    // The first had not failed when the second was tried, nor when it won.
    log.is(&[
        Started(hole.address),
        Started(good),
        Connected(good),
        Dropped(hole.address),
    ]);
}

/// however many addresses of a broken IPv6 the resolver puts in front, they cost one stagger.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_ipv6_black_hole_in_front_costs_one_stagger() {
    let ipv6 = || bound_to(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)));
    let (first, second) = (BlackHole::at(ipv6()).await, BlackHole::at(ipv6()).await);
    let (listener, good) = listening().await;
    let order = interleaved(&[first.address, second.address, good]);
    let log = Log::default();
    let tcp = log.race(&order, STAGGER).await.unwrap();
    has(&listener, &tcp).await;
    // The second address of the broken family was not even begun with.
    log.is(&[
        Started(first.address),
        Started(good),
        Connected(good),
        Dropped(first.address),
    ]);
}

#[tokio::test]
async fn the_resolvers_addresses_come_in_its_order() {
    use std::net::ToSocketAddrs as _;
    let system: Vec<SocketAddr> = ("localhost", 7).to_socket_addrs().unwrap().collect();
    let ours = within(super::resolver::resolve("localhost", 7)).await;
    assert_eq!(ours.unwrap(), system);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_refusal_beside_a_black_hole_starts_the_next_attempt() {
    let (hole, refusing) = (BlackHole::new().await, Refusing::new());
    let (listener, good) = listening().await;
    let addresses = [hole.address, refusing.address, good];
    let log = Log::default();
    let tcp = log.race(&addresses, STAGGER).await.unwrap();
    has(&listener, &tcp).await;
    log.is(&[
        Started(hole.address),
        Started(refusing.address),
        Failed(refusing.address),
        Started(good),
        Connected(good),
        Dropped(hole.address),
    ]);
}

/// No sockets here: which of two connects first cannot be arranged with them.
#[tokio::test]
async fn a_slow_address_may_still_win() {
    let [slow, later] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let (answer, answered) = oneshot::channel();
    let (answer, answered) = (RefCell::new(Some(answer)), RefCell::new(Some(answered)));
    let log = Log::default();
    let attempt = |address| {
        let (log, answer, answered) = (&log, &answer, &answered);
        log.attempt(address, async move {
            if address == later {
                // Only now does the first address answer.
                answer.take().unwrap().send(()).unwrap();
                std::future::pending::<()>().await;
            }
            let answered = answered.take().unwrap();
            answered.await.map_err(io::Error::other)?;
            Ok(address)
        })
    };
    let won = within(race(&[slow, later], STAGGER, attempt)).await;
    assert_eq!(won.unwrap(), slow);
    log.is(&[
        Started(slow),
        Started(later),
        Connected(slow),
        Dropped(later),
    ]);
}

#[tokio::test]
async fn when_all_refuse_each_is_named_with_its_cause() {
    let refusing = [Refusing::new(), Refusing::new(), Refusing::new()];
    let addresses = refusing.each_ref().map(|one| one.address);
    let error = within(connect_first(&addresses)).await.unwrap_err();
    let text = error.to_string();
    let causes: Vec<_> = text.split("; ").collect();
    assert_eq!(causes.len(), addresses.len(), "{text}");
    for (cause, address) in causes.iter().zip(addresses) {
        assert!(cause.starts_with(&format!("{address}: ")), "{text}");
        assert!(cause.contains("efused"), "{text}");
    }
}

#[tokio::test]
async fn a_host_without_an_address_is_an_error() {
    let error = connect_first(&[]).await.unwrap_err();
    assert_eq!(error.to_string(), "the host has no address");
}

fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("ws://{address}/")).unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_black_hole_alone_ends_with_the_stage() {
    let hole = BlackHole::new().await;
    let short = Duration::from_millis(20);
    for (attempt, stage, text) in [
        (WATCHDOG, short, "connecting took longer than 20 ms"),
        (
            short,
            WATCHDOG,
            "the attempt, at last connecting, took longer than 20 ms",
        ),
    ] {
        let limits = Limits::new(attempt, WATCHDOG, stage);
        let failure = within(connect(&url(hole.address), &limits))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Timeout);
        assert_eq!(failure.text, text);
    }
}

/// The only thread that names are resolved on is busy, which is what a resolver that never answers looks like.
#[test]
fn a_name_that_is_never_resolved_ends_with_the_stage() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || {
        let _ = held.recv();
    });
    let url = Url::parse("ws://localhost:9/").unwrap();
    let short = Duration::from_millis(20);
    for (attempt, dns, text) in [
        (
            WATCHDOG,
            short,
            "resolving the host name took longer than 20 ms",
        ),
        (
            short,
            WATCHDOG,
            "the attempt, at last resolving the host name, took longer than 20 ms",
        ),
    ] {
        let connecting = async {
            let limits = Limits::new(attempt, dns, WATCHDOG);
            within(connect(&url, &limits)).await
        };
        let failure = runtime.block_on(connecting).unwrap_err();
        assert_eq!(
            (failure.kind, failure.text.as_str()),
            (ErrorKind::Timeout, text)
        );
    }
    drop(release);
}

#[tokio::test]
async fn the_options_are_set() {
    let (_listener, address) = listening().await;
    let tcp = connect(&url(address), &Limits::new(WATCHDOG, WATCHDOG, WATCHDOG))
        .await
        .unwrap();
    assert!(tcp.nodelay().unwrap());
    let socket = SockRef::from(&tcp);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(options::USER_TIMEOUT));
        let unsent = socket.tcp_notsent_lowat().unwrap();
        assert_eq!(unsent, options::UNSENT_BYTES);
        assert!(!socket.keepalive().unwrap());
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        assert!(socket.keepalive().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        assert_eq!(idle, options::KEEP_ALIVE_IDLE);
        let interval = socket.tcp_keepalive_interval().unwrap();
        assert_eq!(interval, options::KEEP_ALIVE_INTERVAL);
        let probes = socket.tcp_keepalive_retries().unwrap();
        assert_eq!(probes, options::KEEP_ALIVE_PROBES);
    }
}
