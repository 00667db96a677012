//! All that the gateway knows, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, mpsc};

use crate::{
    assumptions::DuplicateSocket,
    connection::Command,
    frame_log::FrameLog,
    hosted::{posting::Post, routing::Desk},
    ledger::LedgerKeeper,
    options::Options,
    recent::Recent,
    records::{AgentRecord, Direction, FrameKind, FrameRecord, RequestRecord},
    redact,
    request_log::RequestLog,
    routing::OpenDispatch,
    script::{Event, Running},
    session_log::SessionLog,
    totals::Totals,
};

/// How far a reader of `watch` may fall behind before it loses lines.
const WATCH_BACKLOG: usize = 4_096;
/// How many violations are kept: the first ones explain the rest.
const VIOLATION_LIMIT: usize = 10_000;
/// How many frame ids stay known for each kept dispatch: its answer, a repetition, and heartbeats.
const FRAME_IDS_PER_ENTRY: usize = 4;

/// One open socket, from the 101 on.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) key: u64,
    pub(crate) instance_id: String,
    /// Which connection of its instance, from 1.
    pub(crate) connection: u64,
    /// Welcomed, and not being closed by us.
    pub(crate) ready: bool,
    pub(crate) welcomed: bool,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) abort: Arc<Notify>,
}

/// What is known of an instance beside its record.
#[derive(Default)]
pub(crate) struct Presence {
    /// The keys of its sockets, oldest first.
    pub(crate) links: Vec<u64>,
    /// When its last welcomed socket ended.
    pub(crate) left_at: Option<Instant>,
    /// Id and text of the last dispatch that was sent to it.
    pub(crate) last_dispatch: Option<(String, Arc<str>)>,
    /// The last POST to it.
    pub(crate) last_post: Option<Post>,
}

pub(crate) struct State {
    pub(crate) started: Instant,
    pub(crate) agents: BTreeMap<String, AgentRecord>,
    pub(crate) links: BTreeMap<u64, Link>,
    pub(crate) presence: HashMap<String, Presence>,
    pub(crate) sessions: SessionLog,
    pub(crate) requests: RequestLog,
    pub(crate) frames: FrameLog,
    pub(crate) ledger: LedgerKeeper,
    pub(crate) totals: Totals,
    pub(crate) violations: Vec<String>,
    /// Dispatches without an answer, in the order they were asked for.
    pub(crate) open: BTreeMap<u64, OpenDispatch>,
    pub(crate) open_by_id: HashMap<String, u64>,
    pub(crate) expiries: BTreeSet<(Instant, u64)>,
    /// Who got the last dispatch that was for anybody.
    pub(crate) last_in_turn: String,
    pub(crate) last_key: u64,
    /// The frame ids that came lately, with a hash of the text.
    pub(crate) seen_frames: Recent<u64>,
    pub(crate) resend_unanswered: bool,
    pub(crate) drops_late_results: bool,
    pub(crate) duplicate_socket: DuplicateSocket,
    pub(crate) resumed_window: Option<Duration>,
    pub(crate) script: Running,
    pub(crate) hosted: Desk,
    pub(crate) stopped: bool,
    pub(crate) watchers: broadcast::Sender<Arc<str>>,
}

impl State {
    pub(crate) fn new(options: &Options, hosted: Desk) -> Self {
        let text_limit = options.text_limit_bytes;
        Self {
            started: Instant::now(),
            agents: BTreeMap::new(),
            links: BTreeMap::new(),
            presence: HashMap::new(),
            sessions: SessionLog::new(options.session_limit),
            requests: RequestLog::new(options.request_limit),
            frames: FrameLog::new(options.frame_log_limit, text_limit),
            ledger: LedgerKeeper::new(options.ledger_limit, text_limit),
            totals: Totals::default(),
            violations: Vec::new(),
            open: BTreeMap::new(),
            open_by_id: HashMap::new(),
            expiries: BTreeSet::new(),
            last_in_turn: String::new(),
            last_key: 0,
            seen_frames: Recent::new(options.ledger_limit.saturating_mul(FRAME_IDS_PER_ENTRY)),
            resend_unanswered: options.resend_unanswered,
            drops_late_results: options.drops_late_results,
            duplicate_socket: options.duplicate_socket,
            resumed_window: options.resumed_window,
            script: Running::default(),
            hosted,
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
        self.totals.violations += 1;
        if self.violations.len() < VIOLATION_LIMIT {
            self.violations.push(line);
        }
    }

    pub(crate) fn record_frame(
        &mut self,
        link: &Link,
        direction: Direction,
        kind: FrameKind,
        text: &str,
    ) {
        self.keep_frame(FrameRecord {
            instance_id: link.instance_id.clone(),
            connection: link.connection,
            direction,
            kind,
            text: text.to_owned(),
            at: self.started.elapsed(),
        });
    }

    pub(crate) fn keep_frame(&mut self, frame: FrameRecord) {
        self.watch(|| frame.shown());
        self.frames.push(frame);
    }

    pub(crate) fn record_request(&mut self, mut request: RequestRecord) -> u64 {
        request.at = self.started.elapsed();
        self.totals.requests += 1;
        self.requests.push(request)
    }

    pub(crate) fn record_status(&mut self, seq: u64, status: u16) {
        let Some(request) = self.requests.get_mut(seq) else {
            return;
        };
        request.status = Some(status);
        if self.watchers.receiver_count() == 0 {
            return;
        }
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

    /// The sockets of an instance, oldest first.
    pub(crate) fn links_of(&self, instance_id: &str) -> impl DoubleEndedIterator<Item = &Link> {
        let keys = self.presence.get(instance_id).map(|p| p.links.as_slice());
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.links.get(key))
    }

    /// The open socket of an instance: the ready one, else the newest.
    pub(crate) fn link_of(&self, instance_id: &str) -> Option<&Link> {
        self.links_of(instance_id)
            .max_by_key(|link| (link.ready, link.key))
    }

    /// The welcomed socket of an instance.
    pub(crate) fn ready_link(&self, instance_id: &str) -> Option<&Link> {
        self.link_of(instance_id).filter(|link| link.ready)
    }

    pub(crate) fn presence_mut(&mut self, instance_id: &str) -> &mut Presence {
        self.presence.entry(instance_id.to_owned()).or_default()
    }

    /// Queues a text for a socket and records it as sent.
    pub(crate) fn send_text(&mut self, link: &Link, text: String) {
        self.record_frame(link, Direction::ToAgent, FrameKind::Text, &text);
        // An error means that the socket's task has ended; its end is recorded by itself.
        let _ = link.commands.send(Command::Text(text));
    }

    /// Enters a socket.
    pub(crate) fn link(&mut self, link: Link) {
        let instance_id = link.instance_id.clone();
        self.presence_mut(&instance_id).links.push(link.key);
        self.links.insert(link.key, link);
        self.recount(&instance_id);
    }

    /// Takes a socket out, so that nothing is sent to it any more.
    pub(crate) fn unlink(&mut self, key: u64) -> Option<Link> {
        let link = self.links.remove(&key)?;
        let presence = self.presence_mut(&link.instance_id);
        presence.links.retain(|other| *other != key);
        if link.welcomed {
            presence.left_at = Some(Instant::now());
        }
        self.forget_sendings(key);
        self.recount(&link.instance_id);
        self.happened(Event::Disconnect, Some(&link.instance_id));
        Some(link)
    }

    /// What was sent on this socket may be sent on another one.
    pub(crate) fn forget_sendings(&mut self, key: u64) {
        for dispatch in self.open.values_mut() {
            if dispatch.sent_on == Some(key) {
                dispatch.sent_on = None;
            }
        }
    }

    /// Brings the record of an instance in line with its sockets, or with what a hosted one says of itself.
    pub(crate) fn recount(&mut self, instance_id: &str) {
        let open = self.links_of(instance_id).count();
        let ready = self.links_of(instance_id).any(|link| link.ready);
        if let Some(agent) = self.agents.get_mut(instance_id) {
            agent.open_sockets = open as u64;
            agent.ready = ready || agent.takes_posts();
        }
    }
}
