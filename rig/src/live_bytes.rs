//! An allocator that counts what is live, for tests of memory: exact where the resident set is noisy.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

/// The system's allocator with a count. Install it with `#[global_allocator]` in the test's own binary.
pub struct LiveBytes {
    live: AtomicIsize,
    peak: AtomicIsize,
}

impl LiveBytes {
    /// Counts from zero.
    #[allow(clippy::new_without_default, reason = "a static needs a const")]
    pub const fn new() -> Self {
        Self {
            live: AtomicIsize::new(0),
            peak: AtomicIsize::new(0),
        }
    }

    /// The bytes that are allocated now.
    pub fn live(&self) -> isize {
        self.live.load(Ordering::SeqCst)
    }

    /// The most bytes since [`LiveBytes::reset_peak`].
    pub fn peak(&self) -> isize {
        self.peak.load(Ordering::SeqCst)
    }

    /// Starts the peak over at what is live.
    pub fn reset_peak(&self) {
        self.peak.store(self.live(), Ordering::SeqCst);
    }

    fn add(&self, bytes: usize) {
        let bytes = bytes.cast_signed();
        let live = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(live, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.live.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to `System` unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for LiveBytes {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            self.add(layout.size());
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.subtract(layout.size());
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `pointer` came from `System`.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if !moved.is_null() {
            self.subtract(layout.size());
            self.add(size);
        }
        moved
    }
}
