//! The server with real sockets of loopback: what it carries, and what it does with clients that mean no good.

mod abuse;
mod client;
mod ends;
mod requests;
mod tls;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::seats::Phase;
use super::{Certificate, Limits, Respond, Server, Service, Shared};
use crate::hosted::{Head, ResponsePart};
use client::Client;

/// What ends a test that hangs. Nothing is concluded from it.
const GUARD: Duration = Duration::from_mins(1);

/// Long enough that no test lives to see the end of it.
const NEVER: Duration = Duration::from_hours(24);

/// Limits of time that never come, for tests that are about others.
fn patient() -> Limits {
    Limits {
        header: NEVER,
        body: NEVER,
        patience: NEVER,
        idle: NEVER,
        stall: NEVER,
        linger: NEVER,
        ..Limits::default()
    }
}

type Answering = Box<dyn Fn(&Head, &[u8], Respond) + Send + Sync>;

/// Answers with a function, and tells of what else it hears.
struct Told {
    answer: Answering,
    abandoned: Mutex<mpsc::Sender<usize>>,
    warnings: Mutex<mpsc::Sender<String>>,
}

impl Service for Told {
    fn serve(&self, head: &Head, body: &[u8], _: usize, respond: Respond) {
        (self.answer)(head, body, respond);
    }

    fn abandon(&self, tag: usize) {
        self.abandoned.lock().unwrap().send(tag).unwrap();
    }

    fn warn(&self, text: String) {
        self.warnings.lock().unwrap().send(text).unwrap();
    }
}

/// A running server on a thread like the library's.
struct Rig {
    address: SocketAddr,
    server: Mutex<Option<Server>>,
    shared: Arc<Shared>,
    handle: Handle,
    abandoned: Receiver<usize>,
    warnings: Receiver<String>,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Rig {
    fn new(limits: Limits, answer: impl Fn(&Head, &[u8], Respond) + Send + Sync + 'static) -> Self {
        Self::with(limits, None, answer)
    }

    /// Answers every request with its body, behind its method and path.
    fn echo(limits: Limits) -> Self {
        Self::new(limits, echo)
    }

    fn with(
        limits: Limits,
        certificate: Option<Certificate>,
        answer: impl Fn(&Head, &[u8], Respond) + Send + Sync + 'static,
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        let (abandoned, warnings) = (mpsc::channel(), mpsc::channel());
        let service = Arc::new(Told {
            answer: Box::new(answer),
            abandoned: Mutex::new(abandoned.0),
            warnings: Mutex::new(warnings.0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start(listener, certificate, limits, service, &handle).unwrap();
        Self {
            address,
            shared: Arc::clone(&server.shared),
            server: Mutex::new(Some(server)),
            handle,
            abandoned: abandoned.1,
            warnings: warnings.1,
            thread: Some((stop, thread)),
        }
    }

    fn client(&self) -> Client<TcpStream> {
        Client::connect(self.address)
    }

    /// Ends the server; what is received tells that it has come to its end.
    fn end(&self) -> Receiver<()> {
        let (sender, ended) = mpsc::channel();
        let server = self.server.lock().unwrap().take().unwrap();
        self.handle.spawn(async move {
            server.end().await;
            let _ = sender.send(());
        });
        ended
    }

    /// Waits until the connections are in these phases, in the order in which they were made.
    fn until(&self, wanted: &[Phase]) {
        let until = Instant::now() + GUARD;
        loop {
            let phases = self.shared.seats.phases();
            if phases == wanted {
                return;
            }
            assert!(Instant::now() < until, "{phases:?}");
            thread::yield_now();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// A service that keeps what it is asked for; the receiver gets what answers each request.
fn held() -> (
    impl Fn(&Head, &[u8], Respond) + Send + Sync,
    Receiver<Respond>,
) {
    let (sender, asked) = mpsc::channel();
    let sender = Mutex::new(sender);
    let keep = move |_: &Head, _: &[u8], respond| sender.lock().unwrap().send(respond).unwrap();
    (keep, asked)
}

fn whole(text: &str) -> ResponsePart {
    ResponsePart::whole(200, Vec::new(), text.to_owned())
}

fn echo(head: &Head, body: &[u8], mut respond: Respond) {
    let body = String::from_utf8_lossy(body);
    let text = format!("{} {} {body}", head.method, head.path);
    respond(whole(&text));
}
