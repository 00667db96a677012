//! Strings that the library hands out and takes back.
//!
//! The length stands in front of the text, so that freeing a megabyte does not mean reading it.

use std::ffi::c_char;

const PREFIX: usize = size_of::<usize>();

/// Makes an owned C string. `text` may be given any content: NULs, which JSON never holds raw, become spaces.
pub(super) fn into_c(text: &str) -> *mut c_char {
    let length = PREFIX + text.len() + 1;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
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

/// Frees what [`into_c`] made.
///
/// # Safety
/// `string` came from [`into_c`] and has not been freed.
pub(super) unsafe fn free(string: *mut c_char) {
    // SAFETY: by the caller's promise the block starts PREFIX bytes earlier with its own length, and is
    // exactly the boxed slice that `into_c` made.
    unsafe {
        let block = string.cast::<u8>().sub(PREFIX);
        let length = block.cast::<usize>().read_unaligned();
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            block, length,
        )));
    }
}
