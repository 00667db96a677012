//! What a caller asks of an agent and what comes back (protocol.md 7).

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::hosted::{call::A2aMethod, forgery::Forgery};

/// One dispatch to be made (protocol.md 4, `dispatch`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DispatchRequest {
    /// The capability; `None` leaves the field out, which the agent must refuse.
    pub skill_id: Option<String>,
    /// The arguments; any JSON, so that bad ones can be sent too.
    pub args: Option<Value>,
    /// To whom; `None` is any ready agent in turn. Without one the dispatch waits for it until the timeout.
    pub instance_id: Option<String>,
    /// The dispatch id; made here if absent. An id used before is sent again.
    pub id: Option<String>,
    /// `session_context` of the frame.
    pub session_context: Option<Value>,
    /// `traceparent` of the frame.
    pub traceparent: Option<String>,
    /// `baggage` of the frame.
    pub baggage: Option<String>,
    /// `svantic_auth` of the frame or the call (protocol.md 8) instead of the one that the gateway makes when it has
    /// a secret for the instance.
    pub svantic_auth: Option<Value>,
    /// What is wrong with that proof. The outcome is what the forged dispatch gets; its id in the
    /// ledger is `FORGERY-id` (`forged-…` without an `id`), and `id` is the one that it bears. A replay repeats the dispatch `id`; without one, a good dispatch is
    /// made first. Replays go to hosted agents; for a connected one they are ordinary dispatches.
    pub forge: Option<Forgery>,
    /// How a hosted agent is called.
    pub method: A2aMethod,
    /// A text part of the call to a hosted agent; without anything else there is no data part.
    pub text: Option<String>,
    /// Hangs up on a hosted agent at the first sign of its reply and sends the same bytes again: what a network that
    /// fails in the worst moment does.
    pub loses_first_reply: bool,
    /// End-to-end; as JSON `timeout` in seconds. The gateway's `dispatch_timeout` if absent.
    #[serde(with = "crate::faults::seconds")]
    pub timeout: Option<Duration>,
}

impl DispatchRequest {
    /// A dispatch of `skill` with `args` to any ready agent.
    pub fn new(skill: &str, args: Value) -> Self {
        Self {
            skill_id: Some(skill.to_owned()),
            args: Some(args),
            ..Self::default()
        }
    }

    /// The same to this instance only.
    #[must_use]
    pub fn to(mut self, instance_id: &str) -> Self {
        self.instance_id = Some(instance_id.to_owned());
        self
    }

    /// The same with this end-to-end timeout.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same with this wrong about it.
    #[must_use]
    pub fn forged(mut self, forgery: Forgery) -> Self {
        self.forge = Some(forgery);
        self
    }

    /// The same as this call.
    #[must_use]
    pub fn by(mut self, method: A2aMethod) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn payload(&self) -> Value {
        let mut payload = Map::new();
        let text = |text: &Option<String>| text.clone().map(Value::String);
        for (key, value) in [
            ("skill_id", text(&self.skill_id)),
            ("args", self.args.clone()),
            ("session_context", self.session_context.clone()),
            ("traceparent", text(&self.traceparent)),
            ("baggage", text(&self.baggage)),
        ] {
            if let Some(value) = value {
                payload.insert(key.to_owned(), value);
            }
        }
        Value::Object(payload)
    }
}

/// The first answer of an agent to a dispatch (protocol.md 4).
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// `dispatch_result`.
    Result(Value),
    /// `error`.
    Error {
        /// The code, for instance `HANDLER_ERROR`.
        code: String,
        /// The message.
        message: String,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispatchError {
    /// A hosted agent could not be reached, twice; why.
    Unreachable(String),
    /// No agent became ready in time; the dispatch was never sent.
    NoAgent,
    /// It was sent, and no answer came in time.
    Timeout,
    /// The gateway was shut down.
    Stopped,
}

impl fmt::Display for DispatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable(why) => return write!(f, "the agent cannot be reached: {why}"),
            Self::NoAgent => "no agent was ready in time",
            Self::Timeout => "the agent did not answer in time",
            Self::Stopped => "the gateway was shut down",
        })
    }
}

impl std::error::Error for DispatchError {}

pub(crate) type Outcome = Result<Answer, DispatchError>;

/// Where the outcome of one dispatch is put for whoever waits for it.
#[derive(Default)]
pub(crate) struct Slot {
    outcome: Mutex<Option<Outcome>>,
    filled: Condvar,
    /// The same for tasks.
    notify: Notify,
}

impl Slot {
    pub(crate) fn fill(&self, outcome: Outcome) {
        let mut slot = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(outcome);
        }
        drop(slot);
        self.filled.notify_all();
        self.notify.notify_waiters();
    }
}

/// A dispatch that has been asked for and may not be answered yet.
#[derive(Clone)]
pub struct PendingDispatch {
    pub(crate) id: String,
    pub(crate) deadline: Instant,
    pub(crate) slot: Arc<Slot>,
}

impl PendingDispatch {
    /// The dispatch id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The outcome, if there is one already.
    pub fn poll(&self) -> Option<Result<Answer, DispatchError>> {
        let slot = self.slot.outcome.lock();
        slot.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The outcome, for tasks: comes at the latest when the dispatch has timed out or the gateway stops.
    ///
    /// Thousands of these can be awaited at once, from any runtime; none holds a thread.
    pub async fn outcome(&self) -> Result<Answer, DispatchError> {
        let mut filled = std::pin::pin!(self.slot.notify.notified());
        // Before the look, so that what is filled in after it is heard.
        filled.as_mut().enable();
        if let Some(outcome) = self.poll() {
            return outcome;
        }
        filled.await;
        self.poll().unwrap_or(Err(DispatchError::Stopped))
    }

    /// Waits for the answer, no longer than `timeout`. May be called again afterwards.
    pub fn wait(&self, timeout: Duration) -> Result<Answer, DispatchError> {
        let slot = self.slot.outcome.lock();
        let slot = slot.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .slot
            .filled
            .wait_timeout_while(slot, timeout, |outcome| outcome.is_none());
        let (slot, _) = waited.unwrap_or_else(PoisonError::into_inner);
        slot.clone().unwrap_or(Err(DispatchError::Timeout))
    }

    /// Waits as long as the dispatch itself is open.
    pub(crate) fn wait_to_the_end(&self) -> Outcome {
        // The sweep that ends an expired dispatch runs in a rhythm; this leaves it time to say why.
        let grace = Duration::from_secs(2);
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.wait(left + grace)
    }
}

impl fmt::Debug for PendingDispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingDispatch")
            .field("id", &self.id)
            .field("outcome", &self.poll())
            .finish_non_exhaustive()
    }
}
