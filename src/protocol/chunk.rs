//! Texts that come one after another, many to an allocation.

use bytes::{Bytes, BytesMut};

/// The first allocation, and the largest; each is twice as large as the one before.
const SMALLEST: usize = 1 << 10;
const LARGEST: usize = 16 << 10;

/// What is longer has an allocation of its own, so that nothing large is kept for something small beside it.
const MAX_SHARED: usize = 4 << 10;

/// Where short texts are put one behind another. An allocation goes when the last text in it does, or is used anew
/// if all of them went before it was full.
#[derive(Debug, Default)]
pub struct Chunk {
    free: BytesMut,
    next: usize,
}

impl Chunk {
    /// The text, kept; `text` is left empty.
    pub fn keep(&mut self, text: &mut String) -> Bytes {
        if text.len() > MAX_SHARED {
            return std::mem::take(text).into_bytes().into();
        }
        if self.free.capacity() < text.len() && !self.free.try_reclaim(text.len()) {
            let size = self.next.clamp(SMALLEST, LARGEST).max(text.len());
            self.free = BytesMut::with_capacity(size);
            self.next = size * 2;
        }
        self.free.extend_from_slice(text.as_bytes());
        text.clear();
        self.free.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_as_they_were_and_share_allocations() {
        let mut chunk = Chunk::default();
        let mut kept = Vec::new();
        for n in 0..5000 {
            let mut text = format!("{n}: {}", "é".repeat(n % 100));
            kept.push((text.clone(), chunk.keep(&mut text)));
            assert!(text.is_empty());
        }
        assert!(kept.iter().all(|(text, kept)| text.as_bytes() == kept));
        let neighbours = kept
            .windows(2)
            .filter(|pair| pair[0].1.as_ptr_range().end == pair[1].1.as_ptr())
            .count();
        assert!(neighbours > 4900, "{neighbours} lie one behind another");
    }

    #[test]
    fn what_is_long_lies_alone_and_what_went_makes_room() {
        let mut chunk = Chunk::default();
        let long = "x".repeat(MAX_SHARED + 1);
        assert_eq!(chunk.keep(&mut long.clone()), long);
        assert_eq!(chunk.free.capacity(), 0);
        let first = chunk.keep(&mut "x".repeat(900)).as_ptr();
        let again = chunk.keep(&mut "y".repeat(900)).as_ptr();
        assert_eq!(first, again);
    }
}
