//! Ids of dispatches whose answers are no longer kept, only so much of them that none is run again.
//!
//! A mesh that was away for seconds under load asks again for more ids than are remembered with their answers, and the
//! answers may have reached it in the meantime. A hash of eight bytes is enough to know such an id.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash as _, Hasher};
use std::time::Duration;

/// How many are known. Two in as many would have to share 64 bits for one to be mistaken for another.
const KNOWN: usize = 1 << 16;

/// The youngest of the forgotten.
#[derive(Default)]
pub(super) struct Forgotten {
    hashes: HashSet<u64, BuildHasherDefault<Hashed>>,
    /// In the order of their answers, with the second of the answer.
    order: VecDeque<(u32, u64)>,
}

/// What is kept is a hash already.
#[derive(Default)]
struct Hashed(u64);

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

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

fn second(at: Duration) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

impl Forgotten {
    pub(super) fn holds(&self, id: &str) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&hash(id))
    }

    /// An id that was answered at this time.
    pub(super) fn add(&mut self, id: &str, answered_at: Duration) {
        if self.order.capacity() == 0 {
            // Once and for all, so that the memory in use does not grow for as long as the process lives.
            self.order.reserve_exact(KNOWN);
            self.hashes.reserve(KNOWN);
        }
        if self.order.len() >= KNOWN
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        let hash = hash(id);
        if self.hashes.insert(hash) {
            self.order.push_back((second(answered_at), hash));
        }
    }

    /// What was answered before this time is forgotten for good.
    pub(super) fn forget_before(&mut self, then: Duration) {
        while let Some((_, hash)) = self.order.front().filter(|(at, _)| *at < second(then)) {
            self.hashes.remove(hash);
            self.order.pop_front();
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            // An idle agent keeps nothing.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_are_known_for_their_time() {
        let mut forgotten = Forgotten::default();
        for n in 0..KNOWN as u64 + 10 {
            forgotten.add(&format!("d{n}"), Duration::from_secs(n / 1000));
        }
        assert!(!forgotten.holds("d9") && forgotten.holds("d10"));
        assert!(!forgotten.holds("another"));
        forgotten.forget_before(Duration::from_secs(1));
        assert!(!forgotten.holds("d999") && forgotten.holds("d1000"));
        forgotten.forget_before(Duration::from_hours(1));
        assert_eq!(
            (forgotten.order.capacity(), forgotten.hashes.capacity()),
            (0, 0)
        );
    }
}
