//! Parts of a connector that most connectors never have.

use std::ops::{Deref, DerefMut};

/// A value that takes no room for as long as nothing has changed it: until then it reads as its default.
pub(crate) struct Rare<T>(Option<Box<T>>);

/// What can be [rare](Rare).
pub(crate) trait AtRest: Default + 'static {
    /// The one default that all read who have none of their own.
    fn at_rest() -> &'static Self;
}

/// Makes types ready to be [rare](Rare).
macro_rules! at_rest {
    ($($type:ty),+) => {$(
        impl $crate::rare::AtRest for $type {
            fn at_rest() -> &'static Self {
                static DEFAULT: once_cell::sync::Lazy<$type> = once_cell::sync::Lazy::new(Default::default);
                &DEFAULT
            }
        }
    )+};
}
pub(crate) use at_rest;

impl<T> Rare<T> {
    /// The value, unless it is still its default: for what only takes away.
    pub(crate) fn touched(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: AtRest> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::at_rest(),
        }
    }
}

impl<T: AtRest> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: AtRest + std::fmt::Debug> std::fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Guests(Vec<&'static str>);
    at_rest!(Guests);

    #[test]
    fn what_nobody_has_changed_reads_as_the_default_and_takes_no_room() {
        let mut guests = Rare::<Guests>::default();
        assert!(guests.0.is_none() && (*guests).0.is_empty());
        assert!(guests.touched().is_none());
        (*guests).0.push("one");
        assert_eq!((*guests).0, ["one"]);
        assert!(guests.touched().is_some_and(|guests| guests.0.len() == 1));
        assert!((*Rare::<Guests>::default()).0.is_empty(), "its own alone");
    }
}
