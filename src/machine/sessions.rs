//! The sessions that were opened and not closed: when the mesh forgets the instance, they are gone with it, and
//! whoever uses them must hear of it.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::Machine;
use super::event::EventKind;
use crate::rare::at_rest;

/// An application that never closes its sessions does not make us grow for ever; the oldest go first.
const REMEMBERED: usize = 10_000;

/// The open sessions, in the order in which they were opened.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_age: BTreeMap<u64, String>,
    age_of: HashMap<String, u64>,
    opened: u64,
}

at_rest!(Sessions);

impl Sessions {
    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    pub(super) fn opened(&mut self, id: &str) {
        if self.age_of.contains_key(id) {
            return;
        }
        self.opened += 1;
        self.age_of.insert(id.to_owned(), self.opened);
        self.by_age.insert(self.opened, id.to_owned());
        if self.by_age.len() > REMEMBERED
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.age_of.remove(&oldest);
        }
    }

    pub(super) fn closed(&mut self, id: &str) {
        if let Some(age) = self.age_of.remove(id) {
            self.by_age.remove(&age);
        }
    }

    /// All of them, which are open no more.
    fn take(&mut self) -> impl Iterator<Item = String> + use<> {
        self.age_of.clear();
        std::mem::take(&mut self.by_age).into_values()
    }
}

impl Machine {
    pub(super) fn session_closed(&mut self, id: Option<&str>) {
        if let Some(sessions) = self.sessions.touched() {
            sessions.closed(id.unwrap_or_default());
        }
    }

    /// The mesh has lost the instance, and every session with it.
    pub(super) fn forget_instance(&mut self) {
        self.registration = super::Registration::Forgotten;
        self.emit(EventKind::InstanceForgotten, json!({}));
        let open = self.sessions.touched().map(Sessions::take);
        for id in open.into_iter().flatten() {
            self.emit(
                EventKind::SessionClosed,
                json!({"session_id": id, "reason": "instance_forgotten"}),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_a_closed_one_at_once() {
        let mut sessions = Sessions::default();
        for n in 0..=REMEMBERED {
            sessions.opened(&format!("s{n}"));
            sessions.opened("s1");
        }
        sessions.closed("s2");
        sessions.closed("unknown");
        let left: Vec<_> = sessions.take().collect();
        assert_eq!(left.len(), REMEMBERED - 1);
        assert_eq!(left[..2], ["s1", "s3"]);
        assert!(sessions.is_empty() && sessions.age_of.is_empty());
    }
}
