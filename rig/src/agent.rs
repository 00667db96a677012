//! An application on the Rust face of the library, with handlers that tests need and a ledger of what they did.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svantic::agent::Capability;
use svantic::config::Config;
use svantic::connector::{Completion, Delivery, Haste, MeshConnector, Sink};
use svantic::error::Error;
use svantic::machine::action::Output;
use svantic_gateway::{ConnectUrl, Gateway};

use crate::GUARD;
use crate::agent_ledger::AgentLedger;
use crate::chaos_proxy::ChaosProxy;

/// The capabilities of every rig agent.
pub const SKILLS: [&str; 5] = ["echo", "sleep", "fail", "block", "big"];

/// The configuration of an agent of this gateway; `changes` win. With a proxy, the WebSocket goes through it.
///
/// # Panics
///
/// When `changes` is not an object or makes no configuration.
pub fn config(gateway: &Gateway, proxy: Option<&ChaosProxy>, changes: &Value) -> Config {
    let mut config = json!({
        "svantic_url": gateway.url(),
        "client_id": gateway.client_id(),
        "client_secret": gateway.client_secret(),
        "name": "rig",
        "description": "an agent of the fault rig",
        "instance_id": "rig-1",
        "reconnect_delays_ms": [50, 100, 200],
        // Bursts after an outage are no overload here: what is refused is not what these tests are about.
        "max_pending_dispatches": 1_000_000,
    });
    if let Some(proxy) = proxy {
        let address = proxy.address();
        config["allowed_connect_hosts"] = json!([address.to_string()]);
        let mut faults = gateway.faults();
        faults.connect_url = Some(ConnectUrl::Text(format!("ws://{address}/agents/connect")));
        gateway.set_faults(faults);
    }
    for (key, value) in changes.as_object().expect("an object of changes") {
        config[key] = value.clone();
    }
    Config::parse(&config.to_string(), &|_| None).expect("a configuration")
}

/// What a handler does in the end.
enum Deed {
    Resolve(String),
    Fail,
}

struct Due {
    at: Instant,
    turn: u64,
    id: String,
    deed: Deed,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.turn) == (other.at, other.turn)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

#[derive(Default)]
struct Book {
    incoming: VecDeque<(String, String, String)>,
    due: BinaryHeap<Reverse<Due>>,
    blocked: Vec<String>,
    turn: u64,
    stopped: bool,
    ledger: AgentLedger,
}

/// What the library hands its deliveries to.
#[derive(Default)]
struct Desk {
    book: Mutex<Book>,
    changed: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

impl Sink for Desk {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        self.change(|book| {
            for delivery in batch.drain(..) {
                match delivery {
                    Delivery::Dispatch(dispatch) => {
                        let skill = dispatch.capability.name.clone();
                        let item = (
                            dispatch.id.to_string(),
                            skill,
                            dispatch.request.text().to_owned(),
                        );
                        book.incoming.push_back(item);
                    }
                    Delivery::Event(event) => book.ledger.event(event),
                    Delivery::Frame(_) | Delivery::Socket(_) => unreachable!("no transport"),
                }
            }
        });
    }

    fn closed(&self) {
        self.change(|book| book.ledger.closed = true);
    }
}

/// A running application; dropped, it stops without waiting for its handlers.
pub struct Agent {
    connector: Arc<MeshConnector>,
    desk: Arc<Desk>,
    worker: Option<thread::JoinHandle<()>>,
}

impl Agent {
    /// An application that is not connected yet.
    ///
    /// # Panics
    ///
    /// When the library refuses the configuration, or no thread can be started.
    pub fn new(config: Config) -> Self {
        let desk = Arc::new(Desk::default());
        let connector = MeshConnector::new(config, Arc::clone(&desk) as Arc<dyn Sink>, "");
        let connector = Arc::new(connector.expect("a connector"));
        for name in SKILLS {
            let spec = json!({"name": name, "description": "a handler of the rig"}).to_string();
            let capability = Capability::parse(&spec).expect("a capability");
            connector.define_capability(capability).expect("a new name");
        }
        let (of_worker, answers) = (Arc::clone(&desk), Arc::clone(&connector));
        let worker = thread::Builder::new()
            .name("rig-agent".to_owned())
            .spawn(move || work(&of_worker, &answers))
            .expect("a thread");
        Self {
            connector,
            desk,
            worker: Some(worker),
        }
    }

    /// A connected application.
    ///
    /// # Panics
    ///
    /// When it does not connect.
    pub fn connected(config: Config) -> Self {
        let agent = Self::new(config);
        agent.connect().expect("the agent to connect");
        agent
    }

    /// Connects and waits for the outcome.
    pub fn connect(&self) -> Result<Output, Error> {
        self.operate(|connector, done| connector.connect(Some(GUARD), done))
    }

    /// Drains for at most `drain`, and waits for the end.
    pub fn disconnect(&self, drain: Duration) -> Result<Output, Error> {
        self.operate(|connector, done| connector.disconnect(Some(drain), done))
    }

    /// Runs one operation of the connector to its end.
    ///
    /// # Panics
    ///
    /// When it does not end within twice the guard time: the library has forgotten it.
    pub fn operate(
        &self,
        operation: impl FnOnce(&MeshConnector, Completion),
    ) -> Result<Output, Error> {
        let (sender, outcome) = mpsc::channel();
        let done = Completion::new(move |result| {
            // An error means that the one who waits has given up.
            let _ = sender.send(result);
        });
        operation(&self.connector, done);
        outcome.recv_timeout(2 * GUARD).expect("an outcome in time")
    }

    /// The connector itself.
    pub fn connector(&self) -> &MeshConnector {
        &self.connector
    }

    /// The snapshot of the library.
    pub fn snapshot(&self) -> Value {
        self.connector.snapshot()
    }

    /// The ledger as it stands.
    pub fn ledger(&self) -> AgentLedger {
        self.desk.lock().ledger.clone()
    }

    /// Looks at the ledger without copying it.
    pub fn look<T>(&self, look: impl FnOnce(&AgentLedger) -> T) -> T {
        look(&self.desk.lock().ledger)
    }

    /// Waits until `condition` holds for the ledger; false when `timeout` passes first.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&AgentLedger) -> bool,
    ) -> bool {
        let (book, waited) = self
            .desk
            .changed
            .wait_timeout_while(self.desk.lock(), timeout, |book| !condition(&book.ledger))
            .unwrap_or_else(PoisonError::into_inner);
        drop(book);
        !waited.timed_out()
    }

    /// Lets every handler of `block` go on.
    pub fn release(&self) {
        self.desk.change(|book| {
            for id in std::mem::take(&mut book.blocked) {
                book.schedule(id, Duration::ZERO, Deed::Resolve("\"released\"".to_owned()));
            }
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.connector.stop();
        self.connector.wait_ended(GUARD);
        self.desk.change(|book| book.stopped = true);
        if let Some(worker) = self.worker.take() {
            // A panic on it has been printed there.
            let _ = worker.join();
        }
    }
}

impl Book {
    fn schedule(&mut self, id: String, after: Duration, deed: Deed) {
        self.turn += 1;
        let (at, turn) = (Instant::now() + after, self.turn);
        self.due.push(Reverse(Due { at, turn, id, deed }));
    }

    /// Starts a handler: all of them are timers, so any number runs at once.
    fn start(&mut self, id: String, skill: &str, request: &str) {
        self.ledger.start(&id);
        let args = |key: &str| {
            let request: Value = serde_json::from_str(request).unwrap_or_default();
            request["args"][key].as_u64().unwrap_or_default()
        };
        let echo = || {
            let args = request.split_once(",\"args\":").map(|(_, args)| args);
            let args = args.and_then(|args| args.strip_suffix('}'));
            Deed::Resolve(args.unwrap_or("null").to_owned())
        };
        match skill {
            "block" => self.blocked.push(id),
            "fail" => self.schedule(id, Duration::ZERO, Deed::Fail),
            "sleep" => {
                let time = Duration::from_millis(args("ms"));
                self.schedule(id, time, Deed::Resolve("\"slept\"".to_owned()));
            }
            "big" => {
                let bytes = usize::try_from(args("bytes")).unwrap_or(0);
                self.schedule(id, Duration::ZERO, Deed::Resolve(big(bytes)));
            }
            _ => self.schedule(id, Duration::ZERO, echo()),
        }
    }
}

/// A JSON string of so many bytes, made once per size.
fn big(bytes: usize) -> String {
    static LAST: OnceLock<Mutex<String>> = OnceLock::new();
    let last = LAST.get_or_init(Mutex::default);
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() != bytes {
        *last = format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)));
    }
    last.clone()
}

/// The one worker: starts what came in, ends what is due.
fn work(desk: &Desk, connector: &MeshConnector) {
    let mut book = desk.lock();
    loop {
        if book.stopped {
            return;
        }
        let any = !book.incoming.is_empty();
        while let Some((id, skill, request)) = book.incoming.pop_front() {
            book.start(id, &skill, &request);
        }
        if any {
            desk.changed.notify_all();
        }
        let now = Instant::now();
        let mut ready = Vec::new();
        while book.due.peek().is_some_and(|Reverse(due)| due.at <= now) {
            ready.extend(book.due.pop().map(|Reverse(due)| due));
        }
        if ready.is_empty() {
            let wait = book.due.peek().map_or(GUARD, |Reverse(due)| due.at - now);
            let waited = desk.changed.wait_timeout(book, wait);
            book = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        drop(book);
        // Without the lock: the library may deliver while it takes an answer.
        let ended: Vec<_> = ready
            .into_iter()
            .map(|due| {
                let outcome = match &due.deed {
                    Deed::Resolve(json) => connector.resolve(&due.id, json, Haste::Batch),
                    Deed::Fail => {
                        let text = "it fails, as it was asked to";
                        connector.reject(&due.id, "HANDLER_ERROR", text, Haste::Batch)
                    }
                };
                (due.id, outcome)
            })
            .collect();
        connector.flush();
        book = desk.lock();
        for (id, outcome) in ended {
            book.ledger.end(&id, outcome.as_ref().err());
        }
        desk.changed.notify_all();
    }
}
