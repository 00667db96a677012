//! What is remembered of dispatches that were answered: the youngest with their answers, more of them by so much of
//! their ids that none is run again (`reliability.md` 6.1).
//!
//! A mesh that was away for seconds under load asks again for more ids than are remembered with their answers, and the
//! answers may have reached it in the meantime.
//!
//! Every dispatch passes by here, most of them under load with tens of thousands behind it. So the memory is laid out
//! to be walked: answers lie in the order in which they were given, and leave at the other end. What has to be looked up
//! at random are tables of keys, a generation each, from which nothing is taken: the oldest goes as a whole.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::action::DispatchId;
use super::hosted::Posted;
use crate::protocol::frame::FrameText;
use crate::rare::{Rare, at_rest};

/// How long an answered id is remembered, how many of them with their answers, and how many bytes of those.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_mins(10);
const REMEMBERED_IDS: usize = 10_000;
const REMEMBERED_BYTES: usize = 64 << 20;

/// How many keys are in a generation, and how many of those there are: all but one of them full, they know some 75,000 ids.
/// A table of this many is as full as it gets before it grows.
const GENERATION: usize = 28_672;
const GENERATIONS: usize = 4;

/// What an id is known by: a keyed hash. Two among all that are remembered would have to share 64 bits for one to be
/// mistaken for the other.
pub(super) type Key = u64;

/// A table by key.
pub(super) type ByKey<T> = HashMap<Key, T, BuildHasherDefault<Hashed>>;

/// What is kept is a hash already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

struct Entry {
    key: Key,
    /// Of one that came by POST. All others would be memory that has long gone cold when it is given back.
    posted: Option<DispatchId>,
    at: Duration,
    /// The body is dropped before the id is.
    frame: Option<FrameText>,
    /// Taken for one that was never seen; it leaves when its turn comes.
    gone: bool,
}

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct Answered {
    /// In the order of the answers.
    entries: VecDeque<Entry>,
    /// The number of the first of them.
    first: u64,
    /// How many of them are gone.
    gone: usize,
    /// How many from the front have lost their bodies.
    bodiless: usize,
    bytes: usize,
    /// The number of the answer of every key, the youngest generation first. Answers are counted from 1.
    known: VecDeque<ByKey<u64>>,
    /// The first number of each second in which there was an answer.
    seconds: VecDeque<(u32, u64)>,
    /// What has a number below this is forgotten.
    oldest: u64,
}

fn second(at: Duration) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

at_rest!(Answered);

impl Answered {
    /// How many are remembered one by one.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    /// Whether a dispatch was answered.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.number(key).is_some()
    }

    fn number(&self, key: Key) -> Option<u64> {
        let mut numbers = self.known.iter().filter_map(|keys| keys.get(&key));
        numbers.next().copied().filter(|n| *n >= self.oldest)
    }

    /// Notes the number of a key in the youngest generation, which is a new one if the last is full.
    fn note(&mut self, key: Key, number: u64) {
        let full = self
            .known
            .front()
            .is_none_or(|keys| keys.len() >= GENERATION);
        if full {
            // The room of the one that goes is that of the one that comes.
            let mut keys = match self.known.len() {
                GENERATIONS => self.known.pop_back().unwrap_or_default(),
                _ => ByKey::default(),
            };
            keys.clear();
            self.known.push_front(keys);
        }
        if let Some(keys) = self.known.front_mut() {
            keys.insert(key, number);
        }
    }

    /// Makes room for all that will ever be known, once and for all: the memory in use does not grow for as long as the
    /// process lives.
    fn settle(&mut self) {
        if let Some(youngest) = self.known.front_mut() {
            youngest.reserve(GENERATION - youngest.len().min(GENERATION));
        }
        while self.known.len() < GENERATIONS {
            let room = ByKey::with_capacity_and_hasher(GENERATION, BuildHasherDefault::default());
            self.known.push_back(room);
        }
    }

    fn unlearn(&mut self, key: Key) {
        for keys in &mut self.known {
            keys.remove(&key);
        }
    }

    /// Its answer, if that is still kept.
    pub(super) fn frame(&self, key: Key) -> Option<&FrameText> {
        let place = self.number(key)?.checked_sub(self.first)?;
        let entry = self.entries.get(usize::try_from(place).ok()?)?;
        entry.frame.as_ref()
    }

    fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        let place = self.number(key)?.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(place).ok()?)
    }

    /// Remembers the answer of a dispatch; `posted` is its id if it came by POST.
    pub(super) fn push(
        &mut self,
        key: Key,
        posted: Option<DispatchId>,
        at: Duration,
        frame: FrameText,
    ) {
        self.first = self.first.max(1);
        let number = self.first + self.entries.len() as u64;
        if self
            .seconds
            .back()
            .is_none_or(|(last, _)| *last < second(at))
        {
            self.seconds.push_back((second(at), number));
        }
        self.bytes += frame.len();
        self.note(key, number);
        self.entries.push_back(Entry {
            key,
            posted,
            at,
            frame: Some(frame),
            gone: false,
        });
    }

    /// Takes an answered id for one that was never seen.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(entry) = self.entry_mut(key) else {
            return self.unlearn(key);
        };
        entry.gone = true;
        let frame = entry.frame.take();
        self.bytes -= frame.map_or(0, |frame| frame.len());
        self.gone += 1;
        self.unlearn(key);
        // Mostly it is one that was refused just now.
        while self.entries.back().is_some_and(|entry| entry.gone) {
            self.entries.pop_back();
            self.gone -= 1;
        }
        self.bodiless = self.bodiless.min(self.entries.len());
    }

    /// Remembers another answer, or none, for an id whose answer could not be delivered.
    pub(super) fn replace(&mut self, key: Key, replacement: Option<FrameText>) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        // A body that is no longer kept stays dropped.
        let Some(old) = entry.frame.take() else {
            return;
        };
        let size = replacement.as_ref().map_or(0, |frame| frame.len());
        entry.frame = replacement;
        self.bytes = self.bytes - old.len() + size;
    }

    /// Forgets what is too old or too much. `posted` knows those that came by POST, `key_of` what an id is known by.
    pub(super) fn forget_old(
        &mut self,
        now: Duration,
        posted: &mut Rare<Posted>,
        key_of: impl Fn(&str) -> Key,
    ) {
        while let Some(front) = self.entries.front() {
            let old = now.saturating_sub(front.at) > REMEMBERED_FOR;
            if !old && self.entries.len() <= REMEMBERED_IDS {
                break;
            }
            if !old && self.known.len() < GENERATIONS {
                self.settle();
            }
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.first += 1;
            self.bodiless = self.bodiless.saturating_sub(1);
            self.bytes -= entry.frame.map_or(0, |frame| frame.len());
            if entry.gone {
                self.gone -= 1;
                continue;
            }
            let Some(id) = entry.posted else { continue };
            // Of another tenant's dispatch of this id nothing shall be known once only the id is.
            let unmistakable = posted.unmistakable(&id);
            if *unmistakable != *id {
                let key = key_of(&unmistakable);
                self.unlearn(entry.key);
                self.note(key, self.first - 1);
            }
            if let Some(posted) = posted.touched() {
                posted.forget(&id);
            }
        }
        self.forget_before(second(now.saturating_sub(REMEMBERED_FOR)));
        while self.bytes > REMEMBERED_BYTES {
            let Some(entry) = self.entries.get_mut(self.bodiless) else {
                break;
            };
            self.bytes -= entry.frame.take().map_or(0, |frame| frame.len());
            self.bodiless += 1;
        }
    }

    /// What was answered before this second is forgotten for good.
    fn forget_before(&mut self, then: u32) {
        while self.seconds.front().is_some_and(|(at, _)| *at < then) {
            self.seconds.pop_front();
            let next = self.first + self.entries.len() as u64;
            self.oldest = self.seconds.front().map_or(next, |(_, number)| *number);
        }
        if self.seconds.is_empty() && self.entries.is_empty() && !self.known.is_empty() {
            // An idle agent keeps nothing.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> FrameText {
        "x".repeat(bytes).into()
    }

    fn with(count: u64, at: impl Fn(u64) -> Duration) -> Answered {
        let mut answered = Answered::default();
        let mut posted = Rare::<Posted>::default();
        for n in 0..count {
            answered.push(n, None, at(n), frame(1));
            answered.forget_old(at(n), &mut posted, |_| 0);
        }
        answered
    }

    #[test]
    fn the_youngest_are_known_for_their_time() {
        let all = (GENERATIONS * GENERATION) as u64;
        let mut answered = with(all, |n| Duration::from_secs(n / 1000));
        assert!(answered.holds(0) && answered.frame(0).is_none());
        assert_eq!(answered.frame(all - REMEMBERED_IDS as u64), Some(&frame(1)));
        assert!(answered.frame(all - REMEMBERED_IDS as u64 - 1).is_none());
        assert!(!answered.holds(all));
        // The oldest generation goes as a whole, and there are 75,000 even then.
        answered.push(all, None, Duration::from_secs(all / 1000), frame(1));
        assert!(!answered.holds(GENERATION as u64 - 1) && answered.holds(GENERATION as u64));
        assert!(all - GENERATION as u64 > 75_000);
        let mut posted = Rare::<Posted>::default();
        let at = |seconds| REMEMBERED_FOR + Duration::from_secs(seconds);
        answered.forget_old(at(100), &mut posted, |_| 0);
        assert!(!answered.holds(99_999) && answered.holds(100_000));
        answered.forget_old(at(3600), &mut posted, |_| 0);
        assert_eq!(answered.len(), 0);
        assert_eq!(
            (answered.entries.capacity(), answered.known.capacity()),
            (0, 0)
        );
    }

    #[test]
    fn what_is_taken_for_unseen_is_so_wherever_it_lies() {
        let mut answered = with(5, |_| Duration::ZERO);
        answered.forget(2);
        assert!(!answered.holds(2) && answered.holds(3));
        assert_eq!((answered.len(), answered.entries.len()), (4, 5));
        answered.forget(4);
        assert_eq!((answered.len(), answered.entries.len()), (3, 4));
        answered.forget(3);
        assert_eq!(
            (answered.len(), answered.entries.len(), answered.gone),
            (2, 2, 0)
        );
        answered.push(4, None, Duration::ZERO, frame(7));
        assert_eq!(answered.frame(4), Some(&frame(7)));
        assert_eq!((answered.frame(0), answered.bytes), (Some(&frame(1)), 9));
    }

    #[test]
    fn one_that_is_answered_anew_outlives_what_was_known_of_it() {
        let mut answered = with((REMEMBERED_IDS + 10) as u64, |_| Duration::ZERO);
        assert!(answered.holds(3) && answered.frame(3).is_none());
        answered.forget(3);
        answered.push(3, None, REMEMBERED_FOR, frame(2));
        let mut posted = Rare::<Posted>::default();
        answered.forget_old(REMEMBERED_FOR + Duration::from_secs(2), &mut posted, |_| 0);
        assert_eq!(answered.frame(3), Some(&frame(2)));
    }

    #[test]
    fn numbers_stay_right_after_all_was_forgotten_but_what_is_older() {
        let mut answered = with((REMEMBERED_IDS + 3) as u64, Duration::from_secs);
        let end = Duration::from_secs(REMEMBERED_IDS as u64) + REMEMBERED_FOR;
        answered.forget_old(end, &mut Rare::default(), |_| 0);
        answered.push(77_777, None, end, frame(3));
        assert_eq!(answered.frame(77_777), Some(&frame(3)));
    }
}
