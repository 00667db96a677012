//! Dispatches from receipt to answer and beyond: admission, de-duplication, deadlines
//! (`reliability.md` 6.1).
//!
//! An id is entered before its handler starts and stays known for a while after the answer, so that a
//! dispatch that arrives twice never runs twice: it is answered again with the same bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::action::DispatchId;
use super::forgotten::Forgotten;
use super::hosted::Posted;
use crate::agent::Capability;
use crate::protocol::frame::FrameText;

/// How long an answered id is remembered, how many of them, and how many bytes of answers.
const REMEMBERED_FOR: Duration = Duration::from_mins(10);
const REMEMBERED_IDS: usize = 10_000;
const REMEMBERED_BYTES: usize = 64 << 20;

enum Record {
    Open {
        capability: Arc<Capability>,
        deadline: Duration,
        /// `false` while it waits for a slot, and the application has not heard of it.
        running: bool,
    },
    /// The body is dropped before the id is.
    Answered { frame: Option<FrameText> },
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

/// The dispatches of one instance.
#[derive(Default)]
pub(super) struct Inbox {
    records: HashMap<DispatchId, Record>,
    running: usize,
    /// Those that run and those that wait for a slot.
    unanswered: usize,
    /// Dispatches without an answer in the order of their deadlines, together with some that have ended since.
    deadlines: VecDeque<(Duration, DispatchId)>,
    /// Answered ids in the order of their answers: when, which, and the size of the kept body.
    answered: VecDeque<(Duration, DispatchId)>,
    /// How many from the front of `answered` have lost their bodies.
    bodiless: usize,
    answered_bytes: usize,
    /// Answered ids that found no place among those.
    forgotten: Forgotten,
    /// Those that came by POST, and who waits for them.
    pub(super) posted: Posted,
    /// Handlers that have failed since the last one that did not.
    pub(super) consecutive_failures: u32,
}

impl Inbox {
    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn look_up(&self, id: &str) -> Known {
        match self.records.get(id) {
            None if self.forgotten.holds(id) => Known::Answered(None),
            None => Known::New,
            Some(Record::Open { running: false, .. }) => Known::Queued,
            Some(Record::Open { .. }) => Known::Running,
            Some(Record::Answered { frame }) => Known::Answered(frame.clone()),
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
        self.deadlines.push_back((deadline, Arc::clone(&id)));
        self.unanswered += 1;
        self.records.insert(
            id,
            Record::Open {
                capability,
                deadline,
                running,
            },
        );
    }

    /// A slot has become free for a dispatch that waited.
    pub(super) fn begin(&mut self, id: &str) {
        if let Some(Record::Open { running, .. }) = self.records.get_mut(id)
            && !std::mem::replace(running, true)
        {
            self.running += 1;
        }
    }

    /// The capability of a dispatch that the application is to answer.
    pub(super) fn awaiting(&self, id: &str) -> Option<(DispatchId, Arc<Capability>)> {
        let (key, record) = self.records.get_key_value(id)?;
        match record {
            Record::Open {
                capability,
                running: true,
                ..
            } => Some((Arc::clone(key), Arc::clone(capability))),
            _ => None,
        }
    }

    /// Until when the mesh waits for the answer to a dispatch, if it has none yet.
    pub(super) fn deadline(&self, id: &str) -> Option<Duration> {
        match self.records.get(id)? {
            Record::Open { deadline, .. } => Some(*deadline),
            Record::Answered { .. } => None,
        }
    }

    pub(super) fn is_overdue(&self, id: &str, now: Duration) -> bool {
        self.deadline(id).is_some_and(|deadline| deadline <= now)
    }

    /// How many ids are known.
    pub(super) fn entries(&self) -> usize {
        self.records.len()
    }

    /// Every dispatch without an answer, oldest first: its deadline, its id, and whether it runs.
    pub(super) fn open(&self) -> impl Iterator<Item = (Duration, &str, bool)> {
        self.deadlines
            .iter()
            .filter_map(|(at, id)| match self.records.get(id) {
                Some(Record::Open {
                    deadline, running, ..
                }) if deadline == at => Some((*at, &**id, *running)),
                _ => None,
            })
    }

    /// Remembers the answer of a dispatch, whether it ran or was refused. Whether that has freed a slot.
    pub(super) fn answer(&mut self, now: Duration, id: DispatchId, frame: FrameText) -> bool {
        self.answered_bytes += frame.len();
        self.answered.push_back((now, Arc::clone(&id)));
        let record = Record::Answered { frame: Some(frame) };
        let before = self.records.insert(id, record);
        let ran = matches!(before, Some(Record::Open { running: true, .. }));
        self.running -= usize::from(ran);
        self.unanswered -= usize::from(matches!(before, Some(Record::Open { .. })));
        self.forget_old(now);
        ran
    }

    /// Takes an answered id for one that was never seen.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(Record::Answered { frame: Some(frame) }) = self.records.remove(id) {
            self.answered_bytes -= frame.len();
        }
        // Or its new record would be forgotten when the old one's time is over.
        if let Some(at) = self.answered.iter().rposition(|(_, other)| **other == *id) {
            self.answered.remove(at);
            self.bodiless -= usize::from(at < self.bodiless);
        }
        self.posted.forget(id);
    }

    /// Remembers another answer, or none, for an id whose answer could not be delivered.
    pub(super) fn replace_answer(&mut self, id: &str, replacement: Option<FrameText>) {
        // A body that is no longer kept stays dropped.
        if let Some(Record::Answered { frame: kept }) = self.records.get_mut(id)
            && let Some(old) = kept.take()
        {
            self.answered_bytes -= old.len();
            self.answered_bytes += replacement.as_ref().map_or(0, |frame| frame.len());
            *kept = replacement;
        }
    }

    /// Whether an entry of `deadlines` is still that of a dispatch without an answer: an id that was forgotten may
    /// come anew.
    fn is_open(&self, (at, id): &(Duration, DispatchId)) -> bool {
        matches!(self.records.get(id), Some(Record::Open { deadline, .. }) if deadline == at)
    }

    /// Every dispatch that the application is to answer, oldest first.
    pub(super) fn all_running(&self) -> Vec<DispatchId> {
        self.deadlines
            .iter()
            .filter(|entry| self.is_open(entry) && self.awaiting(&entry.1).is_some())
            .map(|(_, id)| Arc::clone(id))
            .collect()
    }

    /// The earliest deadline of a dispatch that waits for its answer.
    pub(super) fn next_deadline(&mut self) -> Option<Duration> {
        while let Some(entry) = self.deadlines.front() {
            if self.is_open(entry) {
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
        self.deadlines.pop_front().map(|(_, id)| id)
    }

    /// The ended entries must not pile up behind one that runs long.
    fn compact_deadlines(&mut self) {
        if self.deadlines.len() > 64 && self.deadlines.len() > 4 * (self.unanswered + 1) {
            let mut deadlines = std::mem::take(&mut self.deadlines);
            deadlines.retain(|entry| self.is_open(entry));
            self.deadlines = deadlines;
        }
    }

    /// Forgets answers whose time is over; with every answer, and when none come with every heartbeat.
    pub(super) fn forget_old(&mut self, now: Duration) {
        self.compact_deadlines();
        while let Some((answered_at, id)) = self.answered.front() {
            let old = now.saturating_sub(*answered_at) > REMEMBERED_FOR;
            if !old && self.answered.len() <= REMEMBERED_IDS {
                break;
            }
            if let Some(Record::Answered { frame: Some(frame) }) = self.records.remove(id) {
                self.answered_bytes -= frame.len();
            }
            if !old {
                self.forgotten
                    .add(&self.posted.unmistakable(id), *answered_at);
            }
            self.posted.forget(id);
            self.answered.pop_front();
            self.bodiless = self.bodiless.saturating_sub(1);
        }
        self.forgotten
            .forget_before(now.saturating_sub(REMEMBERED_FOR));
        while self.answered_bytes > REMEMBERED_BYTES {
            let Some((_, id)) = self.answered.get(self.bodiless) else {
                break;
            };
            if let Some(Record::Answered { frame }) = self.records.get_mut(id)
                && let Some(frame) = frame.take()
            {
                self.answered_bytes -= frame.len();
            }
            self.bodiless += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability() -> Arc<Capability> {
        Arc::new(Capability::parse(r#"{"name":"a","description":"d"}"#).unwrap())
    }

    fn frame(bytes: usize) -> FrameText {
        "x".repeat(bytes).into()
    }

    #[test]
    fn ids_outlive_bodies_and_are_forgotten_in_the_end() {
        let mut inbox = Inbox::default();
        for n in 0..100 {
            inbox.answer(Duration::ZERO, format!("d{n}").into(), frame(1 << 20));
        }
        assert!(matches!(inbox.look_up("d0"), Known::Answered(None)));
        assert!(matches!(inbox.look_up("d99"), Known::Answered(Some(_))));
        assert_eq!(inbox.answered_bytes, 64 << 20);
        inbox.answer(REMEMBERED_FOR * 2, "late".into(), frame(1));
        assert!(matches!(inbox.look_up("d99"), Known::New));
        assert_eq!((inbox.answered_bytes, inbox.bodiless), (1, 0));
    }

    #[test]
    fn the_number_of_remembered_ids_is_bounded() {
        let mut inbox = Inbox::default();
        for n in 0..REMEMBERED_IDS + 5 {
            let id: DispatchId = format!("d{n}").into();
            inbox.start(Arc::clone(&id), capability(), Duration::from_mins(1));
            inbox.answer(Duration::ZERO, id, frame(1));
        }
        assert_eq!(inbox.records.len(), REMEMBERED_IDS);
        assert!(
            matches!(inbox.look_up("d4"), Known::Answered(None)),
            "it is not run again"
        );
        assert!(inbox.deadlines.len() <= 65);
        assert_eq!((inbox.running(), inbox.next_deadline()), (0, None));
    }

    #[test]
    fn overdue_dispatches_come_in_order_and_once() {
        let mut inbox = Inbox::default();
        for (n, at) in [1, 2, 3].into_iter().enumerate() {
            inbox.start(
                format!("d{n}").into(),
                capability(),
                Duration::from_secs(at),
            );
        }
        inbox.answer(Duration::ZERO, "d0".into(), frame(1));
        assert_eq!(inbox.next_deadline(), Some(Duration::from_secs(2)));
        let at = Duration::from_secs(3);
        let overdue: Vec<_> = std::iter::from_fn(|| inbox.pop_overdue(at)).collect();
        assert_eq!(overdue, ["d1".into(), "d2".into()]);
        assert!(inbox.awaiting("d0").is_none() && inbox.awaiting("d1").is_some());
    }
}
