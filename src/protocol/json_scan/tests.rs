use serde::de::IgnoredAny;

use super::*;
use crate::protocol::json_shape;

fn scanned(text: &str) -> Result<Raw<'_>, Unsure> {
    let mut scan = Scanner::new(text);
    let value = scan.value()?;
    scan.finish().map(|()| value)
}

/// What `serde_json` and the limits say.
fn is_sound(text: &str) -> bool {
    json_shape::check(text).is_ok() && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

const SOUND: [&str; 24] = [
    "null",
    " true\t",
    "\r\nfalse",
    "0",
    "-0",
    "-12.5e+3",
    "1E9",
    "0.25",
    "\"\"",
    r#""a\"b\\c\/\b\f\n\r\t\u00e9\uD83D\ude00""#,
    "\"ünïcödé, and more of it than fits into one block of thirty-two bytes\"",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    "[1]",
    "[[],{},[{}]]",
    r#"{"a":1,"b":[1,2,{"c":null}],"":"x"}"#,
    r#" { "a" : [ 1 , "two" , { "b" : { } } ] , "c" : true } "#,
    r#"[{"id":1,"x":1.5},{"id":2,"x":-2}]"#,
    r#"{"a":{"a":{"a":[[[["deep"]]]]}}}"#,
    r#""01234567890123456789012345678901234567890123456789012345678901234567890123456789\"x""#,
    "[\"]\",\"}\",\"{\"]",
    "{\"v\":1,\"type\":\"dispatch\",\"id\":\"d-1\",\"payload\":{\"skill_id\":\"echo\",\"args\":{\"n\":[1,2,3]}}}",
];

#[test]
fn sound_texts_are_recognised() {
    for text in SOUND {
        assert!(is_sound(text), "{text}");
        assert_eq!(scanned(text).map(Raw::get), Ok(text.trim()), "{text}");
    }
}

#[test]
fn unsound_texts_never_are() {
    for text in [
        "",
        " ",
        "nul",
        "nulll",
        "tru",
        "+1",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\u{1}\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[}",
        "{]",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "null,",
        "[] []",
        "\u{a0}1",
        "'a'",
        "NaN",
    ] {
        assert!(!is_sound(text), "{text}");
        assert_eq!(scanned(text), Err(Unsure), "{text}");
    }
}

#[test]
fn the_limits_are_those_of_the_shape() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for build in [&nested as &dyn Fn(usize) -> String, &objects] {
        assert!(scanned(&build(MAX_JSON_DEPTH)).is_ok());
        assert!(is_sound(&build(MAX_JSON_DEPTH)));
        assert!(scanned(&build(MAX_JSON_DEPTH + 1)).is_err());
        assert!(!is_sound(&build(MAX_JSON_DEPTH + 1)));
    }
    for values in [MAX_JSON_VALUES - 1, MAX_JSON_VALUES] {
        let text = format!("[{}0]", "0,".repeat(values - 1));
        assert_eq!(scanned(&text).is_ok(), is_sound(&text), "{values}");
    }
    let objects = "{\"a\":1},".repeat(MAX_JSON_VALUES / 2);
    let text = format!("[{objects}0]");
    assert_eq!((scanned(&text), is_sound(&text)), (Err(Unsure), false));
}

/// Changes a text a little, so that it stays text.
fn mutated(text: &str, rng: &mut fastrand::Rng) -> String {
    let alphabet = b"{}[]\",:\\ntrufalse0123456789.-+eE \t\n\x01/ud";
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.usize(1..4) {
        let byte = alphabet[rng.usize(..alphabet.len())];
        let at = rng.usize(..=bytes.len());
        match rng.u8(..4) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let end = bytes.len().min(at + rng.usize(..8));
                let piece = bytes[at..end].to_vec();
                let to = rng.usize(..=bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_hundred_thousand_mutations_are_judged_as_serde_json_judges_them() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut sound, mut texts) = (0, 0);
    while texts < 100_000 {
        let mut text = SOUND[rng.usize(..SOUND.len())].to_owned();
        for _ in 0..rng.usize(1..4) {
            text = mutated(&text, &mut rng);
            texts += 1;
            assert_eq!(scanned(&text).is_ok(), is_sound(&text), "{text:?}");
            sound += usize::from(is_sound(&text));
        }
    }
    assert!(sound > 5_000, "{sound} of {texts} were sound");
}

#[test]
fn what_the_other_checks_would_find_is_noted() {
    for (text, surrogates, vast) in [
        (r#"["\u00e9", 1, 12345.678]"#, false, false),
        (r#""\ud83d\ude00""#, true, false),
        (r#""\uD7FF""#, false, false),
        (r#""\uDfff""#, true, false),
        ("1e3", false, true),
        ("\"1e3\"", false, false),
    ] {
        let mut scan = Scanner::new(text);
        scan.value().unwrap();
        assert_eq!(
            (scan.surrogates, scan.vast_numbers),
            (surrogates, vast),
            "{text}"
        );
        assert!(surrogates || !json_shape::has_lone_surrogate(text));
        assert!(vast || !json_shape::has_vast_number(text));
    }
    let digits = "9".repeat(400);
    let mut scan = Scanner::new(&digits);
    scan.value().unwrap();
    assert!(scan.vast_numbers && json_shape::has_vast_number(&digits));
}

#[test]
fn the_members_of_an_object_are_handed_out_as_they_stand() {
    let text = r#" {"a": [1, 2] , "b":{"c" : "}"}, "d":"x" } "#;
    let mut seen = Vec::new();
    let mut scan = Scanner::new(text);
    scan.object(|scan, key| {
        seen.push((key, scan.value()?.get()));
        Ok(())
    })
    .unwrap();
    assert_eq!(scan.finish(), Ok(()));
    assert_eq!(
        seen,
        [
            (&b"a"[..], "[1, 2]"),
            (b"b", r#"{"c" : "}"}"#),
            (b"d", "\"x\"")
        ]
    );
    let mut escaped = Scanner::new(r#"{"\u0061":1}"#);
    assert_eq!(
        escaped.object(|scan, _| scan.value().map(drop)),
        Err(Unsure),
        "a key is compared as it stands, so one that is escaped is left to serde"
    );
}
