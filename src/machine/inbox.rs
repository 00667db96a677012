//! Dispatches from receipt to answer and beyond: admission, de-duplication, deadlines
//! (`reliability.md` 6.1).
//!
//! An id is entered before its handler starts and stays known for a while after the answer, so that a
//! dispatch that arrives twice never runs twice: it is answered again with the same bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use fastrand::Rng;

use super::action::DispatchId;
use super::answered::{Answered, ByKey, Key};
use super::hosted::Posted;
use crate::agent::Capability;
use crate::protocol::frame::FrameText;
use crate::rare::Rare;

/// A dispatch without an answer.
struct Open {
    id: DispatchId,
    capability: Arc<Capability>,
    deadline: Duration,
    /// `false` while it waits for a slot, and the application has not heard of it.
    running: bool,
}

/// What is known about a dispatch id that has just arrived.
pub(super) enum Known {
    /// Never seen, or long forgotten.
    New,
    /// It waits for a slot.
    Queued,
    /// Its handler is still at work.
    Running,
    /// Answered, with these bytes while they are kept.
    Answered(Option<FrameText>),
}

/// What an answer has ended.
pub(super) struct Ended {
    /// Until when the mesh waited, if the dispatch was open.
    pub(super) deadline: Option<Duration>,
    /// Whether it held a slot, which is free now.
    pub(super) ran: bool,
}

/// The dispatches of one instance.
pub(super) struct Inbox {
    /// Makes the keys.
    hasher: RandomState,
    /// Those that run and those that wait for a slot.
    open: ByKey<Open>,
    running: usize,
    /// Dispatches without an answer in the order of their deadlines, together with some that have ended since.
    deadlines: VecDeque<(Duration, Key)>,
    answered: Rare<Answered>,
    /// Those that came by POST, and who waits for them.
    pub(super) posted: Rare<Posted>,
    /// Handlers that have failed since the last one that did not.
    pub(super) consecutive_failures: u32,
}

impl Inbox {
    /// One that knows nothing yet, with keys of its own, so that nobody can choose ids that share one.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let [a, b, c, d] = std::array::from_fn(|_| rng.u64(..));
        Self::with(RandomState::with_seeds(a, b, c, d))
    }

    /// Knows nothing any more.
    pub(super) fn clear(&mut self) {
        *self = Self::with(self.hasher.clone());
    }

    fn with(hasher: RandomState) -> Self {
        Self {
            hasher,
            open: ByKey::default(),
            running: 0,
            deadlines: VecDeque::new(),
            answered: Rare::default(),
            posted: Rare::default(),
            consecutive_failures: 0,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    fn key(&self, id: &str) -> Key {
        self.hasher.hash_one(id)
    }

    pub(super) fn look_up(&self, id: &str) -> Known {
        let key = self.key(id);
        match self.open.get(&key) {
            Some(open) if open.running => Known::Running,
            Some(_) => Known::Queued,
            None if self.answered.holds(key) => Known::Answered(self.answered.frame(key).cloned()),
            None => Known::New,
        }
    }

    /// Enters a dispatch that is given to the application.
    pub(super) fn start(
        &mut self,
        id: DispatchId,
        capability: Arc<Capability>,
        deadline: Duration,
    ) {
        self.running += 1;
        self.enter(id, capability, deadline, true);
    }

    /// Enters a dispatch that waits for a slot.
    pub(super) fn enter_waiting(
        &mut self,
        id: DispatchId,
        capability: Arc<Capability>,
        deadline: Duration,
    ) {
        self.enter(id, capability, deadline, false);
    }

    fn enter(
        &mut self,
        id: DispatchId,
        capability: Arc<Capability>,
        deadline: Duration,
        running: bool,
    ) {
        debug_assert!(
            self.deadlines
                .back()
                .is_none_or(|(last, _)| *last <= deadline),
            "every dispatch gets the same time, so deadlines come in order"
        );
        let key = self.key(&id);
        self.deadlines.push_back((deadline, key));
        let open = Open {
            id,
            capability,
            deadline,
            running,
        };
        self.open.insert(key, open);
    }

    /// A slot has become free for a dispatch that waited.
    pub(super) fn begin(&mut self, id: &str) {
        let key = self.key(id);
        if let Some(open) = self.open.get_mut(&key)
            && !std::mem::replace(&mut open.running, true)
        {
            self.running += 1;
        }
    }

    /// The capability of a dispatch that the application is to answer.
    pub(super) fn awaiting(&self, id: &str) -> Option<(DispatchId, Arc<Capability>)> {
        let open = self.open.get(&self.key(id)).filter(|open| open.running)?;
        Some((Arc::clone(&open.id), Arc::clone(&open.capability)))
    }

    pub(super) fn is_overdue(&self, id: &str, now: Duration) -> bool {
        let open = self.open.get(&self.key(id));
        open.is_some_and(|open| open.deadline <= now)
    }

    /// How many ids are known.
    pub(super) fn entries(&self) -> usize {
        self.open.len() + self.answered.len()
    }

    /// Every dispatch without an answer, oldest first: its deadline, its id, and whether it runs.
    pub(super) fn open(&self) -> impl Iterator<Item = (Duration, &str, bool)> {
        self.deadlines
            .iter()
            .filter_map(|entry| self.opened(entry))
            .map(|open| (open.deadline, &*open.id, open.running))
    }

    /// Remembers the answer of a dispatch, whether it ran or was refused.
    pub(super) fn answer(&mut self, now: Duration, id: &DispatchId, frame: FrameText) -> Ended {
        let key = self.key(id);
        let open = self.open.remove(&key);
        let ran = open.as_ref().is_some_and(|open| open.running);
        self.running -= usize::from(ran);
        let posted = self.posted.get(id).map(|_| Arc::clone(id));
        self.answered.push(key, posted, now, frame);
        self.forget_old(now);
        Ended {
            deadline: open.map(|open| open.deadline),
            ran,
        }
    }

    /// Takes an answered id for one that was never seen.
    pub(super) fn forget(&mut self, id: &str) {
        let key = self.key(id);
        if let Some(answered) = self.answered.touched() {
            answered.forget(key);
        }
        if let Some(posted) = self.posted.touched() {
            posted.forget(id);
        }
    }

    /// Remembers another answer, or none, for an id whose answer could not be delivered.
    pub(super) fn replace_answer(&mut self, id: &str, replacement: Option<FrameText>) {
        let key = self.key(id);
        if let Some(answered) = self.answered.touched() {
            answered.replace(key, replacement);
        }
    }

    /// The dispatch of an entry of `deadlines`, if it has no answer yet: an id that was forgotten may come anew.
    fn opened(&self, (at, key): &(Duration, Key)) -> Option<&Open> {
        self.open.get(key).filter(|open| open.deadline == *at)
    }

    /// Every dispatch that the application is to answer, oldest first.
    pub(super) fn all_running(&self) -> Vec<DispatchId> {
        self.deadlines
            .iter()
            .filter_map(|entry| self.opened(entry))
            .filter(|open| open.running)
            .map(|open| Arc::clone(&open.id))
            .collect()
    }

    /// The earliest deadline of a dispatch that waits for its answer.
    pub(super) fn next_deadline(&mut self) -> Option<Duration> {
        while let Some(entry) = self.deadlines.front() {
            if self.opened(entry).is_some() {
                return Some(entry.0);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// One dispatch whose deadline has passed without an answer.
    pub(super) fn pop_overdue(&mut self, now: Duration) -> Option<DispatchId> {
        if self.next_deadline()? > now {
            return None;
        }
        let entry = self.deadlines.pop_front()?;
        self.opened(&entry).map(|open| Arc::clone(&open.id))
    }

    /// The ended entries must not pile up behind one that runs long.
    fn compact_deadlines(&mut self) {
        if self.deadlines.len() > 64 && self.deadlines.len() > 4 * (self.open.len() + 1) {
            let mut deadlines = std::mem::take(&mut self.deadlines);
            deadlines.retain(|entry| self.opened(entry).is_some());
            self.deadlines = deadlines;
        }
    }

    /// Forgets answers whose time is over; with every answer, and when none come with every heartbeat.
    pub(super) fn forget_old(&mut self, now: Duration) {
        self.compact_deadlines();
        let hasher = &self.hasher;
        if let Some(answered) = self.answered.touched() {
            answered.forget_old(now, &mut self.posted, |id| hasher.hash_one(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::answered::REMEMBERED_FOR;

    const REMEMBERED_IDS: usize = 10_000;

    fn capability() -> Arc<Capability> {
        Arc::new(Capability::parse(r#"{"name":"a","description":"d"}"#).unwrap())
    }

    fn frame(bytes: usize) -> FrameText {
        "x".repeat(bytes).into()
    }

    #[test]
    fn ids_outlive_bodies_and_are_forgotten_in_the_end() {
        let mut inbox = Inbox::new(&mut Rng::with_seed(1));
        for n in 0..100 {
            inbox.answer(Duration::ZERO, &format!("d{n}").into(), frame(1 << 20));
        }
        assert!(matches!(inbox.look_up("d0"), Known::Answered(None)));
        assert!(matches!(inbox.look_up("d99"), Known::Answered(Some(_))));
        inbox.answer(REMEMBERED_FOR * 2, &"late".into(), frame(1));
        assert!(matches!(inbox.look_up("d99"), Known::New));
        assert_eq!(inbox.entries(), 1);
    }

    #[test]
    fn the_number_of_remembered_ids_is_bounded() {
        let mut inbox = Inbox::new(&mut Rng::with_seed(1));
        for n in 0..REMEMBERED_IDS + 5 {
            let id: DispatchId = format!("d{n}").into();
            inbox.start(Arc::clone(&id), capability(), Duration::from_mins(1));
            inbox.answer(Duration::ZERO, &id, frame(1));
        }
        assert_eq!(inbox.entries(), REMEMBERED_IDS);
        assert!(
            matches!(inbox.look_up("d4"), Known::Answered(None)),
            "it is not run again"
        );
        assert!(inbox.deadlines.len() <= 65);
        assert_eq!((inbox.running(), inbox.next_deadline()), (0, None));
    }

    #[test]
    fn overdue_dispatches_come_in_order_and_once() {
        let mut inbox = Inbox::new(&mut Rng::with_seed(1));
        for (n, at) in [1, 2, 3].into_iter().enumerate() {
            inbox.start(
                format!("d{n}").into(),
                capability(),
                Duration::from_secs(at),
            );
        }
        inbox.answer(Duration::ZERO, &"d0".into(), frame(1));
        assert_eq!(inbox.next_deadline(), Some(Duration::from_secs(2)));
        let at = Duration::from_secs(3);
        let overdue: Vec<_> = std::iter::from_fn(|| inbox.pop_overdue(at)).collect();
        assert_eq!(overdue, ["d1".into(), "d2".into()]);
        assert!(inbox.awaiting("d0").is_none() && inbox.awaiting("d1").is_some());
    }
}
