//! The two processes: this very executable, started again inside a namespace, as agent or as gateway. They talk to
//! the test in lines of JSON and obey its words.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svantic::agent::Capability;
use svantic::config::Config;
use svantic::connector::{Completion, Delivery, Haste, MeshConnector, Sink};
use svantic_gateway::{DispatchRequest, Faults, Gateway, Options};

use super::topology::Topology;

/// How long anything may take before a test is given up.
const GUARD: Duration = Duration::from_mins(2);

const ROLE: &str = "SVANTIC_NAMESPACE_ROLE";
const SETUP: &str = "SVANTIC_NAMESPACE_SETUP";

/// A process in a namespace; dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    words: ChildStdin,
    lines: Receiver<Value>,
}

impl Process {
    pub(crate) fn start(topology: &Topology, part: &str, role: &str, setup: &Value) -> Self {
        let this = std::env::current_exe().expect("a test runs from a file");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &topology.name(part)])
            .arg(this)
            .args(["role::in_a_namespace", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(SETUP, setup.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip is there");
        let words = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // What the test harness itself prints is not for us.
                if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line)
                    && send.send(value).is_err()
                {
                    break;
                }
            }
        });
        Self {
            child,
            words,
            lines,
        }
    }

    pub(crate) fn say(&mut self, words: &str) {
        writeln!(self.words, "{words}").expect("it listens");
    }

    /// The next line that is wanted, and when it came.
    pub(crate) fn next(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let give_up = Instant::now() + GUARD;
        let mut seen = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(give_up.saturating_duration_since(Instant::now()))
            {
                Ok(line) if wanted(&line) => return (Instant::now(), line),
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what}; it said {seen:#?}")
                }
            }
        }
    }

    pub(crate) fn event(&self, name: &str) -> (Instant, Value) {
        let (at, line) = self.next(name, |line| line["event"] == name);
        (at, line["data"].clone())
    }

    pub(crate) fn wait_ended(&mut self) {
        let status = self.child.wait().expect("it was started");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway in the server's namespace and its first words. `name` is what agents are told to call it.
pub(crate) fn gateway(topology: &Topology, name: &str) -> (Process, Value) {
    let process = Process::start(topology, "s", "gateway", &json!({"name": name}));
    let (_, greeting) = process.next("greeting", |line| line["url"].is_string());
    (process, greeting)
}

/// An agent in the client's namespace, connected.
pub(crate) fn agent(topology: &Topology, greeting: &Value, more: &Value) -> Process {
    let mut config = json!({
        "svantic_url": greeting["url"],
        "client_id": greeting["client_id"],
        "client_secret": greeting["client_secret"],
        "name": "far", "description": "an agent behind a router",
        "instance_id": "far-1",
        "allow_insecure": true,
    });
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let process = Process::start(topology, "c", "agent", &config);
    process.event("connected");
    process
}

/// Nothing, unless this process was started as one of the two.
#[test]
fn in_a_namespace() {
    let (Ok(role), Ok(setup)) = (std::env::var(ROLE), std::env::var(SETUP)) else {
        return;
    };
    let setup: Value = serde_json::from_str(&setup).expect("ours");
    // The harness has begun a line of its own.
    println!();
    match role.as_str() {
        "gateway" => be_gateway(&setup),
        "agent" => be_agent(&setup),
        other => panic!("no role {other}"),
    }
}

fn tell(line: &Value) {
    println!("{line}");
}

fn words() -> impl Iterator<Item = String> {
    std::io::stdin().lines().map_while(Result::ok)
}

fn be_gateway(setup: &Value) {
    let options = Options {
        host: "::".parse().expect("any address"),
        allow_remote: true,
        ..Options::default()
    };
    let gateway = Gateway::start(options).expect("a free port");
    let port = gateway.url().rsplit_once(':').expect("a port").1.to_owned();
    let name = setup["name"].as_str().expect("ours");
    let connect_url = format!("ws://{name}:{port}/agents/connect");
    gateway.set_faults(Faults {
        connect_url: Some(svantic_gateway::ConnectUrl::Text(connect_url)),
        ..Faults::default()
    });
    tell(&json!({
        "url": format!("http://{name}:{port}"),
        "client_id": gateway.client_id(),
        "client_secret": gateway.client_secret(),
    }));
    std::thread::scope(|scope| {
        for word in words() {
            let (skill, args) = word.split_once(' ').expect("SKILL ARGS");
            let args: Value = serde_json::from_str(args).expect("JSON");
            let request = DispatchRequest::new(skill, args);
            let gateway = &gateway;
            scope.spawn(move || {
                let answer = gateway.dispatch(request);
                tell(
                    &json!({"answer": format!("{answer:?}").chars().take(200).collect::<String>()}),
                );
            });
        }
    });
}

struct Told {
    held: Mutex<Vec<String>>,
}

impl Sink for Told {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Event(event) => {
                    tell(&json!({"event": event.kind.name(), "data": event.data}));
                }
                Delivery::Dispatch(dispatch) => {
                    let id = dispatch.id.to_string();
                    self.held.lock().unwrap().push(id.clone());
                    tell(&json!({"dispatch": id}));
                }
                Delivery::Frame(_) | Delivery::Socket(_) => unreachable!("no transport"),
            }
        }
    }

    fn closed(&self) {}
}

/// Holds every dispatch until it is told to answer with so many bytes.
fn be_agent(config: &Value) {
    let told = Arc::new(Told {
        held: Mutex::default(),
    });
    let mut config = config.clone();
    let plain_timer = config.as_object_mut().expect("ours").remove("plain_timer");
    let mut config = Config::parse(&config.to_string(), &|_| None).expect("ours");
    config.protections.two_stage = plain_timer.is_none();
    let sink: Arc<dyn Sink> = Arc::<Told>::clone(&told);
    let connector = MeshConnector::new(config, sink, "").expect("ours");
    let spec = r#"{"name":"work","description":"held until it is told"}"#;
    connector
        .define_capability(Capability::parse(spec).expect("ours"))
        .expect("ours");
    connector.connect(None, Completion::new(|result| {
        tell(&json!({"done": "connect", "ok": result.is_ok(), "error": result.err().map(|e| e.to_string())}));
    }));
    let (ended, wait) = channel();
    for word in words() {
        if let Some(("answer", bytes)) = word.split_once(' ') {
            let result = json!("x".repeat(bytes.parse().expect("a number"))).to_string();
            for id in std::mem::take(&mut *told.held.lock().unwrap()) {
                connector
                    .resolve(&id, &result, Haste::Now)
                    .expect("it waits");
            }
            continue;
        }
        let ended = ended.clone();
        connector.disconnect(
            Some(Duration::ZERO),
            Completion::new(move |_| {
                let _ = ended.send(());
            }),
        );
        wait.recv().expect("it ends");
        tell(&json!({"done": "disconnect"}));
        return;
    }
}
