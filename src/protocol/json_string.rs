//! How far a JSON string goes on as it is: to the next quote, backslash or control character. Most of the bytes of a frame are
//! passed over here, so they are by words and by blocks.

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// The high bit of each byte that ends the run of plain characters in a string: a quote, a backslash, a control
/// character. Bytes behind the first such may be marked wrongly.
fn special(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(LOW_BITS) & !word;
    let quote = zero(word ^ (LOW_BITS * u64::from(b'"')));
    let backslash = zero(word ^ (LOW_BITS * u64::from(b'\\')));
    let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
    (quote | backslash | control) & HIGH_BITS
}

/// Whether none of these bytes is such a one. Written so that it becomes vector instructions.
fn all_plain(block: &[u8; BLOCK]) -> bool {
    let ends = |b: u8| u8::from(b < 0x20) | u8::from(b == b'"') | u8::from(b == b'\\');
    block.iter().fold(0, |found, &b| found | ends(b)) == 0
}

const BLOCK: usize = 64;

/// How many words of a string are read before whole blocks are: most strings are short.
const WORDS_FIRST: usize = BLOCK / 8;

/// Where the next quote, backslash or control character stands, from `at` on; the end if there is none.
#[inline]
pub(super) fn end_of_plain(bytes: &[u8], mut at: usize) -> usize {
    loop {
        for _ in 0..WORDS_FIRST {
            let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
                return end_by_bytes(bytes, at);
            };
            let found = special(u64::from_le_bytes(*word));
            if found != 0 {
                return at + found.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        at = end_of_plain_blocks(bytes, at);
    }
}

/// Behind the plain blocks of a long string.
fn end_of_plain_blocks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        && all_plain(block)
    {
        at += BLOCK;
    }
    at
}

/// The same near the end of the text.
fn end_by_bytes(bytes: &[u8], mut at: usize) -> usize {
    let is_plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    while bytes.get(at).is_some_and(|b| is_plain(*b)) {
        at += 1;
    }
    at
}

/// Whether a text stands in a JSON string as it is.
pub fn is_plain(text: &str) -> bool {
    end_of_plain(text.as_bytes(), 0) == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_string_as_it_is_is_told_at_every_length_and_place() {
        for length in 0..200 {
            let plain = "x".repeat(length);
            assert!(is_plain(&plain) && is_plain(&"é".repeat(length)));
            for at in 0..length {
                for special in ["\"", "\\", "\n", "\0", "\u{1f}"] {
                    let mut text = plain.clone();
                    text.replace_range(at..=at, special);
                    assert!(!is_plain(&text), "{special:?} at {at} of {length}");
                    assert_eq!(end_of_plain(text.as_bytes(), 0), at);
                }
            }
        }
    }
}
