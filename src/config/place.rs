//! Generated instance ids differ within a process: two agents under one id would push each other out of the mesh.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use once_cell::sync::Lazy;

static TAKEN: Lazy<Mutex<Taken>> = Lazy::new(Mutex::default);

#[derive(Default)]
struct Taken {
    ids: BTreeSet<String>,
    /// For an id that was asked for: the first number that may be free, if that is not 1.
    free_from: HashMap<String, usize>,
}

impl Taken {
    fn take(&mut self, wanted: &str) -> String {
        let mut number = self.free_from.get(wanted).copied().unwrap_or(1);
        loop {
            let id = numbered(wanted, number);
            number += 1;
            if self.ids.insert(id.clone()) {
                self.free_from.insert(wanted.to_owned(), number);
                return id;
            }
        }
    }

    fn give_back(&mut self, id: &str) {
        self.ids.remove(id);
        if self.ids.is_empty() {
            self.free_from.clear();
        }
        // It may be the first of its own name, or one with a number of a shorter name.
        self.free_from.remove(id);
        if let Some((wanted, number)) = id.rsplit_once('-')
            && let Ok(number) = number.parse::<usize>()
            && let Some(from) = self.free_from.get_mut(wanted)
        {
            *from = number.clamp(1, *from);
        }
    }
}

fn numbered(wanted: &str, number: usize) -> String {
    if number == 1 {
        return wanted.to_owned();
    }
    format!("{wanted}-{number}")
}

fn lock() -> MutexGuard<'static, Taken> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The generated id of an agent, the first that no other of this process has: the one that was asked for, or that with
/// a number from 2. Given back when the last clone is dropped, which is when the agent has left the mesh: one made anew
/// finds its id again.
#[derive(Debug, Clone)]
pub struct Place(Arc<Id>);

#[derive(Debug)]
struct Id(String);

impl Place {
    pub(super) fn take(wanted: &str) -> Self {
        Self(Arc::new(Id(lock().take(wanted))))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.0
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        lock().give_back(&self.0);
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

    /// Against the plain rule: the first that is free.
    #[test]
    fn whatever_comes_and_goes_the_first_free_one_is_taken() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut taken = Taken::default();
        let mut ids: Vec<String> = Vec::new();
        for _ in 0..5_000 {
            if rng.u8(0..5) < 2 && !ids.is_empty() {
                let id = ids.swap_remove(rng.usize(..ids.len()));
                taken.give_back(&id);
            } else {
                let wanted = ["a", "b", "a-2", "b-1", "b-02", "a-2-3", "a-0"][rng.usize(..7)];
                let free = |id: &String| !ids.contains(id);
                let first = (1..=ids.len() + 1).map(|n| numbered(wanted, n)).find(free);
                let id = taken.take(wanted);
                assert_eq!(Some(&id), first.as_ref(), "{wanted}");
                ids.push(id);
            }
        }
    }

    #[test]
    fn a_name_that_many_ask_for_is_not_counted_through_each_time() {
        let mut taken = Taken::default();
        for n in 1..=50_000 {
            assert_eq!(taken.take("many"), numbered("many", n));
        }
    }
}
