//! Generated instance ids differ within a process: two agents under one id would push each other out of the mesh.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The generated id of an agent, the first that no other of this process has: the one that was asked for, or that with
/// a number from 2. Given back when the last clone is dropped, which is when the agent has left the mesh: one made anew
/// finds its id again.
#[derive(Debug, Clone)]
pub struct Place(Arc<Id>);

#[derive(Debug)]
struct Id(String);

impl Place {
    pub(super) fn take(wanted: &str) -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut id = wanted.to_owned();
        let mut number = 1;
        while !taken.insert(id.clone()) {
            number += 1;
            id = format!("{wanted}-{number}");
        }
        Self(Arc::new(Id(id)))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.0
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_those_of_one_id_and_free_ones_are_taken_first() {
        let mut places: Vec<_> = ["a", "a", "b", "a"].map(Place::take).into();
        let ids: Vec<_> = places.iter().map(Place::id).collect();
        assert_eq!(ids, ["a", "a-2", "b", "a-3"]);
        let kept = places[1].clone();
        places.remove(1);
        assert_eq!(Place::take("a").id(), "a-4", "a clone holds it");
        drop(kept);
        assert_eq!(Place::take("a").id(), "a-2");
    }
}
