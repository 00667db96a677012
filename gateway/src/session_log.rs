//! The sessions that are kept: all active ones, and the newest completed ones.

use std::collections::{BTreeMap, VecDeque};

use crate::records::SessionRecord;

pub(crate) struct SessionLog {
    limit: usize,
    sessions: BTreeMap<String, SessionRecord>,
    /// The ids of completed sessions in the order of their end.
    completed: VecDeque<String>,
}

impl SessionLog {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            sessions: BTreeMap::new(),
            completed: VecDeque::new(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &SessionRecord> {
        self.sessions.values()
    }

    pub(crate) fn open(&mut self, session: SessionRecord) {
        let id = session.session_id.clone();
        // Only an id that its caller chose comes again after its end.
        if self.sessions.insert(id.clone(), session).is_some() {
            self.completed.retain(|completed| *completed != id);
        }
    }

    /// Completes a session, again or for the first time; false if it is not known.
    pub(crate) fn complete(&mut self, session_id: &str) -> bool {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return false;
        };
        if session.status != "completed" {
            "completed".clone_into(&mut session.status);
            self.completed.push_back(session_id.to_owned());
            while self.completed.len() > self.limit {
                if let Some(oldest) = self.completed.pop_front() {
                    self.sessions.remove(&oldest);
                }
            }
        }
        true
    }
}
