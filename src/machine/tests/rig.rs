//! A machine on a virtual clock, and the network played by the test that owns it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::agent::{Agent, Capability};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::machine::action::{
    Action, CallId, ConnectionNo, Dial, Dispatch, HttpReply, NetFailure, OperationId, Output,
    Request, Response,
};
use crate::machine::event::{Event, EventKind};
use crate::machine::time::{Now, Timer};
use crate::machine::watch::Progress;
use crate::machine::{LinkState, Machine, Settings, Transition};
use crate::protocol::frame::FrameText;
use crate::verification::Verification;

pub(super) const CLIENT_SECRET: &str = "s3cret/of-the-client";
pub(super) const CONNECT_URL: &str = "wss://mesh.test/agents/connect";

/// The wall clock when a test begins; only people read it.
const BIRTH_UNIX_MS: u64 = 1_777_622_400_000;

thread_local! {
    /// What the machines of this thread's tests have taken; `coverage` adds it up.
    static TAKEN: RefCell<HashSet<Transition>> = RefCell::default();
}

pub(super) fn remember_transitions(machine: &Machine) {
    TAKEN.with_borrow_mut(|taken| taken.extend(machine.transitions_taken()));
}

pub(super) fn transitions_of_this_thread() -> HashSet<Transition> {
    TAKEN.with_borrow(Clone::clone)
}

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A token that lives so long; each `n` is another one.
pub(super) fn jwt(n: u64, lifetime_s: u64) -> String {
    let claims = json!({"iat": 1000, "exp": 1000 + lifetime_s, "jti": n}).to_string();
    format!("e30.{}.signature{n}", URL_SAFE_NO_PAD.encode(claims))
}

/// The configuration of the tests with `changes`; `null` takes a key away.
pub(super) fn config(changes: &Value) -> Config {
    let mut config = json!({
        "svantic_url": "https://mesh.test",
        "client_id": "client-1",
        "client_secret": CLIENT_SECRET,
        "name": "desk",
        "description": "a desk",
        "instance_id": "box-1",
    });
    for (key, value) in changes.as_object().expect("an object of changes") {
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    Config::parse(&config.to_string(), &|_| None).expect("a configuration")
}

pub(super) fn machine(config: Config, specs: &[&str], seed: u64) -> Machine {
    let settings = Settings::from_config(&config, "");
    let mut agent = Agent::new(config.identity, config.mode, config.svantic_url.as_str());
    for spec in specs {
        agent.define(Capability::parse(spec).unwrap()).unwrap();
    }
    Machine::new(settings, agent, config.credentials, seed)
}

/// The machine of a [`Rig`] that verifies what it is called with.
pub(super) fn machine_of(
    config: Config,
    verification: Option<Arc<Verification>>,
    seed: u64,
) -> Machine {
    let mut machine = machine(config, &[ECHO, ADD], seed);
    machine.settings.verification = verification;
    machine
}

const ECHO: &str = r#"{"name":"echo","description":"says it again"}"#;
const ADD: &str = r#"{"name":"add","description":"adds","parameters":{"type":"object",
    "properties":{"a":{"type":"number"},"list":{"type":"array","items":{"type":"string"}}},"required":["a"]}}"#;

pub(super) struct Rig {
    pub(super) machine: Machine,
    pub(super) now: Duration,
    /// How long the computer was suspended, which `now` does not count.
    pub(super) slept: Duration,
    /// How far what was written has come, as the driver would tell.
    pub(super) uplink: Option<Box<dyn Fn(Duration) -> Progress>>,
    pub(super) requests: Vec<Request>,
    /// Heartbeats over HTTP that were sent because there is no link; they beat beside everything else.
    pub(super) beats: Vec<Request>,
    pub(super) dials: Vec<Dial>,
    pub(super) sent: Vec<(ConnectionNo, FrameText)>,
    pub(super) pings: Vec<(ConnectionNo, [u8; 8])>,
    pub(super) delivered: Vec<Dispatch>,
    pub(super) events: Vec<Event>,
    pub(super) completed: Vec<(OperationId, Result<Output, Error>)>,
    pub(super) closes: Vec<(ConnectionNo, u16, Cow<'static, str>)>,
    /// What a transport has handed out.
    pub(super) raw: Vec<FrameText>,
    pub(super) aborts: Vec<ConnectionNo>,
    /// What those who called by POST were told.
    pub(super) responses: Vec<(CallId, Response)>,
    pub(super) finished: usize,
    /// The kinds of all actions in their order.
    pub(super) order: Vec<String>,
    /// The connection dialed last.
    pub(super) conn: ConnectionNo,
    pub(super) next_operation: OperationId,
    /// How many tokens the mesh has issued.
    pub(super) tokens: u64,
    /// What a token that the mesh issues lives.
    pub(super) token_lifetime_s: u64,
    /// Whether the application picks nothing up.
    pub(super) stopped: bool,
    /// When what it has not picked up was delivered.
    pub(super) backlog: VecDeque<Duration>,
    /// By how much the wall clock is wrong.
    pub(super) wall_offset_ms: i64,
}

impl Drop for Rig {
    fn drop(&mut self) {
        remember_transitions(&self.machine);
        if !std::thread::panicking() {
            assert_eq!(self.machine.unknown_transitions(), 0);
        }
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(&json!({}))
    }

    pub(super) fn with(changes: &Value) -> Self {
        Self::seeded(changes, 7)
    }

    pub(super) fn seeded(changes: &Value, seed: u64) -> Self {
        Self::of(machine(config(changes), &[ECHO, ADD], seed))
    }

    pub(super) fn of(machine: Machine) -> Self {
        Self {
            machine,
            now: Duration::ZERO,
            slept: Duration::ZERO,
            uplink: None,
            requests: Vec::new(),
            beats: Vec::new(),
            dials: Vec::new(),
            sent: Vec::new(),
            pings: Vec::new(),
            delivered: Vec::new(),
            events: Vec::new(),
            completed: Vec::new(),
            closes: Vec::new(),
            raw: Vec::new(),
            aborts: Vec::new(),
            responses: Vec::new(),
            finished: 0,
            order: Vec::new(),
            conn: 0,
            next_operation: 1,
            tokens: 0,
            token_lifetime_s: 86_400,
            stopped: false,
            backlog: VecDeque::new(),
            wall_offset_ms: 0,
        }
    }

    /// A rig whose link is ready, with everything that led there forgotten.
    pub(super) fn ready(changes: &Value) -> Self {
        let mut rig = Self::with(changes);
        let connect = rig.connect();
        rig.reach_ready();
        assert_eq!(rig.result(connect), Ok(Output::Nothing));
        rig.forget();
        rig
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: self.now,
            boot: self.now + self.slept,
            unix_ms: (BIRTH_UNIX_MS + u64::try_from(self.now.as_millis()).unwrap())
                .saturating_add_signed(self.wall_offset_ms),
        }
    }

    /// Carries the actions out, which here means to note them.
    pub(super) fn collect(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            let what = match action {
                Action::Request(request) => {
                    let what = request.path.clone().into_owned();
                    let down = matches!(
                        self.machine.link(),
                        LinkState::Backoff | LinkState::Dialing | LinkState::Handshaking
                    );
                    if down && what == "/agents/heartbeat" {
                        self.beats.push(*request);
                    } else {
                        self.requests.push(*request);
                    }
                    what
                }
                Action::AbortRequest(id) => {
                    self.requests.retain(|request| request.id != id);
                    "abort request".to_owned()
                }
                Action::Dial(dial) => {
                    self.conn = dial.conn;
                    self.dials.push(*dial);
                    "dial".to_owned()
                }
                Action::Send(conn, text) => {
                    let what = format!("send {}", parsed(&text)["type"].as_str().unwrap_or("-"));
                    self.sent.push((conn, text));
                    what
                }
                Action::Ping(conn, payload) => {
                    self.pings.push((conn, payload));
                    "ping".to_owned()
                }
                Action::Close(conn, code, reason) => {
                    self.closes.push((conn, code, reason));
                    "close".to_owned()
                }
                Action::Abort(conn) => {
                    self.aborts.push(conn);
                    "abort".to_owned()
                }
                Action::Deliver(dispatch) => {
                    self.delivered.push(dispatch);
                    if self.stopped {
                        self.backlog.push_back(self.now);
                    }
                    "deliver".to_owned()
                }
                Action::Frame(text) => {
                    let what = format!("frame {}", parsed(&text)["type"].as_str().unwrap_or("-"));
                    self.raw.push(text);
                    what
                }
                Action::Respond(call, response) => {
                    self.responses.push((call, response));
                    format!("respond {call}")
                }
                Action::Event(event) => {
                    let what = format!("event {}", event.kind.name());
                    self.events.push(event);
                    what
                }
                Action::Complete(id, result) => {
                    self.completed.push((id, *result));
                    format!("complete {id}")
                }
                Action::Finished => {
                    self.finished += 1;
                    "finished".to_owned()
                }
            };
            self.order.push(what);
        }
    }

    /// Forgets what was noted and has been dealt with.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.pings.clear();
        self.events.clear();
        self.order.clear();
        self.dials.clear();
        self.closes.clear();
        self.aborts.clear();
    }

    // ---- time ----

    /// Lets time pass, with every timeout at its time.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.time_out();
        }
        self.now = end;
    }

    /// What a driver does when a timer is due.
    pub(super) fn time_out(&mut self) {
        if let Some(uplink) = &self.uplink
            && self.machine.wants_progress()
        {
            let progress = uplink(self.now);
            self.machine
                .handle_progress(self.now(), self.conn, progress);
        }
        let oldest = self.backlog.front().map(|since| self.now - *since);
        self.machine.handle_backlog(self.now(), oldest);
        self.machine.handle_timeout(self.now());
        self.collect();
    }

    /// The computer is suspended for so long.
    pub(super) fn suspend(&mut self, for_so_long: Duration) {
        self.slept += for_so_long;
        self.time_out();
    }

    /// The same with a peer that answers every ping at once.
    pub(super) fn advance_alive(&mut self, by: Duration) {
        let end = self.now + by;
        while self.now < end {
            self.advance(millis(500).min(end - self.now));
            self.pong();
        }
    }

    /// Goes on to the next timeout of the link's: neither a heartbeat without a link nor a look at the application's
    /// queue is one.
    pub(super) fn next_timeout(&mut self) {
        loop {
            let due = self.machine.poll_timeout().expect("a timer runs");
            let aside = [Timer::PickUp, Timer::Outage]
                .iter()
                .any(|timer| self.machine.timers.get(*timer) == Some(due));
            self.advance(due.saturating_sub(self.now));
            if !aside {
                return;
            }
        }
    }

    // ---- what was noted ----

    /// The frames sent since the last look.
    pub(super) fn frames(&mut self) -> Vec<Value> {
        let sent = std::mem::take(&mut self.sent);
        sent.iter().map(|(_, text)| parsed(text)).collect()
    }

    pub(super) fn frame_types(&mut self) -> Vec<String> {
        let frames = self.frames();
        frames
            .iter()
            .map(|frame| frame["type"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) fn events_of(&self, kind: EventKind) -> Vec<&Value> {
        let wanted = self.events.iter().filter(|event| event.kind == kind);
        wanted.map(|event| &event.data).collect()
    }
}

pub(super) fn http(status: u16, body: &Value) -> HttpReply {
    HttpReply {
        status,
        body: body.to_string().into_bytes(),
        ..HttpReply::default()
    }
}

pub(super) fn unreachable() -> NetFailure {
    NetFailure {
        kind: ErrorKind::Network,
        text: "connection refused".to_owned(),
    }
}

pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
