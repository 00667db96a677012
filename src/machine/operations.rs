//! What somebody waits for: every operation has a deadline and ends exactly once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::action::OperationId;
use super::own_requests::Attempts;
use crate::own_request::OwnRequest;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    RefreshToken,
    /// Done when a registration of this revision or a later one stands.
    ReRegister(u64),
    CreateSession {
        body: String,
    },
    CloseSession {
        session_id: String,
        body: String,
    },
    OwnRequest(Arc<OwnRequest>),
}

impl Kind {
    pub(super) fn close_session(session_id: &str) -> Self {
        Self::CloseSession {
            session_id: session_id.to_owned(),
            body: json!({"session_id": session_id}).to_string(),
        }
    }

    /// The name of the operation, as the platform's SDK has it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::RefreshToken => "refresh_token",
            Self::ReRegister(_) => "re_register",
            Self::CreateSession { .. } => "create_session",
            Self::CloseSession { .. } => "close_session",
            Self::OwnRequest(_) => "request",
        }
    }
}

/// One operation in progress.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) timeout: Duration,
    /// `None` for a disconnect, which ends by the timers of its own steps.
    pub(super) deadline: Option<Duration>,
    /// Whether its request waits for a token.
    pub(super) wants_token: bool,
    /// Whether it has been repeated with a fresh token after a 401.
    pub(super) retried: bool,
    /// Whether it goes on in the background: whoever waited for it has been told that it was cancelled.
    pub(super) abandoned: bool,
    /// How often it has failed, and when it is tried again. Only requests of the application's own are.
    pub(super) attempts: Option<Attempts>,
}

impl Operation {
    /// When it is tried again, if it waits for that.
    pub(super) fn again_at(&self) -> Option<Duration> {
        self.attempts.as_ref().and_then(|attempts| attempts.at)
    }
}

/// The operations in progress, in the order in which they began, which is that of their ids. They are few as a rule, and
/// a node of a tree has room for eleven.
#[derive(Debug, Default)]
pub(super) struct Operations(Vec<(OperationId, Box<Operation>)>);

impl Operations {
    pub(super) fn insert(&mut self, id: OperationId, kind: Kind, now: Duration, timeout: Duration) {
        let deadline = (kind != Kind::Disconnect).then_some(now + timeout);
        let operation = Operation {
            kind,
            timeout,
            deadline,
            wants_token: false,
            retried: false,
            abandoned: false,
            attempts: None,
        };
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < id), "ids grow");
        self.0.push((id, Box::new(operation)));
    }

    pub(super) fn get(&self, id: OperationId) -> Option<&Operation> {
        let place = self.place_of(id)?;
        Some(&self.0[place].1)
    }

    pub(super) fn get_mut(&mut self, id: OperationId) -> Option<&mut Operation> {
        let place = self.place_of(id)?;
        Some(&mut self.0[place].1)
    }

    pub(super) fn remove(&mut self, id: OperationId) -> Option<Operation> {
        let place = self.place_of(id)?;
        let (_, operation) = self.0.remove(place);
        if self.0.is_empty() {
            // Most connectors only ever have one: to connect.
            self.0 = Vec::new();
        }
        Some(*operation)
    }

    fn place_of(&self, id: OperationId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    /// The ids of those that `wanted` picks.
    pub(super) fn ids(&self, wanted: impl Fn(&Operation) -> bool) -> Vec<OperationId> {
        self.0
            .iter()
            .filter(|(_, operation)| wanted(operation))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn connect(&self) -> Option<(OperationId, &Operation)> {
        self.0
            .iter()
            .find(|(_, operation)| operation.kind == Kind::Connect)
            .map(|(id, operation)| (*id, &**operation))
    }

    /// When one of them is overdue, or to be tried again.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.0
            .iter()
            .flat_map(|(_, operation)| [operation.deadline, operation.again_at()])
            .flatten()
            .min()
    }
}
