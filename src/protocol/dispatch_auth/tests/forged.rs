//! S-10: a hundred tokens that somebody might wish were good.

use super::*;
use Code::{BadSignature, Expired, MalformedEnvelope, WrongAudience, WrongIssuer};

/// Properly signed, so that only the claims can give them away.
#[allow(clippy::too_many_lines, reason = "a table")]
fn forged_claims() -> Vec<(String, Code)> {
    let mut forged = vec![
        (String::new(), MalformedEnvelope),
        ("null".to_owned(), MalformedEnvelope),
        ("[]".to_owned(), MalformedEnvelope),
        ("\"claims\"".to_owned(), MalformedEnvelope),
        (format!("[{}]", good_claims()), MalformedEnvelope),
        (format!("{} {{}}", good_claims()), MalformedEnvelope),
        (format!("{},", good_claims()), MalformedEnvelope),
        (format!("\u{feff}{}", good_claims()), MalformedEnvelope),
        (good_claims().replace('"', "'"), MalformedEnvelope),
        // In the order of the fields, as a derived reader would take it.
        (
            r#"["svantic-mesh","agent:i1","t1","desk","i1","d1",1800000060]"#.to_owned(),
            MalformedEnvelope,
        ),
        ("{}".to_owned(), WrongIssuer),
        // What a token for registering at the mesh looks like.
        (
            r#"{"iss":"svantic","sub":"client-1","aud":"svantic-api","tenant_id":"t1","iat":1800000000,"exp":1800000060}"#
                .to_owned(),
            WrongIssuer,
        ),
        (
            r#"{"iss":"svantic-mesh","sub":"client-1","aud":"svantic-api","tenant_id":"t1","exp":1800000060}"#
                .to_owned(),
            WrongAudience,
        ),
        (and("iss", "\"svantic-mesh\""), MalformedEnvelope),
        (and("aud", "\"agent:i2\""), MalformedEnvelope),
        (and("aud", "\"agent:i1\""), MalformedEnvelope),
        (and("\\u0061ud", "\"agent:i1\""), MalformedEnvelope),
        (and("exp", "1800000090"), MalformedEnvelope),
        (and("dispatch_id", "\"d2\""), MalformedEnvelope),
    ];
    let mut add = |code, name: &str, values: &[&str]| {
        forged.extend(values.iter().map(|value| (with(name, value), code)));
    };
    add(
        WrongIssuer,
        "iss",
        &[
            "\"svantic\"",
            "\"Svantic-Mesh\"",
            "\"svantic-mesh \"",
            "\"svantic-mesh\\u0000\"",
            "\"svantic\u{2010}mesh\"",
            "\"sv\u{430}ntic-mesh\"",
            "\"\u{ff53}vantic-mesh\"",
            "\"svantic-me\u{200b}sh\"",
            "[\"svantic-mesh\"]",
            "{\"svantic-mesh\":1}",
            "null",
            "\"\"",
        ],
    );
    add(
        WrongAudience,
        "aud",
        &[
            "\"agent:i2\"",
            "\"agent:i\"",
            "\"agent:i11\"",
            "\"i1\"",
            "\"AGENT:i1\"",
            "\"agent:I1\"",
            "\"agent:i1 \"",
            "\" agent:i1\"",
            "\"agent:agent:i1\"",
            "\"agent\u{ff1a}i1\"",
            "\"agent:\u{456}1\"",
            "\"agent:i\u{661}\"",
            "\"agent:i1\\u0000\"",
            "\"agent:*\"",
            "\"agent:\"",
            "[]",
            "[\"agent:i1\",\"agent:i2\"]",
            "[\"agent:i2\",\"agent:i1\"]",
            "[\"agent:i1\",\"agent:i1\"]",
            "[[\"agent:i1\"]]",
            "[\"agent:i1\",null]",
            "{\"0\":\"agent:i1\"}",
            "null",
            "true",
        ],
    );
    add(
        MalformedEnvelope,
        "exp",
        &[
            "1800000060.0",
            "1800000060.5",
            "1.80000006e9",
            "\"1800000060\"",
            "-1",
            "-1800000060",
            "18446744073709551616",
            "1e400",
            "null",
            "true",
            "[1800000060]",
            "{}",
        ],
    );
    add(
        Expired,
        "exp",
        &[
            "0",
            "1",
            "1799999970",
            "1800000631",
            "1800000060000",
            "9223372036854775807",
            "18446744073709551615",
        ],
    );
    add(Expired, "nbf", &["1800000031", "18446744073709551615"]);
    add(MalformedEnvelope, "nbf", &["\"0\"", "0.5", "-1", "null"]);
    add(
        WrongAudience,
        "instance_id",
        &["\"i2\"", "\"I1\"", "\"\"", "\"\u{456}1\""],
    );
    add(MalformedEnvelope, "instance_id", &["null", "1", "[\"i1\"]"]);
    add(
        WrongAudience,
        "tenant_id",
        &["\"t2\"", "\"T1\"", "\"\"", "\"t1\\n\""],
    );
    add(MalformedEnvelope, "tenant_id", &["null", "[\"t1\"]"]);
    add(
        WrongAudience,
        "agent_type",
        &["\"clerk\"", "\"d\u{435}sk\""],
    );
    add(MalformedEnvelope, "agent_type", &["null", "{}"]);
    let long = format!("\"{}\"", "d".repeat(129));
    add(
        MalformedEnvelope,
        "dispatch_id",
        &["null", "1", "\"\"", "[\"d1\"]", &long],
    );
    for (name, code) in [
        ("iss", WrongIssuer),
        ("aud", WrongAudience),
        ("exp", MalformedEnvelope),
        ("dispatch_id", MalformedEnvelope),
    ] {
        forged.push((without(name), code));
        // A look-alike of its first letter.
        let first = name.replacen(['i', 'a', 'e', 'd'], "\u{430}", 1);
        let value = CLAIMS.iter().find(|(known, _)| *known == name).unwrap().1;
        let mut members = without_member(name);
        members.push((&first, value));
        forged.push((object(&members), code));
    }
    forged
}

/// Properly signed by HS256, with a header that says something else.
const FORGED_HEADERS: &[(&str, Code)] = &[
    (r#"{"alg":"none"}"#, BadSignature),
    (r#"{"alg":"None"}"#, BadSignature),
    (r#"{"alg":""}"#, BadSignature),
    (r#"{"alg":null}"#, BadSignature),
    (r#"{"alg":["HS256"]}"#, BadSignature),
    (r#"{"alg":"hs256"}"#, BadSignature),
    (r#"{"alg":"Hs256"}"#, BadSignature),
    (r#"{"alg":"HS256 "}"#, BadSignature),
    ("{\"alg\":\"\u{ff28}S256\"}", BadSignature),
    (r#"{"alg":"HS384"}"#, BadSignature),
    (r#"{"alg":"HS512"}"#, BadSignature),
    (r#"{"alg":"RS256"}"#, BadSignature),
    (r#"{"alg":"ES256"}"#, BadSignature),
    (r#"{"alg":"PS256"}"#, BadSignature),
    (r#"{"alg":"EdDSA"}"#, BadSignature),
    (r#"{"ALG":"HS256"}"#, BadSignature),
    (r#"{"typ":"JWT"}"#, BadSignature),
    ("{}", BadSignature),
    (r#"{"alg":"HS256","alg":"HS256"}"#, MalformedEnvelope),
    (r#"{"alg":"none","alg":"HS256"}"#, MalformedEnvelope),
    (r#"{"alg":"HS256","\u0061lg":"none"}"#, MalformedEnvelope),
    (
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        MalformedEnvelope,
    ),
    (r#"{"alg":"HS256","crit":[]}"#, MalformedEnvelope),
    (r#"["HS256"]"#, MalformedEnvelope),
    ("HS256", MalformedEnvelope),
    ("", MalformedEnvelope),
];

/// Whose text or signature is not right.
#[allow(clippy::too_many_lines, reason = "a table")]
fn forged_texts() -> Vec<(String, Code)> {
    let good = good_token();
    let parts: Vec<_> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        unreachable!()
    };
    let none = encoded(r#"{"alg":"none"}"#);
    let rs256 = encoded(r#"{"alg":"RS256"}"#);
    let public_key =
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----\n";
    let own_key = encoded(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"},"kid":"../../dev/null"}"#);
    let other_claims = encoded(with("dispatch_id", "\"d2\""));
    let mut stray_bits = signature.to_owned();
    let last = stray_bits.pop().unwrap();
    // 32 bytes leave two bits of the last letter unused. They must be zero.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).unwrap();
    stray_bits.push(char::from(alphabet.as_bytes()[value | 1]));
    let padded = |part: &str| format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4));
    let mut forged = vec![
        (String::new(), MalformedEnvelope),
        (".".to_owned(), MalformedEnvelope),
        ("..".to_owned(), BadSignature),
        ("...".to_owned(), MalformedEnvelope),
        (header.to_owned(), MalformedEnvelope),
        (format!("{header}.{claims}"), MalformedEnvelope),
        (format!("{header}.{claims}."), BadSignature),
        (format!("{header}..{signature}"), BadSignature),
        (format!(".{claims}.{signature}"), BadSignature),
        (format!("{good}."), MalformedEnvelope),
        (format!(".{good}"), MalformedEnvelope),
        (format!("{good}.{signature}"), MalformedEnvelope),
        (format!("{good}="), MalformedEnvelope),
        (format!("{good}\n"), MalformedEnvelope),
        (format!("{good} "), MalformedEnvelope),
        (format!("{good}\0"), MalformedEnvelope),
        (format!(" {good}"), BadSignature),
        (format!("Bearer {good}"), BadSignature),
        (format!("{header}.{claims} .{signature}"), BadSignature),
        (
            format!("{header}.{claims}.{}", padded(signature)),
            MalformedEnvelope,
        ),
        (format!("{header}.{claims}.{stray_bits}"), MalformedEnvelope),
        (
            format!("{header}.{claims}.{}", &signature[4..]),
            BadSignature,
        ),
        (
            format!("{header}.{claims}.{}", encoded([0; 32])),
            BadSignature,
        ),
        (format!("{header}.{claims}.{}", encoded([])), BadSignature),
        (format!("{header}.{claims}.{signature}AAAA"), BadSignature),
        (format!("{header}.{other_claims}.{signature}"), BadSignature),
        (format!("{claims}.{header}.{signature}"), BadSignature),
        (format!("{none}.{claims}."), BadSignature),
        (format!("{none}.{claims}.{signature}"), BadSignature),
        (
            format!("{rs256}.{claims}.{}", encoded([7; 256])),
            BadSignature,
        ),
        (
            sealed(public_key, &format!("{rs256}.{claims}")),
            BadSignature,
        ),
        (sealed("\0", &format!("{own_key}.{claims}")), BadSignature),
        (sealed("", &format!("{header}.{claims}")), BadSignature),
        (
            sealed("another secret", &format!("{header}.{claims}")),
            BadSignature,
        ),
        (
            sealed(&SECRET[1..], &format!("{header}.{claims}")),
            BadSignature,
        ),
        (
            sealed(&SECRET.to_uppercase(), &format!("{header}.{claims}")),
            BadSignature,
        ),
        (
            sealed(SECRET, &format!(" {header}.{claims}")),
            MalformedEnvelope,
        ),
        (
            sealed(SECRET, &format!("{header}.{claims}\n")),
            MalformedEnvelope,
        ),
        (
            sealed(SECRET, &format!("{}=.{claims}", encoded("{}"))),
            MalformedEnvelope,
        ),
        (sealed(SECRET, header), MalformedEnvelope),
        (
            sealed(SECRET, &format!("{header}.{claims}.{claims}")),
            MalformedEnvelope,
        ),
        // Base64 of the other alphabet, and not of UTF-8.
        (sealed(SECRET, &format!("{header}.++//")), MalformedEnvelope),
        (signed(HEADER, b"\xff\xfe{}"), MalformedEnvelope),
        (
            signed(
                HEADER,
                with("more", &format!("\"{}\"", "x".repeat(MAX_TOKEN_BYTES))),
            ),
            MalformedEnvelope,
        ),
        ("A".repeat(1 << 20), MalformedEnvelope),
    ];
    // The same bytes where letters stand for others: full-width digits, and the dots of other scripts.
    for dot in ['\u{ff0e}', '\u{2024}', '\u{3002}'] {
        forged.push((good.replace('.', &dot.to_string()), MalformedEnvelope));
    }
    forged
}

/// All of them, with the codes by which they are refused.
pub(crate) fn forged_tokens() -> Vec<(String, Code)> {
    forged_claims()
        .into_iter()
        .map(|(claims, code)| (signed(HEADER, claims), code))
        .chain(
            FORGED_HEADERS
                .iter()
                .map(|(header, code)| (signed(header, good_claims()), *code)),
        )
        .chain(forged_texts())
        .collect()
}

#[test]
fn a_hundred_forged_tokens_are_refused_each_by_its_code() {
    let forged = forged_tokens();
    assert!(forged.len() >= 100, "{}", forged.len());
    for (token, expected) in &forged {
        let shown = token.split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let shown: Vec<_> = shown.take(2).collect();
        assert_eq!(
            code(verify_token(token)),
            Some(*expected),
            "{shown:?} {token:.200}"
        );
    }
}

#[test]
fn no_bit_of_a_good_token_can_be_flipped() {
    let good = good_token();
    assert!(verify_token(&good).is_ok());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // The highest bit makes it no UTF-8; then the byte as Latin-1, which a careless reader might see.
            let token = String::from_utf8(bytes)
                .unwrap_or_else(|error| error.as_bytes().iter().map(|b| char::from(*b)).collect());
            let refusal = code(verify_token(&token));
            assert!(
                matches!(refusal, Some(BadSignature | MalformedEnvelope)),
                "bit {bit} of byte {at}: {refusal:?}"
            );
        }
    }
}
