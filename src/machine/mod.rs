//! One connector's brain: every decision, and nothing else.
//!
//! The machine owns no socket, clock or source of randomness. Time comes in with every call, randomness is
//! seeded at birth, and what it wants done it says as [`Action`]s. So the same inputs give the same
//! behaviour, and a simulation can drive it through years in seconds.
//!
//! # Calling order
//!
//! Methods fall into four kinds:
//!
//! * **getters** answer from what is known and change nothing;
//! * **commands** (`connect`, `refresh_token`, `answer`, …) are what the application asks for;
//! * **`handle_*`** tell the machine what the network did;
//! * **`poll_*`** ask what is to be done: after any call of the two kinds above, call [`Machine::poll_action`]
//!   until it returns `None`, carry the actions out in that order, then ask [`Machine::poll_timeout`] when to
//!   call [`Machine::handle_timeout`].
//!
//! `now` must never go back. Anything that names a connection or a request which is no longer the current one
//! is counted and ignored, so the driver may report late.

pub mod action;
mod admission;
mod answered;
mod answers;
pub mod backoff;
mod cancel;
mod commands;
mod counters;
mod drain;
pub mod event;
mod failure;
mod fence;
mod health;
pub mod hosted;
mod inbound;
mod inbox;
mod link;
mod link_end;
mod liveness;
mod operations;
mod outage;
#[doc(hidden)]
pub mod outbox;
mod own_requests;
mod pick_up;
mod poison;
mod probe;
#[doc(hidden)]
pub mod protections;
mod queue;
mod redaction;
mod replies;
mod sessions;
mod setback;
mod settings;
pub mod snapshot;
pub mod time;
mod timeout;
mod token;
mod token_source;
mod told;
mod transitions;
mod transport;
pub mod watch;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use http::HeaderMap;
use url::Url;

use action::{Action, ConnectionNo, OperationId, Request, RequestId};
use backoff::{AuthBackoff, Backoff};
use counters::Counters;
use event::{Event, EventKind};
use failure::Failure;
pub use failure::Step;
use fence::FenceWatch;
use hosted::AuthRefusals;
use inbox::Inbox;
use liveness::Liveness;
use operations::Operations;
use outage::Outage;
use outbox::Outbox;
use pick_up::PickUp;
use queue::Queue;
use sessions::Sessions;
pub use settings::Settings;
pub use snapshot::State;
use time::{Now, TimerTable};
use token::Auth;
use told::Told;
pub use transitions::{LinkState, TABLE, Transition};
use transport::Goodbye;

use crate::agent::Agent;
use crate::config::{Credentials, DeploymentMode};
use crate::protocol::frame::FrameText;
use crate::protocol::frame_writer::{FrameWriter, Stamp};
use crate::protocol::request::RequestWriter;
use crate::rare::{Rare, at_rest};
use crate::replay::ReplayTable;

/// What the caller wants; where the link is, is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Desired {
    Stopped,
    Running,
    /// No new work; closed when the running work is done, at this time at the latest.
    Draining(Duration),
}

/// What the mesh knows of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registration {
    Absent,
    /// One was sent, and nobody knows whether the mesh has taken it: announced anew, and undone by the farewell.
    Unsure,
    /// The mesh has said that it does not know the instance any more.
    Forgotten,
    /// Current, or older than the capability list.
    Known {
        revision: u64,
    },
}

impl Registration {
    /// Whether the mesh has ever said that it took one.
    fn was_accepted(self) -> bool {
        !matches!(self, Self::Absent | Self::Unsure)
    }
}

/// What belongs to one socket and is dropped with it.
struct Connection {
    no: ConnectionNo,
    opened_at: Duration,
    /// Of the token that it was dialed with.
    token_generation: u64,
    /// How long the welcome may take: its own limit, or what the dial left of the attempt's.
    welcome_limit: Duration,
    liveness: Liveness,
    fence: FenceWatch,
    /// Dispatches that came before the welcome; every frame on a transport.
    early: Vec<FrameText>,
    early_bytes: usize,
}

/// What an HTTP request in progress is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Token,
    /// The registration on the way to a connection, with the revision that it announces.
    Register(u64),
    /// The same while the link is up.
    ReRegister(u64),
    Deregister,
    /// A heartbeat over HTTP, with the generation of the token that it shows.
    Heartbeat(u64),
    /// A heartbeat that asks whether the mesh still knows the instance, before it is registered again.
    Inquiry,
    Session(OperationId),
    /// What the application asks the mesh by itself.
    OwnRequest(OperationId),
}

impl Purpose {
    fn is_registration(&self) -> bool {
        matches!(self, Self::Register(_) | Self::ReRegister(_))
    }

    fn is_heartbeat(&self) -> bool {
        matches!(self, Self::Heartbeat(_))
    }
}

// Only who answers dispatches writes any.
at_rest!(FrameWriter, RequestWriter);

/// See the [module documentation](self).
pub struct Machine {
    settings: Settings,
    agent: Agent,
    /// Grows with every capability; what was registered at an older one is dirty.
    revision: u64,
    desired: Desired,
    link: LinkState,
    auth: Auth,
    registration: Registration,
    connect_url: Option<Url>,
    connection: Option<Connection>,
    /// How our side of the link is closed.
    goodbye: Rare<Goodbye>,
    next_connection: ConnectionNo,
    inbox: Inbox,
    frame_writer: Rare<FrameWriter>,
    request_writer: Rare<RequestWriter>,
    queue: Queue,
    /// The dispatches whose tokens were accepted.
    replay: Rare<ReplayTable>,
    auth_refusals: Rare<AuthRefusals>,
    /// Whether the log has been told that nothing is verified.
    told_unguarded: bool,
    /// The tenant that the instance belongs to, when the mesh has said so.
    tenant: Option<String>,
    pick_up: PickUp,
    outbox: Outbox,
    operations: Operations,
    requests: HashMap<RequestId, Purpose>,
    next_request: RequestId,
    backoff: Backoff,
    auth_backoff: AuthBackoff,
    /// Failures in a row on the current `connect_url`.
    dial_failures: u32,
    wrong_subprotocols: u32,
    /// Since when every answer has been a refusal without a code of the mesh's.
    noise_since: Option<Duration>,
    /// Told once each: causes of TLS failures since the last link, and frames that mean nothing to us.
    told: Rare<Told>,
    outage: Outage,
    sessions: Rare<Sessions>,
    /// Times of protocol closes since the link was last stable.
    protocol_closes: Vec<Duration>,
    superseded_at: Option<Duration>,
    /// On the clock that counts sleep, in which the mesh may have forgotten us.
    registered_at: Option<Duration>,
    /// Whether the link has ever been up: the first connect fails where later ones go on.
    was_ready: bool,
    last_failure: Option<Box<Failure>>,
    last_status: &'static str,
    last_heartbeat: Option<Duration>,
    /// How long the machine has been suspended in all.
    slept: Duration,
    /// When a back-off was last cut short, on the clock that counts sleep.
    wait_cut_at: Option<Duration>,
    timers: TimerTable,
    rng: Rng,
    actions: VecDeque<Action>,
    counters: Counters,
}

impl Machine {
    /// A machine at rest. `seed` decides every random choice.
    pub fn new(settings: Settings, agent: Agent, credentials: Credentials, seed: u64) -> Self {
        let outbox = Outbox::new(settings.protections);
        Self {
            backoff: Backoff::new(
                settings.reconnect_delays.clone(),
                settings.protections.jitter,
            ),
            auth: Auth::new(credentials),
            connect_url: settings
                .transport
                .as_ref()
                .map(|transport| transport.connect_url.clone()),
            settings,
            agent,
            revision: 0,
            desired: Desired::Stopped,
            link: LinkState::Idle,
            registration: Registration::Absent,
            connection: None,
            goodbye: Rare::default(),
            next_connection: 1,
            // Not of the source of the delays, whose numbers a simulation may know.
            inbox: Inbox::new(&mut Rng::with_seed(!seed)),
            frame_writer: Rare::default(),
            request_writer: Rare::default(),
            outbox,
            queue: Queue::default(),
            replay: Rare::default(),
            auth_refusals: Rare::default(),
            told_unguarded: false,
            tenant: None,
            pick_up: PickUp::default(),
            operations: Operations::default(),
            requests: HashMap::new(),
            next_request: 1,
            auth_backoff: AuthBackoff::default(),
            dial_failures: 0,
            wrong_subprotocols: 0,
            noise_since: None,
            told: Rare::default(),
            outage: Outage::default(),
            sessions: Rare::default(),
            protocol_closes: Vec::new(),
            superseded_at: None,
            registered_at: None,
            was_ready: false,
            last_failure: None,
            last_status: "unknown",
            last_heartbeat: None,
            slept: Duration::ZERO,
            wait_cut_at: None,
            timers: TimerTable::default(),
            rng: Rng::with_seed(seed),
            actions: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    // ---- poll ----

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Gives back the room of what has been done: machines at rest are many.
    pub fn give_back_room(&mut self) {
        if self.actions.is_empty() {
            self.actions = VecDeque::new();
        }
    }

    /// The next thing to do, if that is to write a frame of at most so many bytes to this connection.
    pub fn poll_write(&mut self, conn: ConnectionNo, most: usize) -> Option<Action> {
        let fits = match self.actions.front()? {
            Action::Send(no, text) => *no == conn && text.len() <= most,
            Action::Ping(no, _) => *no == conn,
            _ => false,
        };
        fits.then(|| self.actions.pop_front()).flatten()
    }

    /// Whether [`Machine::poll_action`] has something.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// When [`Machine::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    // ---- inside ----

    fn emit(&mut self, kind: EventKind, data: serde_json::Value) {
        self.actions
            .push_back(Action::Event(Event::new(kind, data)));
    }

    fn log(&mut self, level: &'static str, message: String) {
        self.actions
            .push_back(Action::Event(Event::log(level, "svantic", message)));
    }

    /// Takes a transition. Every change of `link` goes through here.
    fn go(&mut self, transition: Transition, to: LinkState) {
        let from = self.link;
        if !transition.allows(from, to) {
            debug_assert!(
                false,
                "{transition:?} does not lead from {from:?} to {to:?}"
            );
            self.counters.unknown_transitions += 1;
        }
        self.counters.taken(transition);
        let previous = self.state();
        self.link = to;
        self.announce_link(previous, from);
    }

    /// A fresh frame id and the time of day.
    fn stamp(&mut self, now: Now) -> Stamp {
        let mut random = [0; 10];
        self.rng.fill(&mut random);
        Stamp {
            id: uuid::Builder::from_unix_timestamp_millis(now.unix_ms, &random).into_uuid(),
            unix_ms: now.unix_ms,
        }
    }

    fn hosted(&self) -> bool {
        self.agent.mode() == DeploymentMode::Hosted
    }

    fn draining(&self) -> bool {
        matches!(self.desired, Desired::Draining(_)) || self.link == LinkState::Closing
    }

    /// The connection that answers can be written to.
    fn ready_connection(&self) -> Option<ConnectionNo> {
        let ready = matches!(self.link, LinkState::Ready | LinkState::Suspect);
        self.connection.as_ref().filter(|_| ready).map(|c| c.no)
    }

    /// Whether `conn` is the current connection; what comes from another is late.
    fn is_current(&mut self, conn: ConnectionNo) -> bool {
        let current = self.connection.as_ref().is_some_and(|c| c.no == conn);
        if !current {
            self.counters.stale_inputs += 1;
        }
        current
    }

    /// Sends a request to the mesh.
    fn request(&mut self, purpose: Purpose, path: &'static str, body: String, timeout: Duration) {
        self.request_with(purpose, path.into(), HeaderMap::new(), body, timeout);
    }

    fn request_with(
        &mut self,
        purpose: Purpose,
        path: Cow<'static, str>,
        headers: HeaderMap,
        body: String,
        timeout: Duration,
    ) {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, purpose);
        let bearer = match purpose {
            Purpose::Token => None,
            _ => self.auth.bearer(),
        };
        self.actions.push_back(Action::Request(Box::new(Request {
            id,
            path,
            headers,
            bearer,
            body: body.into(),
            timeout,
        })));
    }

    fn target(&self, path: &str) -> String {
        format!("POST {}", self.settings.policy.base.endpoint(path))
    }

    /// What was being done, for an error about a deadline.
    fn current_step(&self) -> String {
        let (step, target) = match self.link {
            LinkState::Authenticating => (Step::Token, self.target("/auth/get_token")),
            LinkState::Registering => (Step::Register, self.target("/agents/register")),
            LinkState::Dialing => (Step::Dial, self.dial_target()),
            LinkState::Handshaking => (Step::Welcome, self.dial_target()),
            other => return format!("the link was {}", other.name()),
        };
        format!("no answer while {} at {target}", step.doing())
    }

    fn dial_target(&self) -> String {
        // The query may hold anything that the registration reply put there; it is not for logs.
        match &self.connect_url {
            Some(url) => {
                let mut shown = url.clone();
                shown.set_query(None);
                self.auth.redact(shown.as_str())
            }
            None => "the mesh".to_owned(),
        }
    }
}
