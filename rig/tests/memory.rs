//! R-29: what lives after many reconnects and dispatches is what lived before, an outage has its bound, and a connector
//! at rest its price.
//!
//! The mesh runs in a process of its own, so that every byte counted here is the library's or this test's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use svantic::agent::Capability;
use svantic::config::Config;
use svantic::connector::{Completion, Delivery, Haste, MeshConnector, Sink};
use svantic::error::Error;
use svantic::machine::action::{DispatchId, Output};
use svantic_rig::GUARD;
use svantic_rig::dice::from_environment;
use svantic_rig::live_bytes::LiveBytes;
use svantic_rig::process_facts::ProcessFacts;
use svantic_rig::virtual_link::VirtualLink;

#[global_allocator]
static MEMORY: LiveBytes = LiveBytes::new();

/// R-29's tolerance.
const TOLERANCE: isize = 64 << 10;

/// More answers than the library keeps, which it does by design. With the first that it lets go of, it has made room for
/// all ids that it will know.
const WARM_UP: usize = 12_000;

/// The count is the process's, so its tests take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other process.
struct Peer {
    child: Child,
    says: BufReader<ChildStdout>,
    hears: Option<ChildStdin>,
    greeting: Value,
}

impl Peer {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_svantic-rig-peer"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer to start");
        let hears = child.stdin.take();
        let mut says = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        says.read_line(&mut line).expect("its greeting");
        let greeting = serde_json::from_str(&line).expect("its greeting as JSON");
        Self {
            child,
            says,
            hears,
            greeting,
        }
    }

    /// How to reach it, in the words of the configuration.
    fn configuration(&self) -> Value {
        let mut config = self.greeting.clone();
        config["svantic_url"] = config["url"].take();
        let fields = config.as_object_mut().expect("an object");
        fields.remove("url");
        config["name"] = json!("lean");
        config["description"] = json!("echoes");
        config
    }

    fn obey(&mut self, command: &str) {
        let hears = self.hears.as_mut().expect("its input");
        writeln!(hears, "{command}").expect("it listens");
        let mut line = String::new();
        self.says.read_line(&mut line).expect("its answer");
        assert_eq!(line, "done\n", "{command}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input.
        self.hears = None;
        let _ = self.child.wait();
    }
}

/// What an idle connector may cost in live bytes, all that belongs to it included: the 6,970 or so that it costs, and a little.
const IDLE_CONNECTOR: isize = 7_200;

/// What comes of an operation.
type Outcome = mpsc::Receiver<Result<Output, Error>>;

/// Begins to connect an agent that has one skill.
fn connecting(config: &Value, sink: Arc<dyn Sink>) -> (MeshConnector, Outcome) {
    let config = Config::parse(&config.to_string(), &|_| None).expect("a configuration");
    let connector = MeshConnector::new(config, sink, "").expect("a connector");
    let echo = Capability::parse(r#"{"name":"echo","description":"d"}"#).expect("a capability");
    connector.define_capability(echo).expect("a new name");
    let (sender, outcome) = mpsc::channel();
    let done = Completion::new(move |result| drop(sender.send(result)));
    connector.connect(Some(GUARD), done);
    (connector, outcome)
}

fn wait_connected(outcome: &Outcome) {
    let outcome = outcome.recv_timeout(2 * GUARD).expect("an outcome");
    outcome.expect("the agent to connect");
}

/// Hears nothing.
struct Deaf;

impl Sink for Deaf {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        batch.clear();
    }

    fn closed(&self) {}
}

/// Connectors of one process that have nothing to do.
struct Crowd(Vec<MeshConnector>);

impl Crowd {
    fn connected(peer: &Peer, name: &str, count: usize) -> Self {
        let connect = |n| {
            let mut config = peer.configuration();
            config["instance_id"] = json!(format!("{name}-{n}"));
            connecting(&config, Arc::new(Deaf))
        };
        let (crowd, outcomes): (_, Vec<_>) = (0..count).map(connect).unzip();
        let crowd = Self(crowd);
        outcomes.iter().for_each(wait_connected);
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(MeshConnector::stop);
        for connector in &self.0 {
            connector.wait_ended(GUARD);
        }
    }
}

/// Hands ids to the one who answers, and keeps nothing unless it is told to leak.
struct Lean {
    ids: mpsc::SyncSender<DispatchId>,
    hoard: Mutex<Option<Vec<String>>>,
}

impl Sink for Lean {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        for delivery in batch.drain(..) {
            if let Delivery::Dispatch(dispatch) = delivery {
                if let Some(hoard) = self.hoard.lock().unwrap().as_mut() {
                    hoard.push(dispatch.request.text().to_owned());
                }
                self.ids.send(dispatch.id).expect("a reader");
            }
        }
    }

    fn closed(&self) {}
}

struct Application {
    connector: Arc<MeshConnector>,
    sink: Arc<Lean>,
}

impl Application {
    fn connected(peer: &Peer) -> Self {
        let mut config = peer.configuration();
        config["reconnect_delays_ms"] = json!([0]);
        let (sender, ids) = mpsc::sync_channel::<DispatchId>(4_096);
        let sink = Arc::new(Lean {
            ids: sender,
            hoard: Mutex::default(),
        });
        let (connector, outcome) = connecting(&config, Arc::clone(&sink) as Arc<dyn Sink>);
        let connector = Arc::new(connector);
        // It ends with the sink, whose owner is the connector's driver.
        let answers = Arc::downgrade(&connector);
        thread::spawn(move || {
            while let Ok(id) = ids.recv() {
                let Some(connector) = answers.upgrade() else {
                    return;
                };
                let answered = connector.resolve(&id, "{\"n\":1}", Haste::Now);
                answered.expect("the dispatch waits for its answer");
            }
        });
        wait_connected(&outcome);
        Self { connector, sink }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.connector.stop();
        self.connector.wait_ended(GUARD);
    }
}

#[test]
fn reconnects_leave_nothing_behind() {
    let _turn = alone();
    let count = from_environment("SVANTIC_RIG_RECONNECTS", 500);
    let mut peer = Peer::start();
    let _application = Application::connected(&peer);
    peer.obey("reconnect 50");
    peer.obey("dispatch 1");
    let before = MEMORY.live();
    peer.obey(&format!("reconnect {count}"));
    peer.obey("dispatch 1");
    let grown = MEMORY.live() - before;
    println!("R-29: {grown} bytes more after {count} reconnects (of {before})");
    assert!(grown.abs() <= TOLERANCE, "{grown} bytes more");
}

#[test]
fn dispatches_leave_nothing_behind() {
    let _turn = alone();
    let count: usize = from_environment("SVANTIC_RIG_DISPATCHES", 50_000);
    let half = count / 2;
    let mut peer = Peer::start();
    let application = Application::connected(&peer);
    peer.obey(&format!("dispatch {WARM_UP}"));
    let mut live = vec![MEMORY.live()];
    for _ in 0..2 {
        peer.obey(&format!("dispatch {half}"));
        live.push(MEMORY.live());
    }
    let grown: Vec<isize> = live.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!(
        "R-29: {grown:?} bytes more after twice {half} dispatches (of {})",
        live[0]
    );
    assert!(live[2] - live[0] <= TOLERANCE, "{grown:?} bytes more");

    let before = MEMORY.live();
    *application.sink.hoard.lock().unwrap() = Some(Vec::new());
    peer.obey("dispatch 2000");
    let leaked = MEMORY.live() - before;
    assert!(leaked > TOLERANCE, "a leak of {leaked} bytes goes unseen");
}

#[test]
fn a_thousand_connectors_at_rest_cost_little_memory_and_no_thread() {
    let _turn = alone();
    let count = from_environment("SVANTIC_RIG_CROWD", 1_000);
    let peer = Peer::start();
    // What the first one brings with it is the process's.
    let _first = Crowd::connected(&peer, "first", 1);
    let (before, threads) = (MEMORY.live(), ProcessFacts::now().threads);
    let _crowd = Crowd::connected(&peer, "crowd", count);
    let each = (MEMORY.live() - before) / isize::try_from(count).expect("few");
    println!("{count} idle connectors: {each} live bytes each");
    assert!(each <= IDLE_CONNECTOR, "{each} bytes each");
    assert!(ProcessFacts::now().threads <= threads);
}

#[test]
fn an_outage_costs_no_more_than_the_outbox_may_hold() {
    const RESULT_BYTES: usize = 64 << 10;
    const OUTBOX_BYTES: isize = 64 << 20;
    let _turn = alone();
    let config = VirtualLink::config(&json!({}));
    let mut link = VirtualLink::connected(config, 1);
    link.answers = false;
    let before = MEMORY.live();
    MEMORY.reset_peak();
    let result = format!("\"{}\"", "x".repeat(RESULT_BYTES - 512));
    for n in 0..1_024 {
        link.text(&VirtualLink::good(&format!("d{n}"), "echo"));
    }
    link.fail_dials = true;
    link.lose();
    let mut finished = 0;
    // 100 finishes a second for as long as there are any, then the rest of the hour.
    while let Some(id) = link.delivered.pop_front() {
        finished += usize::from(link.answer(&id, &result));
        link.advance(Duration::from_millis(10));
    }
    link.advance(Duration::from_hours(1));
    let peak = MEMORY.peak() - before;
    println!("R-29: an outage with {finished} results of 64 KiB took {peak} bytes at most");
    assert_eq!(finished, 1_024);
    assert!(peak > OUTBOX_BYTES / 2, "the outage was none: {peak} bytes");
    assert!(peak <= OUTBOX_BYTES + (2 << 20), "{peak} bytes");
    assert_eq!(
        link.snapshot()["outbox_bytes"],
        0,
        "nothing is kept for ever"
    );
}
