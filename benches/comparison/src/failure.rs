//! Why a measurement came to nothing, for people.

use std::{fmt, io};

/// What went wrong.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// With this text.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The same, about somebody.
    #[must_use]
    pub fn about(self, whom: &str) -> Self {
        Self(format!("{whom}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
