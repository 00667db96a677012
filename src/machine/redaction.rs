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
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Calls `found` with every form of every secret, and with the length from which a piece of it must not show.
fn each_form<'a>(secrets: impl Iterator<Item = &'a str>, mut found: impl FnMut(&str, usize)) {
    for secret in secrets {
        found(secret, (HARMLESS + 1).min(secret.len()));
        if secret.len() < ENCODED_FROM {
            continue;
        }
        for (expansion, form) in encoded(secret) {
            let form = form.expose_secret();
            found(form, (HARMLESS * expansion + 1).min(form.len()));
        }
    }
}

/// `text` without any of `secrets`.
pub(super) fn remove<'a>(text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
    let fours = Fours::of(text.as_bytes());
    let mut hidden = Vec::new();
    each_form(secrets, |form, length| {
        if length == 0 {
            return;
        }
        for piece in form.as_bytes().windows(length) {
            let likely = piece.chunks_exact(4).all(|four| fours.may_hold(four));
            if likely && let Ok(piece) = std::str::from_utf8(piece) {
                hidden.extend(text.match_indices(piece).map(|(at, _)| at..at + length));
            }
        }
    });
    without(text, hidden)
}

/// Tells at once that there is nothing to remove from most texts.
pub(super) struct Filter {
    fours: Fours,
    /// So many fours of a text in a row are a secret's before it is looked at more closely.
    suspicious: usize,
}

impl Filter {
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut filter = Self {
            fours: Fours::of(b""),
            suspicious: HARMLESS + 1 - 3,
        };
        each_form(secrets, |form, length| {
            filter.fours.add(form.as_bytes());
            if length > 0 {
                filter.suspicious = filter.suspicious.min(length.saturating_sub(3));
            }
        });
        filter
    }

    /// Whether `text` may hold a secret.
    pub(super) fn suspects(&self, text: &str) -> bool {
        let mut in_a_row = 0;
        self.suspicious == 0
            || text.as_bytes().windows(4).any(|four| {
                in_a_row = if self.fours.may_hold(four) {
                    in_a_row + 1
                } else {
                    0
                };
                in_a_row >= self.suspicious
            })
    }
}

/// The ways in which servers write what they were sent, and how many characters each makes of one.
fn encoded(secret: &str) -> Vec<(usize, SecretString)> {
    let (hex, percent) = (in_hex(secret, ""), in_hex(secret, "%"));
    let json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![
        (1, json[1..json.len() - 1].to_owned()),
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
    forms
        .into_iter()
        .map(|(expansion, form)| (expansion, form.into()))
        .collect()
}

/// Every byte in hexadecimal, each behind `sign`.
fn in_hex(text: &str, sign: &str) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    text.bytes().fold(String::new(), |mut hex, byte| {
        hex.push_str(sign);
        hex.extend([digit(byte >> 4), digit(byte & 15)]);
        hex
    })
}

/// Which four bytes occur next to each other, with some more that only seem to: most texts and secrets are told
/// apart by that.
struct Fours(Vec<u64>);

impl Fours {
    fn of(bytes: &[u8]) -> Self {
        let mut fours = Self(vec![0; 1 << 10]);
        fours.add(bytes);
        fours
    }

    fn add(&mut self, bytes: &[u8]) {
        for four in bytes.windows(4) {
            let (word, bit) = slot(four);
            self.0[word] |= bit;
        }
    }

    fn may_hold(&self, four: &[u8]) -> bool {
        let (word, bit) = slot(four);
        self.0[word] & bit != 0
    }
}

/// Where four bytes are noted.
fn slot(four: &[u8]) -> (usize, u64) {
    let number = four
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
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

    const SECRET: &str = "s3cret/With+odd=signs%and~\"more\\";
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

    fn removed(text: &str) -> String {
        let shown = remove(text, [SECRET, TOKEN].into_iter());
        let suspected = Filter::of([SECRET, TOKEN].into_iter()).suspects(text);
        assert!(suspected || shown == text, "the filter lets {text} through");
        shown
    }

    #[test]
    fn everyday_texts_are_not_suspected() {
        let filter = Filter::of([SECRET, TOKEN].into_iter());
        for text in [
            "wss://api.svantic.com/agents/connect",
            "Connection reset by peer (os error 104)",
            "capability \"find_order\" failed: no such order",
        ] {
            assert!(!filter.suspects(text), "{text}");
        }
        assert!(Filter::of(["pw"].into_iter()).suspects("anything"));
    }

    #[test]
    fn whole_secrets_wherever_they_stand() {
        for (text, shown) in [
            (String::new(), ""),
            (
                "nothing to hide, with more words than a few".to_owned(),
                "nothing to hide, with more words than a few",
            ),
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
            assert_eq!(
                removed(&format!("bad token: {segment}!")),
                "bad token: [redacted]!"
            );
        }
        assert_eq!(
            removed("bad s3cret/With"),
            "bad s3cret/With",
            "eleven are harmless"
        );
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
                in_hex(secret, "%").to_uppercase(),
                in_hex(secret, ""),
                utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
                serde_json::Value::from(secret).to_string(),
            ] {
                let shown = removed(&format!("echo: {text}"));
                assert!(
                    shown.starts_with("echo: ") && shown.contains("[redacted]"),
                    "{shown}"
                );
                // Neighbouring characters may be left over at the ends.
                assert!(
                    shown.len() <= "echo: [redacted]".len() + 24,
                    "{text} became {shown}"
                );
            }
        }
    }

    #[test]
    fn short_secrets_are_found_whole() {
        assert_eq!(
            remove("my pw is pw!", ["pw"].into_iter()),
            "my [redacted] is [redacted]!"
        );
        assert_eq!(remove("cHc= cHd0", ["pw"].into_iter()), "cHc= cHd0");
        assert_eq!(remove("anything", [""].into_iter()), "anything");
    }
}
