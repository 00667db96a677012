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

/// Whether a text that is JSON holds a number that no double does, such as `1e999`: the grammar knows no end, but one
/// parser refuses all of what it stands in, and another reads infinity and writes null.
pub fn has_vast_number(json: &str) -> bool {
    let bytes = json.as_bytes();
    if !may_hold_vast_number(bytes) {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = &bytes[at..];
                let of_number =
                    |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = rest.iter().position(|b| !of_number(b));
                let number = &json[at..at + end.unwrap_or(rest.len())];
                if number.parse::<f64>().is_ok_and(f64::is_infinite) {
                    return true;
                }
                at += number.len();
            }
            _ => at += 1,
        }
    }
    false
}

/// Tells most texts at once: such a number has an exponent or more than 300 digits.
fn may_hold_vast_number(bytes: &[u8]) -> bool {
    let is_digit = u8::is_ascii_digit;
    let exponent = memchr::memchr2_iter(b'e', b'E', bytes).any(|at| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        before.is_some_and(is_digit) && matches!(bytes.get(at + 1), Some(b'0'..=b'9' | b'+' | b'-'))
    });
    // Of so many digits in a row some fill a chunk that is half as long.
    exponent
        || bytes
            .chunks_exact(150)
            .any(|chunk| chunk.iter().all(is_digit))
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
    fn numbers_that_no_double_holds_are_found_wherever_they_stand() {
        let digits = "9".repeat(309);
        let fraction = format!("0.{}", "9".repeat(700));
        let in_a_text = format!("[\"{}\", \"1e999\", \"\\\"1e999\"]", "9".repeat(700));
        for fine in [
            "1e308",
            "-1.7976931348623157e308",
            "1E-999",
            "0e999",
            "[true,false,1e2]",
            "-0",
            "{\"1e999\":\"a 1e999\",\"n\":18446744073709551616}",
            &digits[1..],
            &fraction,
            &in_a_text,
        ] {
            assert!(!has_vast_number(fine), "{fine}");
            assert!(
                serde_json::from_str::<serde_json::Value>(fine).is_ok(),
                "{fine}"
            );
        }
        let among = format!("[\"{}\",{{\"a\":-{digits}}}]", "x".repeat(70));
        for vast in [
            "1e309",
            "-1e999",
            "1E+400",
            "[1,2.5e1000]",
            "{\"1e1\":\"\\\"\",\"b\":[ 1e999 ]}",
            "1.7976931348623159e308",
            &digits,
            &among,
        ] {
            assert!(has_vast_number(vast), "{vast}");
            assert!(
                serde_json::from_str::<serde_json::Value>(vast).is_err(),
                "{vast}"
            );
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
