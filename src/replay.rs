//! Which dispatches have been accepted: each is, once.
//!
//! An id is remembered for as long as its token could be shown again, on the clock that never goes back. A live
//! id is never dropped to make room: whoever could push it out could replay it.
//!
//! The time of day may be set back after an id has been forgotten, and its token would then look good again. So
//! the latest expiry among the forgotten is kept: what expires by then is refused whatever the clock says.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ring::digest;

use crate::protocol::dispatch_auth::Life;
use crate::rare::at_rest;

/// How many live ids are remembered: at 10 minutes each, 160 new ones a second; at a minute, 1,600.
pub const CAPACITY: usize = 100_000;

/// A dispatch of an instance, in the same few bytes however long their ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DispatchKey([u8; 32]);

impl DispatchKey {
    /// The key of a dispatch.
    pub fn new(instance_id: &str, dispatch_id: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // With the length in front, so that no other pair makes the same text.
        context.update(&(instance_id.len() as u64).to_le_bytes());
        context.update(instance_id.as_bytes());
        context.update(dispatch_id.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

/// What is to be done with a dispatch whose token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Never seen: run it.
    New,
    /// Accepted before. Whoever keeps answers may give this one's again, if the body is the same.
    Known,
    /// It expires no later than one that has been forgotten: the time of day has been set back.
    Outdated,
    /// It could not be remembered, so it cannot be accepted.
    Full,
}

#[derive(Clone, Copy)]
struct Entry {
    until: Duration,
    expires_at: u64,
}

/// The dispatches that were accepted and whose tokens live.
pub struct ReplayTable {
    capacity: usize,
    entries: HashMap<DispatchKey, Entry>,
    by_end: BTreeSet<(Duration, DispatchKey)>,
    /// The latest `exp` among those that were forgotten.
    forgotten: Option<u64>,
}

impl Default for ReplayTable {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

at_rest!(ReplayTable);

impl ReplayTable {
    /// An empty table for this many.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            by_end: BTreeSet::new(),
            forgotten: None,
        }
    }

    /// Remembers the dispatch, once. `now` is on a clock that never goes back.
    pub fn admit(&mut self, key: DispatchKey, life: Life, now: Duration) -> Admission {
        self.forget_ended(now);
        let entry = Entry {
            until: now.saturating_add(life.left),
            expires_at: life.expires_at,
        };
        if let Some(known) = self.entries.get(&key).copied() {
            // Another token for the same dispatch may live longer.
            self.by_end.remove(&(known.until, key));
            self.insert(
                key,
                Entry {
                    until: known.until.max(entry.until),
                    expires_at: known.expires_at.max(entry.expires_at),
                },
            );
            return Admission::Known;
        }
        if self.forgotten.is_some_and(|exp| life.expires_at <= exp) {
            return Admission::Outdated;
        }
        if self.entries.len() >= self.capacity {
            return Admission::Full;
        }
        self.insert(key, entry);
        Admission::New
    }

    /// Takes the dispatch for one that was never accepted: no handler has seen it, nor will.
    pub fn release(&mut self, key: DispatchKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.by_end.remove(&(entry.until, key));
        }
    }

    fn insert(&mut self, key: DispatchKey, entry: Entry) {
        self.by_end.insert((entry.until, key));
        self.entries.insert(key, entry);
    }

    fn forget_ended(&mut self, now: Duration) {
        while let Some(&(until, key)) = self.by_end.first()
            && until <= now
        {
            self.by_end.pop_first();
            let ended = self.entries.remove(&key).map(|entry| entry.expires_at);
            self.forgotten = self.forgotten.max(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000;

    fn key(dispatch_id: &str) -> DispatchKey {
        DispatchKey::new("i", dispatch_id)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A token that expires then, seen now, with a leeway of 30 s. Both in seconds of the day.
    fn life(expires_at: u64, seen: u64) -> Life {
        Life {
            expires_at,
            left: secs(expires_at + 30 - seen),
        }
    }

    #[test]
    fn a_dispatch_is_new_once_while_its_token_lives() {
        let mut table = ReplayTable::new(10);
        let token = life(NOON + 60, NOON);
        assert_eq!(table.admit(key("d"), token, secs(0)), Admission::New);
        assert_eq!(table.admit(key("d"), token, secs(0)), Admission::Known);
        assert_eq!(
            table.admit(key("d"), life(NOON + 60, NOON + 89), secs(89)),
            Admission::Known
        );
        assert_eq!(table.admit(key("e"), token, secs(89)), Admission::New);
        assert_eq!(
            table.admit(DispatchKey::new("other", "d"), token, secs(89)),
            Admission::New
        );
    }

    #[test]
    fn no_two_pairs_of_ids_share_a_key() {
        let pairs = [
            ("a", "bc"),
            ("ab", "c"),
            ("", "abc"),
            ("abc", ""),
            ("a", "b"),
        ];
        let keys: BTreeSet<_> = pairs.map(|(i, d)| DispatchKey::new(i, d)).into();
        assert_eq!(keys.len(), pairs.len());
    }

    #[test]
    fn another_token_for_a_known_dispatch_prolongs_the_memory() {
        let mut table = ReplayTable::new(10);
        assert_eq!(
            table.admit(key("d"), life(NOON + 60, NOON), secs(0)),
            Admission::New
        );
        let longer = life(NOON + 600, NOON);
        assert_eq!(table.admit(key("d"), longer, secs(0)), Admission::Known);
        // A shorter one does not shorten it.
        assert_eq!(
            table.admit(key("d"), life(NOON + 10, NOON), secs(0)),
            Admission::Known
        );
        assert_eq!(
            table.admit(key("d"), life(NOON + 600, NOON + 629), secs(629)),
            Admission::Known
        );
        assert_eq!((table.entries.len(), table.by_end.len()), (1, 1));
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nobody_who_lives() {
        let mut table = ReplayTable::new(CAPACITY);
        let ids: Vec<_> = (0..CAPACITY).map(|n| key(&n.to_string())).collect();
        for id in &ids {
            assert_eq!(
                table.admit(*id, life(NOON + 60, NOON), secs(0)),
                Admission::New
            );
        }
        let fresh = life(NOON + 149, NOON + 89);
        assert_eq!(
            table.admit(key("one more"), fresh, secs(89)),
            Admission::Full
        );
        for id in &ids {
            let shown_again = life(NOON + 60, NOON + 89);
            assert_eq!(table.admit(*id, shown_again, secs(89)), Admission::Known);
        }
        let later = life(NOON + 150, NOON + 90);
        assert_eq!(
            table.admit(key("one more"), later, secs(90)),
            Admission::New
        );
        assert_eq!((table.entries.len(), table.by_end.len()), (1, 1));
    }

    #[test]
    fn a_clock_moved_back_revives_no_token_that_lives_in_the_table() {
        let mut table = ReplayTable::new(10);
        assert_eq!(
            table.admit(key("d"), life(NOON + 60, NOON), secs(0)),
            Admission::New
        );
        // An hour back, and the leeway with it: the token seems to have an hour more.
        let back = life(NOON + 60, NOON - 3600);
        assert_eq!(table.admit(key("d"), back, secs(10)), Admission::Known);
    }

    #[test]
    fn a_clock_moved_back_revives_no_token_that_was_forgotten() {
        for by in [120, 300, 3600] {
            let mut table = ReplayTable::new(10);
            assert_eq!(
                table.admit(key("d"), life(NOON + 60, NOON), secs(0)),
                Admission::New
            );
            // 100 s later its entry has gone, and the time of day is set back so far that the token looks good.
            let again = life(NOON + 60, NOON + 100 - by);
            let now = secs(100);
            assert_eq!(table.admit(key("d"), again, now), Admission::Outdated);
            // Tokens that are made after those that were forgotten are as good as ever.
            let fresh = life(NOON + 61, NOON);
            assert_eq!(table.admit(key("e"), fresh, now), Admission::New);
        }
    }

    #[test]
    fn what_looks_at_an_older_time_than_others_finds_nothing_forgotten_too_early() {
        let mut table = ReplayTable::new(10);
        assert_eq!(
            table.admit(key("d"), life(NOON + 60, NOON), secs(0)),
            Admission::New
        );
        // Another thread is ahead, and makes the table forget it.
        assert_eq!(
            table.admit(key("e"), life(NOON + 200, NOON + 90), secs(90)),
            Admission::New
        );
        assert_eq!(
            table.admit(key("d"), life(NOON + 60, NOON + 89), secs(89)),
            Admission::Outdated
        );
    }
}
