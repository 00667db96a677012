//! A machine in a model of the world: a network that delays and cuts, a mesh with moods, handlers that are
//! slow or never end. Every step is checked against the invariants of `reliability.md` 3.0.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::mesh::Mesh;
use super::rig::{millis, parsed, remember_transitions, seconds};
use super::trial::{Without, seeded};
use super::wire::Wire;
use crate::error::ErrorKind;
use crate::machine::action::{
    Action, Answer, ConnectionNo, Dialed, LinkEnd, OperationId, Reply, RequestId,
};
use crate::machine::event::{Event, EventKind};
use crate::machine::time::Now;
use crate::machine::{LinkState, Machine, State};
use crate::protocol::frame::FrameText;

/// What a ping is on the wire.
const PING_BYTES: u64 = 14;

/// Something that is going to happen.
pub(super) enum Happening {
    Reply(RequestId, Cow<'static, str>, Reply),
    Dialed(ConnectionNo, Dialed),
    ToMesh(ConnectionNo, FrameText),
    PingToMesh(ConnectionNo, [u8; 8]),
    ToAgent(ConnectionNo, String),
    PongToAgent(ConnectionNo, [u8; 8]),
    EndToAgent(ConnectionNo, LinkEnd),
    HandlerDone(String),
    Work,
    Chaos,
    Application,
    /// The application answers a wish for a token.
    Token,
    Leave,
    /// The application waits for this operation no longer.
    Cancel(OperationId),
    /// A misfortune beside those that come all the time.
    Strike,
    /// The mesh answers again.
    Speaks(ConnectionNo),
}

/// What a world rotates its client secret to.
const NEXT_SECRET: &str = "s3cret-of-tomorrow";

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) mesh: Mesh,
    pub(super) now: Duration,
    pub(super) slept: Duration,
    pub(super) rng: Rng,
    pub(super) queue: BTreeMap<(Duration, u64), Happening>,
    scheduled: u64,
    pub(super) wire: Option<Wire>,
    started: HashSet<String>,
    /// What each operation in progress announces, if it is an announcement.
    pub(super) operations: HashMap<OperationId, Option<usize>>,
    next_operation: OperationId,
    pub(super) connecting: Option<OperationId>,
    /// The operation that is just being cancelled.
    pub(super) cancelled: Option<OperationId>,
    /// Requests that the farewell began or waited for: to deregister, for the token that it takes, and a registration
    /// that was under way.
    pub(super) goodbyes: usize,
    /// How many were pending when they were cancelled.
    pub(super) cancellations: usize,
    pub(super) leaving: bool,
    /// Until when answers may be sent one by one, for what the last connections ended on.
    pub(super) suspicious_until: Duration,
    pub(super) finished: bool,
    max_in_flight: usize,
    /// From which second of every minute on the application picks nothing up.
    stops_at: Option<u64>,
    /// Whether the application believes that there is a link.
    pub(super) up: bool,
    pub(super) token_requests: u32,
    hasher: DefaultHasher,
    steps: u32,
}

impl Drop for World {
    fn drop(&mut self) {
        remember_transitions(&self.machine);
    }
}

impl World {
    pub(super) fn new(seed: u64, without: Without) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut mesh = Mesh::new(&mut rng);
        let max_in_flight = [0, 2, 5][rng.usize(0..3)];
        let max_queued = [64, 1, 0][usize::try_from(seed % 3).unwrap()];
        let mut changes =
            json!({"max_in_flight": max_in_flight, "max_queued_dispatches": max_queued});
        let source = rng.u8(0..8);
        if source < 2 {
            changes["client_id"] = json!(null);
            changes["client_secret"] = json!(null);
        }
        match source {
            0 => changes["token"] = json!(mesh.issue(Duration::ZERO)),
            1 => {
                changes["token_provider"] = json!(true);
                if rng.bool() {
                    changes["token"] = json!(mesh.issue(Duration::ZERO));
                }
            }
            2 | 3 => {
                changes["client_secret_next"] = json!(NEXT_SECRET);
                if rng.bool() {
                    mesh.good_secret = NEXT_SECRET.to_owned();
                }
            }
            _ => {}
        }
        if rng.u8(0..12) == 0 {
            changes["auto_reconnect"] = json!(false);
            mesh.gave_cause_to_fail = true;
        }
        if seed % 16 == 5 {
            changes["public_url"] = json!("https://desk.example/a2a");
        }
        if rng.u8(0..6) == 0 {
            changes["reconnect_delays_ms"] = json!([100, 1000]);
        }
        let mut world = Self {
            machine: seeded(&changes, seed, without),
            mesh,
            now: Duration::ZERO,
            slept: Duration::ZERO,
            rng,
            queue: BTreeMap::new(),
            scheduled: 0,
            wire: None,
            started: HashSet::new(),
            operations: HashMap::new(),
            next_operation: 1,
            connecting: None,
            cancelled: None,
            goodbyes: 0,
            cancellations: 0,
            leaving: false,
            suspicious_until: Duration::ZERO,
            finished: false,
            max_in_flight,
            stops_at: (seed % 8 == 3).then_some(35),
            up: false,
            token_requests: 0,
            hasher: DefaultHasher::new(),
            steps: 0,
        };
        for (first, happening) in [
            (1, Happening::Work),
            (5, Happening::Chaos),
            (0, Happening::Application),
        ] {
            world.after(seconds(first), happening);
        }
        let leave = seconds(world.rng.u64(2..120));
        world.after(leave, Happening::Leave);
        world
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: self.now,
            boot: self.now + self.slept,
            unix_ms: 1_777_622_400_000,
        }
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.scheduled += 1;
        self.queue
            .insert((self.now + delay, self.scheduled), happening);
    }

    pub(super) fn operation(&mut self, announces: Option<usize>) -> OperationId {
        let id = self.next_operation;
        self.next_operation += 1;
        self.operations.insert(id, announces);
        if self.rng.u8(0..4) == 0 {
            let patience = millis(self.rng.u64(0..3000));
            self.after(patience, Happening::Cancel(id));
        }
        id
    }

    pub(super) fn trace(&self) -> u64 {
        self.hasher.finish()
    }

    pub(super) fn note(&mut self, what: &str) {
        (self.now, what).hash(&mut self.hasher);
    }

    /// Lets the next thing happen, until the machine has said goodbye.
    pub(super) fn run(&mut self) {
        while !self.finished {
            self.steps += 1;
            assert!(self.steps < 50_000, "the machine never comes to rest");
            let due = self.machine.poll_timeout();
            let next = self.queue.keys().next().map(|(at, _)| *at);
            match (due, next) {
                (Some(due), next) if next.is_none_or(|next| due <= next) => {
                    self.now = self.now.max(due);
                    self.note("timeout");
                    self.tell_progress();
                    self.tell_backlog();
                    self.machine.handle_timeout(self.now());
                    let again = self.machine.poll_timeout();
                    assert!(
                        again.is_none_or(|again| again > self.now),
                        "a timer that is due at once again"
                    );
                }
                _ => {
                    let ((at, _), happening) = self.queue.pop_first().expect("the world goes on");
                    self.now = at;
                    self.happen(happening);
                }
            }
            self.carry_out();
            assert_eq!(self.machine.unknown_transitions(), 0);
        }
    }

    /// The driver tells it also when the machine has ended.
    fn tell_backlog(&mut self) {
        let second = self.now.as_secs() % 60;
        let waited = self.stops_at.and_then(|at| second.checked_sub(at));
        let oldest = waited.map(seconds);
        self.machine.handle_backlog(self.now(), oldest);
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now();
        match happening {
            Happening::Reply(id, path, reply) => {
                self.note(&path);
                if path == "/auth/get_token" {
                    self.token_requests -= 1;
                    self.goodbyes += usize::from(self.machine.link() == LinkState::Closing);
                }
                self.machine.handle_reply(now, id, &reply);
            }
            Happening::Dialed(conn, dialed) => {
                if !matches!(dialed, Dialed::Open) && self.wire(conn).is_some() {
                    self.wire = None;
                }
                self.machine.handle_dialed(now, conn, dialed);
            }
            Happening::ToMesh(conn, text) if self.alive(conn) => self.at_mesh(conn, &text),
            Happening::PingToMesh(conn, payload) if self.alive(conn) => {
                if let Some(wire) = self.wire(conn) {
                    wire.acked += PING_BYTES;
                }
                if self.wire(conn).is_some_and(|wire| !wire.withholds_pongs) {
                    // A peer may be late with its pongs alone.
                    let late = self
                        .wire(conn)
                        .map_or(Duration::ZERO, |wire| wire.pongs_late_by);
                    let at = self.delay_to_agent(conn) + late;
                    self.after(at, Happening::PongToAgent(conn, payload));
                }
            }
            Happening::ToAgent(conn, text) if self.alive(conn) => self.at_agent(conn, text),
            Happening::PongToAgent(conn, payload) if self.alive(conn) => {
                self.machine.handle_pong(now, conn, &payload);
            }
            Happening::EndToAgent(conn, end) => {
                if self.wire(conn).is_some() {
                    self.unhealthy();
                    self.wire = None;
                }
                self.machine.handle_closed(now, conn, &end);
            }
            Happening::HandlerDone(id) => self.handler_done(&id),
            Happening::Work => self.work(),
            Happening::Chaos => self.chaos(),
            Happening::Application => self.application(),
            Happening::Token => self.give_token(),
            Happening::Leave => self.leave(),
            Happening::Cancel(id) => self.cancel(id),
            Happening::Strike => self.strike(),
            Happening::Speaks(conn) => self.speaks_again(conn),
            // What was on its way when the connection died.
            Happening::ToMesh(..)
            | Happening::PingToMesh(..)
            | Happening::ToAgent(..)
            | Happening::PongToAgent(..) => {}
        }
    }

    // ---- what the machine wants done ----

    pub(super) fn carry_out(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            assert!(!self.finished, "nothing comes after the end");
            match action {
                Action::Request(request) => {
                    self.note(&request.path);
                    if request.path == "/auth/get_token" {
                        self.token_requests += 1;
                        assert!(self.token_requests <= 1, "one fetch at a time");
                    }
                    self.goodbyes += usize::from(self.machine.link() == LinkState::Closing);
                    let (delay, reply) = self.mesh.reply(self.now, &mut self.rng, &request);
                    self.after(delay, Happening::Reply(request.id, request.path, reply));
                }
                Action::AbortRequest(id) => {
                    self.note("abort request");
                    self.drop_reply(id);
                }
                Action::Dial(dial) => {
                    self.note("dial");
                    assert!(self.wire.is_none(), "I5: one socket at a time");
                    self.wire = Some(Wire {
                        conn: dial.conn,
                        ..Wire::default()
                    });
                    let (delay, dialed) = self.mesh.dialed(self.now, &mut self.rng, &dial);
                    self.after(delay, Happening::Dialed(dial.conn, dialed));
                }
                Action::Respond(..) => panic!("nobody called by POST"),
                Action::Send(conn, text) => self.sent(conn, text),
                Action::Ping(conn, payload) => {
                    if let Some(wire) = self.wire(conn) {
                        wire.written += PING_BYTES;
                        wire.ping_ends = wire.written;
                    }
                    let delay = self.delay_to_mesh(conn);
                    self.after(delay, Happening::PingToMesh(conn, payload));
                }
                Action::Close(conn, ..) => {
                    self.note("close");
                    self.unhealthy();
                    if self.alive(conn) && self.rng.u8(0..4) > 0 {
                        let delay = self.delay_to_mesh(conn) + millis(5);
                        let end = LinkEnd::Closed {
                            code: Some(1000),
                            reason: String::new(),
                        };
                        self.after(delay, Happening::EndToAgent(conn, end));
                    }
                }
                Action::Abort(conn) => {
                    self.note("abort");
                    self.unhealthy();
                    assert_eq!(self.wire.take().map(|wire| wire.conn), Some(conn));
                }
                Action::Deliver(dispatch) => {
                    let id = dispatch.id.to_string();
                    self.note(&id);
                    assert!(self.started.insert(id.clone()), "I1: {id} runs twice");
                    let running = self.machine.inbox.running();
                    assert!(self.max_in_flight == 0 || running <= self.max_in_flight);
                    let delay = match self.rng.u8(0..10) {
                        0 => None,
                        1 => Some(self.rng.u64(10_000..80_000)),
                        2..=4 => Some(self.rng.u64(0..15_000)),
                        _ => Some(self.rng.u64(0..500)),
                    };
                    if let Some(delay) = delay {
                        self.after(millis(delay), Happening::HandlerDone(id));
                    }
                }
                Action::Frame(_) => panic!("an agent is handed dispatches, no frames"),
                Action::Event(event) => self.told(&event),
                Action::Complete(id, result) => {
                    self.note("complete");
                    let announces = self
                        .operations
                        .remove(&id)
                        .expect("every operation ends once");
                    if let (Some(capabilities), Ok(_)) = (announces, &*result) {
                        assert!(
                            self.mesh.tools >= capabilities,
                            "announced, but the mesh does not know"
                        );
                    }
                    if self.cancelled == Some(id) {
                        let kind = result.map_err(|error| error.kind());
                        assert_eq!(kind, Err(ErrorKind::Cancelled), "cancelled");
                    }
                    if self.connecting == Some(id) {
                        self.connecting = None;
                    }
                }
                Action::Finished => self.finished = true,
            }
        }
    }

    fn told(&mut self, event: &Event) {
        self.note(event.kind.name());
        self.goodbyes += usize::from(self.leaving && event.kind == EventKind::TokenWanted);
        if event.kind == EventKind::ResultDropped {
            self.given_up(&event.data);
        }
        if matches!(event.kind, EventKind::Connected | EventKind::Disconnected) {
            let up = event.kind == EventKind::Connected;
            assert_ne!(up, self.up, "the two alternate");
            self.up = up;
        }
        if event.kind == EventKind::TokenWanted && self.rng.u8(0..6) > 0 {
            // Sometimes too late, sometimes never.
            let delay = millis(self.rng.u64(0..12_000));
            self.after(delay, Happening::Token);
        }
        let failed = event.kind == EventKind::Failed;
        assert!(
            !failed || self.mesh.gave_cause_to_fail,
            "failed for {}",
            event.data
        );
    }

    fn sent(&mut self, conn: ConnectionNo, text: FrameText) {
        self.note(&text);
        let frame = parsed(&text);
        let wire = self
            .wire(conn)
            .expect("I5: frames go to the current socket");
        wire.sent += 1;
        wire.written += text.len() as u64;
        assert_eq!(
            frame["type"] == "hello",
            wire.sent == 1,
            "I4: hello is the first frame, once"
        );
        assert!(
            wire.sent == 1 || wire.welcomed,
            "I4: {frame} before the welcome"
        );
        if let Some(id) = frame["in_reply_to"].as_str() {
            let record = self
                .mesh
                .ledger
                .get_mut(id)
                .expect("an answer to something asked");
            record.sends += 1;
            if record.poisoned {
                assert_eq!(frame["payload"]["code"], "DUPLICATE_DISPATCH", "{frame}");
            } else {
                let given = record.given.get_or_insert_with(|| text.clone());
                assert_eq!(*given, text, "I2: two different answers to {id}");
            }
        }
        let delay = self.delay_to_mesh(conn);
        self.after(delay, Happening::ToMesh(conn, text));
    }

    /// Nothing moves a machine that has ended.
    pub(super) fn check_the_end(&mut self) {
        assert!(matches!(
            self.machine.state(),
            State::Closed | State::Failed
        ));
        assert!(
            !self.up,
            "the last connection has ended for the application"
        );
        assert!(
            self.operations.is_empty(),
            "operations without an end: {:?}",
            self.operations
        );
        assert!(self.machine.poll_timeout().is_none());
        if self.machine.state() == State::Closed && self.mesh.registered {
            let awaited = ["/auth/get_token", "/agents/register"];
            let mut waiting = self.queue.values();
            let hangs = waiting.any(
                |one| matches!(one, Happening::Reply(_, path, _) if awaited.contains(&&**path)),
            );
            assert!(
                self.goodbyes > 0 || hangs,
                "the mesh still counts on the agent"
            );
        }
        for (_, happening) in std::mem::take(&mut self.queue) {
            let now = self.now();
            match happening {
                Happening::Reply(id, _, reply) => self.machine.handle_reply(now, id, &reply),
                Happening::Dialed(conn, dialed) => self.machine.handle_dialed(now, conn, dialed),
                Happening::ToAgent(conn, text) => self.machine.handle_text(now, conn, text.into()),
                Happening::EndToAgent(conn, end) => self.machine.handle_closed(now, conn, &end),
                Happening::HandlerDone(id) => {
                    let late = self.machine.answer(now, &id, Answer::Result("1"));
                    assert!(late.is_err(), "{id} was answered after the end");
                }
                _ => {}
            }
            self.tell_backlog();
            self.machine.handle_timeout(self.now());
            assert!(
                self.machine.poll_action().is_none(),
                "an action after the end"
            );
            assert!(
                self.machine.poll_timeout().is_none(),
                "a timer after the end"
            );
        }
        assert!(self.machine.token().is_none(), "nothing is shown any more");
    }
}
