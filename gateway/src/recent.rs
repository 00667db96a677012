//! A bounded memory: the newest keys with a value each, both as hashes.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// 64 bits that stand for a value. The same value always gives the same ones within a process.
pub(crate) fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The newest `limit` keys; the oldest are forgotten.
pub(crate) struct Recent<V> {
    limit: usize,
    values: HashMap<u64, V>,
    order: VecDeque<u64>,
}

impl<V> Recent<V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The value of a key; a key that is not known (any more) gets this one.
    pub(crate) fn entry(&mut self, key: u64, value: V) -> &mut V {
        if !self.values.contains_key(&key) {
            if self.order.len() == self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.values.entry(key).or_insert(value)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        self.values.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.values.get_mut(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_oldest_key_is_forgotten_and_a_known_one_keeps_its_value() {
        let mut recent = Recent::new(2);
        assert_eq!(*recent.entry(1, 'a'), 'a');
        assert_eq!(*recent.entry(2, 'b'), 'b');
        assert_eq!(*recent.entry(1, 'x'), 'a');
        recent.entry(3, 'c');
        assert_eq!(recent.get_mut(1), None);
        assert_eq!(*recent.entry(2, 'x'), 'b');
        assert_eq!((recent.values.len(), recent.order.len()), (2, 2));
    }
}
