//! The machine alone, on a virtual clock, with a network that does what it is told: for tests of a million frames.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use svantic::agent::{Agent, Capability};
use svantic::config::Config;
use svantic::error::ErrorKind;
use svantic::machine::action::{
    Action, Answer, ConnectionNo, Dialed, DispatchId, HttpReply, LinkEnd, NetFailure, Reply,
};
use svantic::machine::time::Now;
use svantic::machine::{Machine, Settings, State};

const WELCOME: &str = r#"{"v":1,"type":"welcome","id":"w","payload":{"resumed":false}}"#;

/// A machine and its network.
pub struct VirtualLink {
    machine: Machine,
    now: Now,
    connection: ConnectionNo,
    /// Dispatches that nobody has answered.
    pub delivered: VecDeque<DispatchId>,
    /// Whether dispatches are answered as they come.
    pub answers: bool,
    /// Whether dials fail.
    pub fail_dials: bool,
    /// Frames that the machine has sent.
    pub sent: u64,
    /// The last of them.
    pub last_sent: String,
    /// How many connections were opened.
    pub dials: u64,
}

impl VirtualLink {
    /// A token that outlives every test.
    pub fn token() -> String {
        let claims = json!({"iat": 1_000, "exp": 4_000_000_000_u64}).to_string();
        format!("e30.{}.signature", URL_SAFE_NO_PAD.encode(claims))
    }

    /// A configuration for a virtual link; `changes` win.
    ///
    /// # Panics
    ///
    /// When `changes` is not an object or makes no configuration.
    pub fn config(changes: &Value) -> Config {
        let mut config = json!({
            "svantic_url": "https://mesh.test",
            "token": Self::token(),
            "name": "rig",
            "description": "a machine of the fault rig",
            "instance_id": "rig-1",
        });
        for (key, value) in changes.as_object().expect("an object of changes") {
            config[key] = value.clone();
        }
        Config::parse(&config.to_string(), &|_| None).expect("a configuration")
    }

    /// A machine with an open link.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn connected(config: Config, seed: u64) -> Self {
        let settings = Settings::from_config(&config, "");
        let mut agent = Agent::new(config.identity, config.mode, config.svantic_url.as_str());
        for name in ["echo", "add"] {
            let spec = json!({"name": name, "description": "d"}).to_string();
            let capability = Capability::parse(&spec).expect("a capability");
            agent.define(capability).expect("a new name");
        }
        let mut link = Self {
            machine: Machine::new(settings, agent, config.credentials, seed),
            now: Now {
                mono: Duration::ZERO,
                boot: Duration::ZERO,
                unix_ms: 2_000_000,
            },
            connection: 0,
            delivered: VecDeque::new(),
            answers: true,
            fail_dials: false,
            sent: 0,
            last_sent: String::new(),
            dials: 0,
        };
        link.machine.connect(link.now, 1, Duration::from_secs(30));
        link.settle();
        assert_eq!(link.machine.state(), State::Connected);
        link
    }

    /// A dispatch that is as it should be.
    pub fn good(id: &str, skill: &str) -> String {
        json!({"v": 1, "type": "dispatch", "id": id, "ts": "2026-05-01T08:00:05.000Z",
               "payload": {"skill_id": skill, "args": {"n": 1}}})
        .to_string()
    }

    /// A text message comes in.
    pub fn text(&mut self, text: &str) {
        self.machine.handle_inbound(self.now, self.connection);
        let text = text.to_owned().into();
        self.machine.handle_text(self.now, self.connection, text);
        self.settle();
    }

    /// The connection breaks.
    pub fn lose(&mut self) {
        let end = LinkEnd::Broken("reset".to_owned());
        self.machine.handle_closed(self.now, self.connection, &end);
        self.settle();
    }

    /// The application answers; false if nobody waits for it.
    pub fn answer(&mut self, id: &str, json: &str) -> bool {
        let answer = Answer::Result(json);
        let taken = self.machine.answer(self.now, id, answer).is_ok();
        self.settle();
        taken
    }

    /// Time passes.
    pub fn advance(&mut self, span: Duration) {
        let until = self.now.mono + span;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= until) {
            self.now.mono = at.max(self.now.mono);
            self.now.boot = self.now.mono;
            self.machine.handle_timeout(self.now);
            self.settle();
        }
        self.now.mono = until;
        self.now.boot = until;
    }

    /// What the machine says of itself.
    pub fn snapshot(&self) -> Value {
        self.machine.snapshot(self.now)
    }

    /// The state in a word.
    pub fn state(&self) -> State {
        self.machine.state()
    }

    /// Carries out what the machine asks for.
    fn settle(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Request(request) => {
                    let body = json!({"ok": true, "connect_url": "wss://mesh.test/agents/connect"});
                    let reply = Reply::Http(HttpReply {
                        status: 200,
                        body: body.to_string().into_bytes(),
                        ..HttpReply::default()
                    });
                    self.machine.handle_reply(self.now, request.id, &reply);
                }
                Action::Dial(dial) => self.dial(dial.conn),
                Action::Ping(conn, payload) => self.machine.handle_pong(self.now, conn, &payload),
                Action::Send(_, text) => {
                    self.sent += 1;
                    self.last_sent.clear();
                    self.last_sent.push_str(&text);
                }
                Action::Deliver(dispatch) if self.answers => {
                    let one = Answer::Result("1");
                    let answered = self.machine.answer(self.now, &dispatch.id, one);
                    answered.expect("a delivered dispatch waits for its answer");
                }
                Action::Deliver(dispatch) => self.delivered.push_back(dispatch.id),
                _ => {}
            }
        }
    }

    fn dial(&mut self, conn: ConnectionNo) {
        self.dials += 1;
        if self.fail_dials {
            let failed = Dialed::Failed(NetFailure {
                kind: ErrorKind::Network,
                text: "the network is away".to_owned(),
            });
            return self.machine.handle_dialed(self.now, conn, failed);
        }
        self.connection = conn;
        self.machine.handle_dialed(self.now, conn, Dialed::Open);
        let welcome = WELCOME.to_owned().into();
        self.machine.handle_text(self.now, conn, welcome);
    }
}
