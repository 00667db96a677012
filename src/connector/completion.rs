//! Who hears how an operation has ended, and by what name it is cancelled.

use crate::error::Error;
use crate::machine::action::Output;

/// What is called exactly once with the outcome of an operation, on the I/O thread or the caller's.
pub struct Completion {
    /// By which [`MeshConnector::cancel`](super::MeshConnector::cancel) finds the operation.
    pub(super) tag: Option<usize>,
    done: Box<dyn FnOnce(Result<Output, Error>) + Send>,
}

impl Completion {
    /// Calls `done`. The operation cannot be cancelled.
    pub fn new(done: impl FnOnce(Result<Output, Error>) + Send + 'static) -> Self {
        let done = Box::new(done);
        Self { tag: None, done }
    }

    /// Calls `done`. The operation can be cancelled by this tag, which several may share.
    pub fn tagged(tag: usize, done: impl FnOnce(Result<Output, Error>) + Send + 'static) -> Self {
        let (tag, done) = (Some(tag), Box::new(done));
        Self { tag, done }
    }

    pub(super) fn call(self, result: Result<Output, Error>) {
        (self.done)(result);
    }
}
