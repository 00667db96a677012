//! The play of a script of kills, with the ledgers of both sides (`gateway`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::gateway::{Figures, Kill, Script};
use super::rig::{CONNECT_URL, http, jwt, millis, seconds, unreachable};
use crate::machine::action::{Action, Answer, ConnectionNo, Dialed, LinkEnd, Reply, RequestId};
use crate::machine::time::Now;
use crate::machine::{LinkState, Machine};
use crate::protocol::frame::FrameText;

#[derive(Default)]
struct Record {
    sent: bool,
    received_at: Option<Duration>,
    finished_at: Option<Duration>,
    runs: u32,
    answer: Option<FrameText>,
    copies: u32,
}

enum Happening {
    Reply(RequestId, Reply),
    Dialed(ConnectionNo, Dialed),
    ToGateway(ConnectionNo, FrameText),
    PingToGateway(ConnectionNo, [u8; 8]),
    /// A frame, and the dispatch that it is.
    ToAgent(ConnectionNo, String, Option<usize>),
    PongToAgent(ConnectionNo, [u8; 8]),
    End(ConnectionNo),
    HandlerDone(usize),
    Work,
    /// A dispatch of its own, shortly before a kill.
    LastMinuteWork,
    Kill,
}

struct Wire {
    conn: ConnectionNo,
    open: bool,
    reads: bool,
    writes: bool,
    last_to_gateway: Duration,
    last_to_agent: Duration,
}

pub(super) struct Play {
    script: Script,
    machine: Machine,
    now: Duration,
    rng: Rng,
    queue: BTreeMap<(Duration, u64), Happening>,
    scheduled: u64,
    wire: Option<Wire>,
    /// Whether the hello of the current connection has come.
    greeted: bool,
    up_at: Duration,
    /// When answers could pass: from the welcome to the kill.
    windows: Vec<(Duration, Duration)>,
    ready_since: Option<Duration>,
    ledger: Vec<Record>,
    open: BTreeSet<usize>,
    tokens: u64,
    figures: Figures,
}

impl Play {
    pub(super) fn new(script: Script, mut machine: Machine, seed: u64) -> Self {
        let now = Now {
            mono: Duration::ZERO,
            boot: Duration::ZERO,
            unix_ms: 1_777_622_400_000,
        };
        machine.connect(now, 1, seconds(60));
        let mut play = Self {
            script,
            machine,
            now: Duration::ZERO,
            rng: Rng::with_seed(seed),
            queue: BTreeMap::new(),
            scheduled: 0,
            wire: None,
            greeted: false,
            up_at: Duration::ZERO,
            windows: Vec::new(),
            ready_since: None,
            ledger: Vec::new(),
            open: BTreeSet::new(),
            tokens: 0,
            figures: Figures::default(),
        };
        play.after(seconds(1), Happening::Work);
        play.after(seconds(2), Happening::Kill);
        play
    }

    /// Plays the script, and then waits until everything has arrived that will.
    pub(super) fn run(mut self) -> Figures {
        self.carry_out();
        let patience = self.script.lasts + seconds(300);
        loop {
            let due = self.machine.poll_timeout();
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let timer = due.is_some_and(|due| next.is_none_or(|next| due <= next));
            let at = if timer { due } else { next };
            let Some(at) = at.filter(|at| *at < patience) else {
                break;
            };
            self.now = self.now.max(at);
            if self.now > self.script.lasts && self.open.is_empty() {
                break;
            }
            if timer {
                self.machine.handle_timeout(self.now());
            } else if let Some((_, happening)) = self.queue.pop_first() {
                self.happen(happening);
            }
            self.carry_out();
        }
        assert_eq!(self.machine.unknown_transitions(), 0, "I8");
        self.judged()
    }

    fn judged(mut self) -> Figures {
        self.not_ready();
        for record in &self.ledger {
            if record.answer.is_none() && (self.script.sends_again || self.promised(record)) {
                self.figures.lost += 1;
            }
            let runs = usize::try_from(record.runs).expect("a few");
            self.figures.second_runs += runs.saturating_sub(1);
            self.figures.extra_copies += record.copies.saturating_sub(1) as usize;
        }
        self.figures.dispatches = self.ledger.len();
        self.figures
    }

    /// I3: finished before its deadline, with a second of Ready left before that.
    fn promised(&self, record: &Record) -> bool {
        let (Some(received), Some(finished)) = (record.received_at, record.finished_at) else {
            return false;
        };
        let deadline = received + seconds(60);
        let first = self.windows.partition_point(|(_, to)| *to < finished);
        self.windows[first..]
            .iter()
            .take_while(|(from, _)| *from < deadline)
            .any(|(from, to)| {
                let window = deadline.min(*to).saturating_sub(finished.max(*from));
                window >= seconds(1)
            })
    }

    fn now(&self) -> Now {
        Now {
            mono: self.now,
            boot: self.now,
            unix_ms: 1_777_622_400_000,
        }
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.scheduled += 1;
        self.queue
            .insert((self.now + delay, self.scheduled), happening);
    }

    fn wire(&mut self, conn: ConnectionNo) -> Option<&mut Wire> {
        self.wire.as_mut().filter(|wire| wire.conn == conn)
    }

    fn not_ready(&mut self) {
        if let Some(since) = self.ready_since.take() {
            self.windows.push((since, self.now));
        }
    }

    fn write_to_gateway(&mut self, conn: ConnectionNo, happening: Happening) {
        let way = millis(self.rng.u64(self.script.way.clone()));
        let now = self.now;
        if let Some(wire) = self.wire(conn) {
            wire.last_to_gateway = wire.last_to_gateway.max(now + way);
            let delay = wire.last_to_gateway - now;
            self.after(delay, happening);
        }
    }

    fn write_to_agent(&mut self, conn: ConnectionNo, happening: Happening) {
        let way = millis(self.rng.u64(self.script.way.clone()));
        let now = self.now;
        if let Some(wire) = self.wire(conn) {
            wire.last_to_agent = wire.last_to_agent.max(now + way);
            let delay = wire.last_to_agent - now;
            self.after(delay, happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now();
        match happening {
            Happening::Reply(id, reply) => self.machine.handle_reply(now, id, &reply),
            Happening::Dialed(conn, mut dialed) => {
                match self.wire(conn) {
                    Some(wire) if wire.reads => wire.open = true,
                    _ => dialed = Dialed::Failed(unreachable()),
                }
                if dialed != Dialed::Open {
                    self.wire = None;
                }
                self.machine.handle_dialed(now, conn, dialed);
            }
            Happening::ToGateway(conn, text) => {
                if self.wire(conn).is_some_and(|wire| wire.reads) {
                    self.at_gateway(conn, &text);
                }
            }
            Happening::PingToGateway(conn, payload) => {
                if self.wire(conn).is_some_and(|wire| wire.reads) {
                    self.write_to_agent(conn, Happening::PongToAgent(conn, payload));
                }
            }
            Happening::ToAgent(conn, text, dispatch) => {
                if self.wire(conn).is_some_and(|wire| wire.writes) {
                    self.at_agent(conn, text, dispatch);
                }
            }
            Happening::PongToAgent(conn, payload) => {
                if self.wire(conn).is_some_and(|wire| wire.writes) {
                    self.machine.handle_pong(now, conn, &payload);
                }
            }
            Happening::End(conn) => {
                if self.wire(conn).is_some() {
                    self.wire = None;
                }
                let end = LinkEnd::Broken("the gateway was killed".to_owned());
                self.machine.handle_closed(now, conn, &end);
            }
            Happening::HandlerDone(n) => {
                let id = format!("d{n}");
                if self.machine.answer(now, &id, Answer::Result("[1]")).is_ok() {
                    self.ledger[n].finished_at.get_or_insert(now.mono);
                }
            }
            Happening::Work => {
                self.work();
                let pause = -self.script.work_every * (1.0 - self.rng.f64()).ln();
                let pause = Duration::from_secs_f64(pause / 1000.0);
                self.after(pause, Happening::Work);
            }
            Happening::LastMinuteWork => self.work(),
            Happening::Kill => self.kill(),
        }
    }

    fn work(&mut self) {
        if self.now > self.script.lasts {
            return;
        }
        let n = self.ledger.len();
        self.ledger.push(Record::default());
        self.open.insert(n);
        if self.greeted {
            self.dispatch(n);
        }
    }

    fn dispatch(&mut self, n: usize) {
        self.ledger[n].sent = true;
        let text = format!(
            r#"{{"v":1,"type":"dispatch","id":"d{n}","payload":{{"skill_id":"echo","args":{{"n":{n}}}}}}}"#
        );
        if let Some(conn) = self.wire.as_ref().map(|wire| wire.conn) {
            self.write_to_agent(conn, Happening::ToAgent(conn, text, Some(n)));
        }
    }

    fn kill(&mut self) {
        if self.now > self.script.lasts {
            return;
        }
        let kill = self.script.kills[self.figures.kills % self.script.kills.len()];
        self.figures.kills += 1;
        self.not_ready();
        self.greeted = false;
        let down = millis(self.rng.u64(self.script.down.clone()));
        self.up_at = self.now + down;
        if let Some(wire) = &mut self.wire {
            let conn = wire.conn;
            wire.reads = false;
            wire.writes = matches!(kill, Kill::End);
            let open = wire.open;
            match kill {
                _ if !open => {}
                Kill::Reset | Kill::End => self.write_to_agent(conn, Happening::End(conn)),
                Kill::BlackHole(Some(told)) => self.after(told, Happening::End(conn)),
                Kill::BlackHole(None) => {}
            }
        }
        let pause = millis(self.rng.u64(self.script.kill_every.clone()));
        self.after(pause, Happening::Kill);
        for _ in 0..2 {
            let before = millis(self.rng.u64(0..3000)).min(pause);
            self.after(pause - before, Happening::LastMinuteWork);
        }
    }

    fn at_gateway(&mut self, conn: ConnectionNo, text: &FrameText) {
        if text.contains(r#""type":"hello""#) {
            self.greeted = true;
            let welcome = r#"{"v":1,"type":"welcome","payload":{}}"#.to_owned();
            self.write_to_agent(conn, Happening::ToAgent(conn, welcome, None));
            let again = self.script.sends_again;
            let waiting: Vec<_> = self
                .open
                .iter()
                .copied()
                .filter(|n| again || !self.ledger[*n].sent)
                .collect();
            for n in waiting {
                self.dispatch(n);
            }
            return;
        }
        // A whole parse of each frame is what a run would spend most of its time with.
        let Some((_, id)) = text.split_once(r#""in_reply_to":""#) else {
            return;
        };
        let id = id.split('"').next().unwrap_or_default();
        let asked = id.strip_prefix('d').and_then(|n| n.parse().ok());
        let Some(n) = asked.filter(|n: &usize| *n < self.ledger.len()) else {
            self.figures.unknown_ids += 1;
            return;
        };
        self.figures.refused += usize::from(!text.contains(r#""type":"dispatch_result""#));
        self.open.remove(&n);
        let record = &mut self.ledger[n];
        record.copies += 1;
        let first = record.answer.get_or_insert_with(|| text.clone());
        self.figures.contradictions += usize::from(first != text);
    }

    fn at_agent(&mut self, conn: ConnectionNo, text: String, dispatch: Option<usize>) {
        let now = self.now();
        self.machine.handle_inbound(now, conn);
        let was_ready = self.machine.link() == LinkState::Ready;
        self.machine.handle_text(now, conn, text.into());
        if !was_ready && self.machine.link() == LinkState::Ready {
            let reads = self.wire(conn).is_some_and(|wire| wire.reads);
            self.ready_since = reads.then_some(now.mono);
        }
        if let Some(n) = dispatch.filter(|_| was_ready) {
            self.ledger[n].received_at.get_or_insert(now.mono);
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Request(request) => {
                    let body = match &*request.path {
                        "/auth/get_token" => {
                            self.tokens += 1;
                            json!({"token": jwt(self.tokens, 3600)})
                        }
                        _ => json!({"ok": true, "connect_url": CONNECT_URL}),
                    };
                    let way = millis(self.rng.u64(1..100));
                    let reply = Reply::Http(http(200, &body));
                    self.after(way, Happening::Reply(request.id, reply));
                }
                Action::Dial(dial) => {
                    assert!(self.wire.is_none(), "I5: one socket at a time");
                    let way = millis(self.rng.u64(1..60));
                    let up = self.now + way >= self.up_at;
                    self.wire = Some(Wire {
                        conn: dial.conn,
                        open: false,
                        reads: true,
                        writes: true,
                        last_to_gateway: Duration::ZERO,
                        last_to_agent: Duration::ZERO,
                    });
                    self.greeted = false;
                    let dialed = if up {
                        Dialed::Open
                    } else {
                        Dialed::Failed(unreachable())
                    };
                    self.after(way, Happening::Dialed(dial.conn, dialed));
                }
                Action::Respond(..) => panic!("nobody called by POST"),
                Action::Send(conn, text) => {
                    self.write_to_gateway(conn, Happening::ToGateway(conn, text));
                }
                Action::Ping(conn, payload) => {
                    self.write_to_gateway(conn, Happening::PingToGateway(conn, payload));
                }
                Action::Abort(conn) => {
                    let healthy = self.wire(conn).is_some_and(|wire| wire.reads);
                    self.figures.false_alarms += usize::from(healthy);
                    self.not_ready();
                    self.wire = None;
                }
                Action::Deliver(dispatch) => {
                    let n: usize = dispatch.id[1..].parse().expect("our own id");
                    self.ledger[n].runs += 1;
                    let time = self.handler_time();
                    self.after(time, Happening::HandlerDone(n));
                }
                Action::Close(..)
                | Action::AbortRequest(_)
                | Action::Frame(_)
                | Action::Event(_)
                | Action::Complete(..)
                | Action::Finished => {}
            }
        }
    }

    /// Log-normal, with one slow handler in a hundred.
    fn handler_time(&mut self) -> Duration {
        let (median, spread, slow) = self.script.handler;
        if self.rng.u8(0..100) == 0 {
            return millis(slow);
        }
        let (u, v) = (1.0 - self.rng.f64(), self.rng.f64());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let time = Duration::from_secs_f64(median * (spread * normal).exp() / 1000.0);
        // A handler that overruns its deadline is another matter.
        time.min(seconds(50))
    }
}
