//! Dispatches that came by POST, and the calls that wait for their answers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ring::digest;

use crate::machine::action::{CallId, DispatchId};
use crate::protocol::a2a::ReplyTo;
use crate::protocol::hex::hex;
use crate::protocol::limits::MAX_ID_BYTES;
use crate::rare::at_rest;
use crate::replay::DispatchKey;

/// What tells the body of a dispatch from another: the same for a retry that was signed anew.
pub type Fingerprint = [u8; 32];

/// How many calls may wait for the answer to one dispatch.
const MAX_WAITERS: usize = 256;

/// A call that waits for an answer.
pub(in crate::machine) struct Waiter {
    pub(in crate::machine) call: CallId,
    pub(in crate::machine) to: ReplyTo,
    /// Whether its stream has begun, so that nothing but events can follow.
    pub(in crate::machine) begun: bool,
}

/// A dispatch that came by POST.
pub(in crate::machine) struct Entry {
    /// The id by which the caller knows it.
    pub(in crate::machine) wire_id: Arc<str>,
    pub(in crate::machine) tenant: Option<String>,
    /// `None` where only the connection has said what it is.
    fingerprint: Option<Fingerprint>,
    /// Whether the same has come over the connection, where its answer then goes too.
    by_link: bool,
    /// Under what it is remembered as accepted.
    pub(in crate::machine) replay: Option<DispatchKey>,
    waiters: Vec<Waiter>,
}

impl Entry {
    pub(in crate::machine) fn new(
        wire_id: Arc<str>,
        tenant: Option<String>,
        fingerprint: Option<Fingerprint>,
        replay: Option<DispatchKey>,
    ) -> Self {
        Self {
            wire_id,
            tenant,
            fingerprint,
            by_link: false,
            replay,
            waiters: Vec::new(),
        }
    }

    /// One that came over the connection, and whose answer somebody else waits for as well.
    fn by_link(wire_id: Arc<str>) -> Self {
        Self {
            by_link: true,
            ..Self::new(wire_id, None, None, None)
        }
    }

    /// Whether it is the same dispatch, and not another of the same id.
    pub(in crate::machine) fn is(&self, tenant: Option<&str>, fingerprint: &Fingerprint) -> bool {
        match &self.fingerprint {
            None => true,
            Some(ours) => self.tenant.as_deref() == tenant && ours == fingerprint,
        }
    }
}

/// Kept for as long as the ids are known. What came over the connection alone is not in here.
#[derive(Default)]
pub(in crate::machine) struct Posted {
    entries: HashMap<DispatchId, Entry>,
    calls: BTreeMap<CallId, DispatchId>,
}

at_rest!(Posted);

impl Posted {
    pub(in crate::machine) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(in crate::machine) fn enter(&mut self, id: DispatchId, entry: Entry) {
        self.entries.insert(id, entry);
    }

    /// The id of a dispatch where another tenant has one of the same id. It depends on nothing else, so that a retry
    /// finds it.
    pub(in crate::machine) fn apart(wire_id: &str, tenant: Option<&str>) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&(wire_id.len() as u64).to_le_bytes());
        context.update(wire_id.as_bytes());
        // No tenant is none of them.
        context.update(&[u8::from(tenant.is_some())]);
        context.update(tenant.unwrap_or_default().as_bytes());
        let mut apart = hex(&context.finish().as_ref()[..16]);
        if wire_id.len() < MAX_ID_BYTES - apart.len() {
            apart.insert(0, '~');
            apart.insert_str(0, wire_id);
        }
        apart
    }

    /// The id by which only this very dispatch is known, once nothing but its id is.
    pub(in crate::machine) fn unmistakable<'a>(&self, id: &'a str) -> Cow<'a, str> {
        match self.entries.get(id) {
            Some(entry) if *entry.wire_id == *id && entry.tenant.is_some() => {
                Self::apart(id, entry.tenant.as_deref()).into()
            }
            _ => id.into(),
        }
    }

    /// Whether the id is that of another tenant's dispatch. One that came over the connection is nobody else's.
    pub(in crate::machine) fn is_foreign(&self, id: &str, tenant: Option<&str>) -> bool {
        let entry = self.entries.get(id);
        entry.is_some_and(|entry| entry.fingerprint.is_some() && entry.tenant.as_deref() != tenant)
    }

    /// Whether an answer goes to the connection.
    pub(in crate::machine) fn came_by_link(&self, id: &str) -> bool {
        self.entries.get(id).is_none_or(|entry| entry.by_link)
    }

    /// The same dispatch has come over the connection.
    pub(in crate::machine) fn asked_by_link(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.by_link = true;
        }
    }

    /// Makes a call wait. `Err` gives it back if too many wait already.
    pub(in crate::machine) fn wait(
        &mut self,
        id: &DispatchId,
        wire_id: &Arc<str>,
        waiter: Waiter,
    ) -> Result<(), Waiter> {
        // A dispatch that came over the connection has its entry from the first call on.
        let entry = self
            .entries
            .entry(Arc::clone(id))
            .or_insert_with(|| Entry::by_link(Arc::clone(wire_id)));
        if entry.waiters.len() >= MAX_WAITERS {
            return Err(waiter);
        }
        self.calls.insert(waiter.call, Arc::clone(id));
        entry.waiters.push(waiter);
        Ok(())
    }

    /// The stream of a call that still waits begins, if it asks for one; whether it does.
    pub(in crate::machine) fn begin(&mut self, call: CallId) -> bool {
        let waiter = self.waiter(call);
        waiter.is_some_and(|waiter| {
            waiter.to.streaming && !std::mem::replace(&mut waiter.begun, true)
        })
    }

    fn waiter(&mut self, call: CallId) -> Option<&mut Waiter> {
        let entry = self.entries.get_mut(self.calls.get(&call)?)?;
        entry.waiters.iter_mut().find(|waiter| waiter.call == call)
    }

    /// The calls whose streams have begun.
    pub(in crate::machine) fn streams(&self) -> impl Iterator<Item = CallId> {
        self.calls.iter().filter_map(|(call, id)| {
            let waiters = &self.entries.get(id)?.waiters;
            let begun = waiters.iter().any(|w| w.call == *call && w.begun);
            begun.then_some(*call)
        })
    }

    /// Nobody waits for this call any more; whether anybody did.
    pub(in crate::machine) fn cancel(&mut self, call: CallId) -> bool {
        let Some(id) = self.calls.remove(&call) else {
            return false;
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.waiters.retain(|waiter| waiter.call != call);
        }
        true
    }

    /// Everybody who waits for this dispatch, and its id as they know it.
    pub(in crate::machine) fn take_waiters(&mut self, id: &str) -> Option<(Arc<str>, Vec<Waiter>)> {
        let entry = self.entries.get_mut(id)?;
        let waiters = std::mem::take(&mut entry.waiters);
        for waiter in &waiters {
            self.calls.remove(&waiter.call);
        }
        Some((Arc::clone(&entry.wire_id), waiters))
    }

    /// Every dispatch that somebody waits for, in the order of the calls.
    pub(in crate::machine) fn awaited(&self) -> Vec<DispatchId> {
        let mut ids: Vec<_> = self.calls.values().cloned().collect();
        ids.dedup();
        ids
    }

    pub(in crate::machine) fn forget(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// How many calls wait.
    pub(in crate::machine) fn waiting(&self) -> usize {
        self.calls.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_apart_are_usable_and_differ_by_id_and_tenant() {
        let long = "x".repeat(MAX_ID_BYTES);
        let ids = [
            Posted::apart("d", Some("a")),
            Posted::apart("d", Some("b")),
            Posted::apart("d", Some("")),
            Posted::apart("d", None),
            Posted::apart("da", Some("")),
            Posted::apart(&long, Some("a")),
            Posted::apart(&long, Some("b")),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!((32..=MAX_ID_BYTES).contains(&id.len()), "{id}");
            assert!(!ids[..n].contains(id), "{id}");
        }
        assert!(ids[0].starts_with("d~"));
    }
}
