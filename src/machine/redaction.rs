//! Takes our secrets out of texts that came from elsewhere: a server may echo them, whole, in part or encoded
//! (`security.md` S-02).

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};

/// The longest piece of a secret that may show.
const HARMLESS: usize = 11;

/// A secret shorter than this is looked for as it is only: its encodings would be found in anything.
const ENCODED_FROM: usize = 6;

/// What RFC 3986 leaves as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `text` without any of `secrets`.
pub(super) fn remove<'a>(text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
    let pieces = Pieces::of(text);
    let mut hidden = Vec::new();
    for secret in secrets {
        pieces.find(secret, HARMLESS + 1, &mut hidden);
        if secret.len() < ENCODED_FROM {
            continue;
        }
        for (expansion, form) in encoded(secret) {
            pieces.find(form.expose_secret(), HARMLESS * expansion + 1, &mut hidden);
        }
    }
    without(text, hidden)
}

/// The ways in which servers write what they were sent, and how many characters each makes of one.
fn encoded(secret: &str) -> Vec<(usize, SecretString)> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut forms = vec![
        (1, utf8_percent_encode(secret, RESERVED).to_string()),
        (1, utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string()),
        (2, hex.to_uppercase()),
        (2, hex),
        (3, percent.to_uppercase()),
        (3, percent),
    ];
    // Behind other bytes, as in `id:secret`, the same secret reads in one of three ways.
    for before in 0..3 {
        let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let mut form = engine.encode(&bytes);
            // The characters at the ends are made of neighbouring bytes too.
            if bytes.len() % 3 != 0 {
                form.pop();
            }
            let foreign = [0, 2, 3][before];
            forms.push((1, form.split_off(foreign)));
        }
    }
    forms.into_iter().map(|(expansion, form)| (expansion, form.into())).collect()
}

/// A text, and which four bytes occur in it next to each other: most of a secret is told apart by that.
struct Pieces<'a> {
    text: &'a str,
    seen: Vec<u64>,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        let mut seen = vec![0; 1 << 10];
        for four in text.as_bytes().windows(4) {
            let (word, bit) = slot(four);
            seen[word] |= bit;
        }
        Self { text, seen }
    }

    /// Marks where `length` bytes of `secret` (or all of it, if it has fewer) stand in the text.
    fn find(&self, secret: &str, length: usize, hidden: &mut Vec<Range<usize>>) {
        let length = length.min(secret.len());
        if length == 0 {
            return;
        }
        for piece in secret.as_bytes().windows(length) {
            let likely = piece.chunks_exact(4).all(|four| {
                let (word, bit) = slot(four);
                self.seen[word] & bit != 0
            });
            if likely && let Ok(piece) = std::str::from_utf8(piece) {
                hidden.extend(self.text.match_indices(piece).map(|(at, _)| at..at + length));
            }
        }
    }
}

/// Where four bytes are noted.
fn slot(four: &[u8]) -> (usize, u64) {
    let number = four.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let hash = number.wrapping_mul(0x9e37_79b1) >> 16;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

fn without(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|range| range.start);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in hidden {
        if at == 0 || range.start > at {
            shown.push_str(&text[at..range.start]);
            shown.push_str("[redacted]");
        }
        at = at.max(range.end);
    }
    shown.push_str(&text[at..]);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret/With+odd=signs%and~more";
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

    fn removed(text: &str) -> String {
        remove(text, [SECRET, TOKEN].into_iter())
    }

    #[test]
    fn whole_secrets_wherever_they_stand() {
        for (text, shown) in [
            ("".to_owned(), ""),
            ("nothing to hide, with more words than a few".to_owned(), "nothing to hide, with more words than a few"),
            (SECRET.to_owned(), "[redacted]"),
            (format!("é{SECRET}é"), "é[redacted]é"),
            (format!("{TOKEN} and {SECRET}"), "[redacted] and [redacted]"),
            (format!("x{TOKEN}{TOKEN}y"), "x[redacted]y"),
        ] {
            assert_eq!(removed(&text), shown, "{text}");
        }
    }

    #[test]
    fn no_twelve_characters_of_a_secret_show() {
        for secret in [SECRET, TOKEN] {
            for piece in secret.as_bytes().windows(12) {
                let piece = std::str::from_utf8(piece).unwrap();
                assert_eq!(removed(&format!("<{piece}>")), "<[redacted]>");
            }
        }
        for segment in TOKEN.split('.') {
            assert_eq!(removed(&format!("bad token: {segment}!")), "bad token: [redacted]!");
        }
        assert_eq!(removed("bad s3cret/With"), "bad s3cret/With", "eleven are harmless");
    }

    #[test]
    fn encodings() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};
        for secret in [SECRET, TOKEN] {
            for text in [
                STANDARD.encode(secret),
                URL_SAFE.encode(secret),
                STANDARD.encode(format!("client-7:{secret}")),
                STANDARD.encode(format!("client-42:{secret};")),
                STANDARD.encode(format!("client-123:{secret}!!")),
                secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
                secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
                utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            ] {
                let shown = removed(&format!("echo: {text}"));
                assert!(shown.starts_with("echo: ") && shown.contains("[redacted]"), "{shown}");
                // Neighbouring characters may be left over at the ends.
                assert!(shown.len() <= "echo: [redacted]".len() + 20, "{text} became {shown}");
            }
        }
    }

    #[test]
    fn short_secrets_are_found_whole() {
        assert_eq!(remove("my pw is pw!", ["pw"].into_iter()), "my [redacted] is [redacted]!");
        assert_eq!(remove("cHc= cHd0", ["pw"].into_iter()), "cHc= cHd0");
        assert_eq!(remove("anything", [""].into_iter()), "anything");
    }
}
