//! Generated instance ids differ within a process: two agents under one id would push each other out of the mesh.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

static TAKEN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// An agent's number among those of this process whose id was generated: the lowest free one, from 1. Given back
/// when the last clone is dropped, which is when the agent has left the mesh: one made anew finds its id again.
#[derive(Debug, Clone)]
pub struct Place(Arc<Number>);

#[derive(Debug)]
struct Number(u32);

impl Place {
    pub(super) fn take() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = 1;
        for number in taken.iter() {
            if *number != free {
                break;
            }
            free += 1;
        }
        taken.insert(free);
        Self(Arc::new(Number(free)))
    }

    /// What follows the generated id: nothing for the only agent of a process.
    pub(super) fn suffix(&self) -> String {
        match self.0.0 {
            1 => String::new(),
            number => format!("-{number}"),
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.0);
    }
}
