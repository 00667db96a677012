//! How much waits of the frames that go one way. Written with the queue locked, and read without: the I/O thread must
//! not wait for whoever holds it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many frames, and how many bytes of them, may wait for the application.
const MAX_FRAMES: usize = 16 << 10;
/// See [`MAX_FRAMES`].
const MAX_BYTES: usize = 64 << 20;

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct Backlog {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

impl Backlog {
    pub(super) fn add(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.frames.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self) -> bool {
        self.frames.load(Ordering::Relaxed) < MAX_FRAMES
            && self.bytes.load(Ordering::Relaxed) < MAX_BYTES
    }
}
