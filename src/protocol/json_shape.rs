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

/// Whether a text that is JSON escapes half of a surrogate pair, as `"\\ud83d"` does: the grammar allows it, UTF-8 does not,
/// and many a parser refuses all of what it stands in.
pub fn has_lone_surrogate(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    // There are backslashes in strings only.
    while let Some(offset) = memchr::memchr(b'\\', &bytes[at..]) {
        at += offset;
        match escaped_unit(bytes, at) {
            Some(0xD800..=0xDBFF) => match escaped_unit(bytes, at + 6) {
                Some(0xDC00..=0xDFFF) => at += 12,
                _ => return true,
            },
            Some(0xDC00..=0xDFFF) => return true,
            Some(_) => at += 6,
            None => at = bytes.len().min(at + 2),
        }
    }
    false
}

/// The UTF-16 unit that is escaped by `\uXXXX` at this place, if there is such an escape.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
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
    fn half_of_a_surrogate_pair_is_found_wherever_it_stands() {
        for whole in [
            "null",
            r#""\ud83d\ude00""#,
            r#"["\uD83D\uDE00\ud83d\ude00", "\ud7ff\ue000\u0000"]"#,
            r#""\\ud83d""#,
            r#""\\\\ud83d \n""#,
            r#""ud83d \"""#,
            r#""\\""#,
        ] {
            assert!(!has_lone_surrogate(whole), "{whole}");
            assert!(serde_json::from_str::<serde_json::Value>(whole).is_ok());
        }
        for half in [
            r#""\ud83d""#,
            r#""half \uDBFF of it""#,
            r#""\udc00""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d\ud83d\ude00""#,
            r#""\ud83d\n\ude00""#,
            r#""\\\ud83d""#,
            r#"{"\ud83d": 1}"#,
            r#"{"a": ["\ud83d\ude00", "\ud83d\u0041"]}"#,
        ] {
            assert!(has_lone_surrogate(half), "{half}");
            assert!(serde_json::from_str::<serde_json::Value>(half).is_err());
        }
    }

    #[test]
    fn values_are_counted() {
        let many = format!("[{}0]", "0,".repeat(MAX_JSON_VALUES));
        assert_eq!(check(&many), Err(ShapeError::TooManyValues));
        let fewer = format!("[{}0]", "0,".repeat(MAX_JSON_VALUES - 10));
        assert_eq!(check(&fewer), Ok(()));
    }
}
