//! Values that are equal in most connectors of a process, kept once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Remembers the last value that was shared, for as long as somebody has it.
pub(crate) struct Sharing<T>(Mutex<Weak<T>>);

impl<T: PartialEq> Sharing<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The value, together with whoever has an equal one.
    pub(crate) fn share(&self, value: T) -> Arc<T> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = last.upgrade().filter(|shared| **shared == value) {
            return shared;
        }
        let shared = Arc::new(value);
        *last = Arc::downgrade(&shared);
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_while_somebody_has_them() {
        let sharing = Sharing::new();
        let (a, same, other) = (sharing.share(1), sharing.share(1), sharing.share(2));
        assert!(Arc::ptr_eq(&a, &same));
        assert_eq!((*a, *other), (1, 2));
        assert!(Arc::ptr_eq(&other, &sharing.share(2)));
        drop(other);
        assert_eq!(*sharing.share(2), 2);
    }
}
