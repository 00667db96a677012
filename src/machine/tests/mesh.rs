//! A model of the mesh: what it answers, when it is in a bad mood, and its ledger of dispatches.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fastrand::Rng;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::rig::{CLIENT_SECRET, CONNECT_URL, http, jwt, millis, parsed, seconds, unreachable};
use crate::error::ErrorKind;
use crate::machine::action::{Dial, Dialed, HttpReply, NetFailure, Reply, Request};
use crate::protocol::frame::FrameText;

/// What both sides know of a dispatch.
#[derive(Default)]
pub(super) struct Record {
    /// When it first reached the agent while the link was ready.
    pub(super) received_at: Option<Duration>,
    /// When the handler's answer was accepted.
    pub(super) finished_at: Option<Duration>,
    /// The one answer that the agent gave, as it left.
    pub(super) given: Option<FrameText>,
    /// Whether that has arrived.
    pub(super) arrived: bool,
    /// How often an answer was written.
    pub(super) sends: u32,
    /// The agent has given its answer up, since the mesh closes on it.
    pub(super) poisoned: bool,
    made_at: Duration,
    payload: Value,
}

#[allow(clippy::struct_excessive_bools, reason = "each is a mood of its own")]
pub(super) struct Mesh {
    pub(super) ledger: BTreeMap<String, Record>,
    /// How often something goes wrong, from 0 to 1.
    pub(super) trouble: f64,
    /// Whether it refuses for good now and then.
    pub(super) deadly: bool,
    /// Something was done that may end the connector for good.
    pub(super) gave_cause_to_fail: bool,
    pub(super) registered: bool,
    /// Until when it answers nothing at all.
    pub(super) silent_until: Duration,
    /// Whether it sends again what it still waits for, after a redial.
    pub(super) sends_again: bool,
    /// The dispatch whose result it closes on.
    pub(super) poison: Option<String>,
    /// How many capabilities the mesh knows of.
    pub(super) tools: usize,
    /// The client secret that is good now.
    pub(super) good_secret: String,
    tokens: HashMap<String, Duration>,
    token_lifetime_s: u64,
    wrong_subprotocols: u32,
    protocol_closes: u32,
    supersessions: u32,
}

impl Mesh {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            ledger: BTreeMap::new(),
            trouble: rng.f64() * rng.f64() * 0.6,
            deadly: rng.u8(0..10) == 0,
            gave_cause_to_fail: false,
            registered: false,
            silent_until: Duration::ZERO,
            sends_again: rng.bool(),
            poison: None,
            tools: 0,
            good_secret: CLIENT_SECRET.to_owned(),
            tokens: HashMap::new(),
            token_lifetime_s: [20, 60, 300, 86_400][rng.usize(0..4)],
            wrong_subprotocols: 0,
            protocol_closes: 0,
            supersessions: 0,
        }
    }

    pub(super) fn issue(&mut self, now: Duration) -> String {
        let n = self.tokens.len() as u64;
        let token = jwt(n, self.token_lifetime_s);
        self.tokens
            .insert(token.clone(), now + seconds(self.token_lifetime_s));
        token
    }

    /// Every token is worth nothing from now on.
    pub(super) fn expire_tokens(&mut self, now: Duration) {
        for until in self.tokens.values_mut() {
            *until = now.min(*until);
        }
    }

    fn knows(&self, bearer: Option<&secrecy::SecretString>, now: Duration) -> bool {
        bearer
            .and_then(|token| self.tokens.get(token.expose_secret()))
            .is_some_and(|until| *until > now)
    }

    /// What a request gets, and how long it takes.
    pub(super) fn reply(
        &mut self,
        now: Duration,
        rng: &mut Rng,
        request: &Request,
    ) -> (Duration, Reply) {
        let delay = millis(rng.u64(1..400));
        if now < self.silent_until {
            let text = "timed out".to_owned();
            let kind = ErrorKind::Timeout;
            return (request.timeout, Reply::Failed(NetFailure { kind, text }));
        }
        if rng.f64() < self.trouble {
            if rng.u8(0..6) == 0 {
                // Only the answer is lost.
                let known = self.knows(request.bearer.as_deref(), now);
                self.registered |= known && request.path == "/agents/register";
                let failure = NetFailure {
                    kind: ErrorKind::Timeout,
                    text: "timed out".to_owned(),
                };
                return (request.timeout, Reply::Failed(failure));
            }
            if rng.u8(0..5) == 0 {
                return (delay, Reply::Failed(unreachable()));
            }
            return (delay, Reply::Http(self.refusal(rng)));
        }
        if request.path == "/auth/get_token" {
            let shown = parsed(request.body.expose_secret());
            if shown["client_secret"] != *self.good_secret {
                let refusal = json!({"code": "BAD_CREDENTIALS"});
                return (delay, Reply::Http(http(401, &refusal)));
            }
            let token = self.issue(now);
            return (delay, Reply::Http(http(200, &json!({"token": token}))));
        }
        if !self.knows(request.bearer.as_deref(), now) {
            return (
                delay,
                Reply::Http(http(401, &json!({"code":"UNAUTHORIZED"}))),
            );
        }
        let body = parsed(request.body.expose_secret());
        let answer = match &*request.path {
            "/agents/register" => {
                self.registered = true;
                self.tools = body["tools"].as_array().unwrap().len();
                http(200, &json!({"ok": true, "connect_url": CONNECT_URL}))
            }
            "/agents/deregister" => {
                self.registered = false;
                http(200, &json!({"ok": true}))
            }
            "/agents/heartbeat" if self.registered => http(200, &json!({"ok": true})),
            "/sessions/init" if self.registered => http(200, &json!({"session_id": "s1"})),
            "/sessions/close" if rng.bool() => http(200, &json!({"ok": true})),
            _ => http(404, &json!({"code": "NOT_FOUND"})),
        };
        (delay, Reply::Http(answer))
    }

    fn refusal(&mut self, rng: &mut Rng) -> HttpReply {
        if self.deadly && rng.u8(0..8) == 0 {
            self.gave_cause_to_fail = true;
            return http(403, &json!({"code": "NOT_ALLOWED"}));
        }
        let status = [
            401, 403, 409, 407, 408, 425, 429, 500, 502, 503, 302, 200, 404,
        ][rng.usize(0..13)];
        let retry_after =
            (matches!(status, 429 | 503) && rng.bool()).then(|| seconds(rng.u64(0..20)));
        HttpReply {
            retry_after,
            ..http(status, &json!("<html>"))
        }
    }

    /// How a dial ends.
    pub(super) fn dialed(
        &mut self,
        now: Duration,
        rng: &mut Rng,
        dial: &Dial,
    ) -> (Duration, Dialed) {
        let delay = millis(rng.u64(1..300));
        if now < self.silent_until {
            let text = "timed out".to_owned();
            let kind = ErrorKind::Timeout;
            return (
                dial.stage_timeout,
                Dialed::Failed(NetFailure { kind, text }),
            );
        }
        if rng.f64() < self.trouble {
            let dialed = match rng.u8(0..8) {
                0 => {
                    let text = "certificate".to_owned();
                    Dialed::Failed(NetFailure {
                        kind: ErrorKind::Tls,
                        text,
                    })
                }
                1 => {
                    let text = "timed out".to_owned();
                    let failure = NetFailure {
                        kind: ErrorKind::Timeout,
                        text,
                    };
                    return (dial.stage_timeout, Dialed::Failed(failure));
                }
                2 => Dialed::Failed(unreachable()),
                3 => {
                    self.wrong_subprotocols += 1;
                    self.gave_cause_to_fail |= self.wrong_subprotocols >= 3;
                    Dialed::WrongSubprotocol(None)
                }
                _ => Dialed::Refused(self.refusal(rng)),
            };
            return (delay, dialed);
        }
        let dialed = if !self.knows(Some(&dial.bearer), now) {
            Dialed::Refused(http(401, &json!({"code":"UNAUTHORIZED"})))
        } else if self.registered {
            Dialed::Open
        } else {
            Dialed::Refused(http(404, &json!({"code":"INSTANCE_NOT_FOUND"})))
        };
        (delay, dialed)
    }

    /// A code to close with.
    pub(super) fn close_code(&mut self, rng: &mut Rng) -> Option<u16> {
        let codes = [
            1000, 1001, 1002, 1006, 1008, 1009, 1011, 1012, 4400, 4401, 4409, 4999,
        ];
        let code = codes[rng.usize(0..codes.len())];
        if matches!(code, 1002 | 4400) {
            self.protocol_closes += 1;
        }
        if code == 4409 {
            self.supersessions += 1;
        }
        self.note_causes();
        (rng.u8(0..13) > 0).then_some(code)
    }

    /// A close for a broken frame counts as one over the protocol.
    pub(super) fn violated(&mut self) {
        self.protocol_closes += 1;
        self.note_causes();
    }

    fn note_causes(&mut self) {
        self.gave_cause_to_fail |= self.protocol_closes >= 3 || self.supersessions >= 2;
    }

    /// New work: the id and the frame.
    pub(super) fn new_dispatch(&mut self, now: Duration, rng: &mut Rng) -> (String, String) {
        let id = format!("d{}", self.ledger.len());
        let payload = match rng.u8(0..12) {
            0 => json!({"skill_id": "fly"}),
            1 => json!({}),
            2 => json!({"skill_id": "echo"}),
            _ => json!({"skill_id": "echo", "args": {"n": 1}}),
        };
        let frame = frame(&id, &payload);
        let record = Record {
            made_at: now,
            payload,
            ..Record::default()
        };
        self.ledger.insert(id.clone(), record);
        (id, frame)
    }

    /// What the mesh sends again after a redial: everything that it still waits for.
    pub(super) fn unanswered(&self, now: Duration) -> Vec<(String, String)> {
        self.ledger
            .iter()
            .filter(|(_, record)| self.sends_again || record.received_at.is_none())
            .filter(|(_, record)| !record.arrived && now < record.made_at + seconds(60))
            .map(|(id, record)| (id.clone(), frame(id, &record.payload)))
            .collect()
    }

    /// A dispatch that is sent once more for no reason.
    pub(super) fn any_dispatch(&self, rng: &mut Rng) -> Option<(String, String)> {
        if self.ledger.is_empty() {
            return None;
        }
        let (id, record) = self.ledger.iter().nth(rng.usize(0..self.ledger.len()))?;
        Some((id.clone(), frame(id, &record.payload)))
    }
}

fn frame(id: &str, payload: &Value) -> String {
    format!(r#"{{"v":1,"type":"dispatch","id":"{id}","payload":{payload}}}"#)
}
