//! Strings that the library hands out and takes back.
//!
//! The length stands in front of the text, so that freeing a megabyte does not mean reading it.

use std::ffi::c_char;

const PREFIX: usize = size_of::<usize>();

/// Makes an owned C string. `text` may be given any content: NULs, which JSON never holds raw, become spaces.
pub(super) fn into_c(text: &str) -> *mut c_char {
    let mut made = CText::with_capacity(text.len());
    made.push_str(text);
    made.into_c()
}

/// A text that is written where it is handed out from, so that a large one is copied once.
pub(super) struct CText(Vec<u8>);

impl CText {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut content = Vec::with_capacity(PREFIX + bytes + 1);
        content.extend_from_slice(&[0; PREFIX]);
        Self(content)
    }

    pub(super) fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() - PREFIX
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0[PREFIX..]
    }

    /// As [`into_c`] does.
    pub(super) fn into_c(self) -> *mut c_char {
        let mut bytes = self.0;
        bytes.push(0);
        let length = bytes.len();
        bytes[..PREFIX].copy_from_slice(&length.to_ne_bytes());
        let content = &mut bytes[PREFIX..length - 1];
        if memchr::memchr(0, content).is_some() {
            content
                .iter_mut()
                .filter(|b| **b == 0)
                .for_each(|b| *b = b' ');
        }
        let block = Box::into_raw(bytes.into_boxed_slice()).cast::<u8>();
        // SAFETY: the block is at least PREFIX + 1 bytes long.
        unsafe { block.add(PREFIX) }.cast()
    }
}

/// Frees what [`into_c`] or [`CText`] made.
///
/// # Safety
/// `string` came from one of them and has not been freed.
pub(super) unsafe fn free(string: *mut c_char) {
    // SAFETY: by the caller's promise the block starts PREFIX bytes earlier with its own length, and is
    // exactly the boxed slice that was made.
    unsafe {
        let block = string.cast::<u8>().sub(PREFIX);
        let length = block.cast::<usize>().read_unaligned();
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            block, length,
        )));
    }
}
