//! Refuses JSON that is too deep or has too many values, before anything is built from it.
//!
//! `serde_json` skips over borrowed raw values without a depth limit of its own, and building (or
//! dropping) a deep tree recurses; so the text is measured first, in one pass and without allocation.

use super::limits::{MAX_JSON_DEPTH, MAX_JSON_VALUES};

/// What a text was refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeError {
    /// Nested deeper than [`MAX_JSON_DEPTH`].
    TooDeep,
    /// More values than [`MAX_JSON_VALUES`].
    TooManyValues,
}

/// Checks depth and number of values. Says nothing about whether the text is JSON at all.
pub fn check(text: &str) -> Result<(), ShapeError> {
    let bytes = text.as_bytes();
    // A text can neither be deeper nor hold more values than it has bytes for.
    if bytes.len() <= MAX_JSON_DEPTH {
        return Ok(());
    }
    let (mut at, mut depth, mut values) = (0, 0_usize, 1_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = end_of_string(bytes, at + 1);
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                values += 1;
                if depth > MAX_JSON_DEPTH {
                    return Err(ShapeError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        at += 1;
    }
    if values > MAX_JSON_VALUES {
        return Err(ShapeError::TooManyValues);
    }
    Ok(())
}

/// The index after the closing quote of the string whose content starts at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
            Some(offset) if bytes[at + offset] == b'"' => return at + offset + 1,
            Some(offset) => at += offset + 2,
            None => return bytes.len(),
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_strings_only() {
        let deepest = format!(
            "{}{}",
            "[".repeat(MAX_JSON_DEPTH),
            "]".repeat(MAX_JSON_DEPTH)
        );
        assert_eq!(check(&deepest), Ok(()));
        assert_eq!(check(&format!("[{deepest}]")), Err(ShapeError::TooDeep));
        assert_eq!(check(&format!("{:?}", "[".repeat(1000))), Ok(()));
        assert_eq!(
            check(&format!(r#"["\"{}"]"#, "[".repeat(1000))),
            Ok(()),
            "an escaped quote does not end a string"
        );
        assert_eq!(
            check(&format!(r#"["\\",{}"#, "[".repeat(MAX_JSON_DEPTH))),
            Err(ShapeError::TooDeep),
            "an escaped backslash does not hide the closing quote"
        );
    }

    #[test]
    fn values_are_counted() {
        let many = format!("[{}0]", "0,".repeat(MAX_JSON_VALUES));
        assert_eq!(check(&many), Err(ShapeError::TooManyValues));
        let fewer = format!("[{}0]", "0,".repeat(MAX_JSON_VALUES - 10));
        assert_eq!(check(&fewer), Ok(()));
    }
}
