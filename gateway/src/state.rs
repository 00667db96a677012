//! All that the gateway knows, behind one lock, and the view of it that waiting tests get.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, mpsc};

use crate::{
    connection::Command,
    ledger::Ledger,
    records::{AgentRecord, Direction, FrameKind, FrameRecord, RequestRecord, SessionRecord},
    redact,
    routing::OpenDispatch,
};

/// How far a reader of `watch` may fall behind before it loses lines.
const WATCH_BACKLOG: usize = 4_096;

/// One open socket, from the 101 on.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) key: u64,
    pub(crate) instance_id: String,
    /// Which connection of its instance, from 1.
    pub(crate) connection: u64,
    pub(crate) ready: bool,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) abort: Arc<Notify>,
}

pub(crate) struct State {
    pub(crate) started: Instant,
    pub(crate) agents: BTreeMap<String, AgentRecord>,
    pub(crate) links: BTreeMap<u64, Link>,
    pub(crate) sessions: BTreeMap<String, SessionRecord>,
    pub(crate) requests: Vec<RequestRecord>,
    pub(crate) frames: VecDeque<FrameRecord>,
    pub(crate) frame_log_limit: usize,
    pub(crate) ledger: Ledger,
    pub(crate) violations: Vec<String>,
    /// Dispatches without an answer, in the order they were asked for.
    pub(crate) open: BTreeMap<u64, OpenDispatch>,
    pub(crate) open_by_id: HashMap<String, u64>,
    pub(crate) expiries: BTreeSet<(Instant, u64)>,
    pub(crate) turn: usize,
    pub(crate) last_key: u64,
    /// Per instance the frame ids that came, with a hash of the text.
    pub(crate) seen_frames: HashMap<String, HashMap<String, u64>>,
    pub(crate) resend_unanswered: bool,
    pub(crate) stopped: bool,
    pub(crate) watchers: broadcast::Sender<Arc<str>>,
}

impl State {
    pub(crate) fn new(frame_log_limit: usize, resend_unanswered: bool) -> Self {
        Self {
            started: Instant::now(),
            agents: BTreeMap::new(),
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            requests: Vec::new(),
            frames: VecDeque::new(),
            frame_log_limit,
            ledger: Ledger::default(),
            violations: Vec::new(),
            open: BTreeMap::new(),
            open_by_id: HashMap::new(),
            expiries: BTreeSet::new(),
            turn: 0,
            last_key: 0,
            seen_frames: HashMap::new(),
            resend_unanswered,
            stopped: false,
            watchers: broadcast::Sender::new(WATCH_BACKLOG),
        }
    }

    /// A number no one else gets.
    pub(crate) fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    pub(crate) fn violation(&mut self, who: &str, what: &str) {
        let line = redact::text(&format!("{who}: {what}"));
        self.watch(|| json!({"kind": "violation", "text": line}));
        self.violations.push(line);
    }

    pub(crate) fn record_frame(
        &mut self,
        link: &Link,
        direction: Direction,
        kind: FrameKind,
        text: &str,
    ) {
        let at = self.started.elapsed();
        self.watch(|| {
            json!({
                "kind": "frame", "at": at.as_secs_f64(), "direction": direction, "frame": kind,
                "instance_id": link.instance_id, "connection": link.connection,
                "content": redact::text_as_value(text),
            })
        });
        while self.frames.len() >= self.frame_log_limit.max(1) {
            self.frames.pop_front();
        }
        self.frames.push_back(FrameRecord {
            instance_id: link.instance_id.clone(),
            connection: link.connection,
            direction,
            kind,
            text: text.to_owned(),
            at,
        });
    }

    pub(crate) fn record_request(&mut self, mut request: RequestRecord) -> u64 {
        request.at = self.started.elapsed();
        request.seq = self.requests.len() as u64 + 1;
        let seq = request.seq;
        self.requests.push(request);
        seq
    }

    pub(crate) fn record_status(&mut self, seq: u64, status: u16) {
        let at = usize::try_from(seq - 1).unwrap_or(usize::MAX);
        let Some(request) = self.requests.get_mut(at) else {
            return;
        };
        request.status = Some(status);
        let request = request.clone();
        self.watch(|| {
            let mut line = json!(request);
            line["kind"] = "request".into();
            line
        });
    }

    fn watch(&self, line: impl FnOnce() -> Value) {
        if self.watchers.receiver_count() > 0 {
            // An error only says that the last reader has just left.
            let _ = self.watchers.send(line().to_string().into());
        }
    }

    /// The open socket of an instance: the ready one, else the newest.
    pub(crate) fn link_of(&self, instance_id: &str) -> Option<&Link> {
        self.links
            .values()
            .filter(|link| link.instance_id == instance_id)
            .max_by_key(|link| (link.ready, link.key))
    }

    /// The welcomed socket of an instance.
    pub(crate) fn ready_link(&self, instance_id: &str) -> Option<&Link> {
        self.link_of(instance_id).filter(|link| link.ready)
    }

    /// Queues a text for a socket and records it as sent.
    pub(crate) fn send_text(&mut self, link: &Link, text: String) {
        self.record_frame(link, Direction::ToAgent, FrameKind::Text, &text);
        // An error means that the socket's task has ended; its end is recorded by itself.
        let _ = link.commands.send(Command::Text(text));
    }

    /// Takes a socket out, so that nothing is sent to it any more.
    pub(crate) fn unlink(&mut self, key: u64) -> Option<Link> {
        let link = self.links.remove(&key)?;
        for dispatch in self.open.values_mut() {
            if dispatch.sent_on == Some(key) {
                dispatch.sent_on = None;
            }
        }
        self.recount(&link.instance_id);
        Some(link)
    }

    /// Brings the record of an instance in line with its sockets.
    pub(crate) fn recount(&mut self, instance_id: &str) {
        let of_instance = |link: &&Link| link.instance_id == instance_id;
        let open = self.links.values().filter(of_instance).count();
        let ready = self
            .links
            .values()
            .filter(of_instance)
            .any(|link| link.ready);
        if let Some(agent) = self.agents.get_mut(instance_id) {
            agent.open_sockets = open as u64;
            agent.ready = ready;
        }
    }
}

/// What a condition of [`Gateway::wait_until`](crate::Gateway::wait_until) sees: everything at one moment.
pub struct Snapshot<'a> {
    pub(crate) state: &'a State,
}

impl Snapshot<'_> {
    /// All instances that ever registered.
    pub fn agents(&self) -> impl Iterator<Item = &AgentRecord> {
        self.state.agents.values()
    }

    /// One instance.
    pub fn agent(&self, instance_id: &str) -> Option<&AgentRecord> {
        self.state.agents.get(instance_id)
    }

    /// Whether the instance has a welcomed socket.
    pub fn is_ready(&self, instance_id: &str) -> bool {
        self.agent(instance_id).is_some_and(|agent| agent.ready)
    }

    /// The requests so far.
    pub fn requests(&self) -> &[RequestRecord] {
        &self.state.requests
    }

    /// The sessions so far.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionRecord> {
        self.state.sessions.values()
    }

    /// The frames of one instance, oldest first.
    pub fn frames(&self, instance_id: &str) -> impl Iterator<Item = &FrameRecord> {
        self.state
            .frames
            .iter()
            .filter(move |frame| frame.instance_id == instance_id)
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// What agents did against the protocol.
    pub fn violations(&self) -> &[String] {
        &self.state.violations
    }

    /// Since the gateway's start.
    pub fn elapsed(&self) -> Duration {
        self.state.started.elapsed()
    }
}
