//! Section 8, rule by rule.

use super::*;

#[test]
fn a_good_token_says_whose_dispatch_it_is() {
    assert_eq!(
        verify_token(&good_token()),
        Ok(Verified {
            scheme: "svantic_jwt",
            tenant_id: Some("t1".to_owned()),
            agent_type: Some("desk".to_owned()),
            instance_id: "i1".to_owned(),
            dispatch_id: Some("d1".to_owned()),
            life: Some(Life {
                expires_at: NOW + 60,
                left: Duration::from_secs(90),
            }),
        })
    );
}

#[test]
fn the_key_is_the_secrets_utf8_bytes_as_known_elsewhere() {
    // The example of RFC 7515 A.1 has a binary key; this one was made with Python's hmac module.
    let token = concat!(
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJpc3MiOiJzdmFudGljLW1lc2giLCJhdWQiOiJhZ2VudDppMSIsImRpc3BhdGNoX2lkIjoiZDEiLCJleHAiOjE4MDAwMDAwNjB9.",
        "7dRONUfdxzQOrg9ofNoIL9p5_LY4y3zc_hEXNnxYiqg"
    );
    let expected = Expected {
        signing_secret: Some("schl\u{fc}ssel"),
        ..expected()
    };
    let verified = verify_as(&expected, &data("svantic_jwt", token));
    assert_eq!(verified.unwrap().dispatch_id.as_deref(), Some("d1"));
}

#[test]
fn what_a_token_may_have_or_lack() {
    for claims in [
        with("aud", "[\"agent:i1\"]"),
        with("aud", "\"\\u0061gent:i1\""),
        without("tenant_id"),
        without("agent_type"),
        without("instance_id"),
        and("iat", "1800000000"),
        and("iat", "\"not looked at\""),
        and("jti", "7"),
        and("sub", "null"),
        and("nbf", "1800000030"),
        and("new_claim", "{\"a\":[1,{\"a\":2}]}"),
        format!(" {}\n", good_claims()),
    ] {
        assert_eq!(
            code(verify_token(&signed(HEADER, &claims))),
            None,
            "{claims}"
        );
    }
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"typ":"at+jwt","alg":"HS256"}"#,
        r#"{"alg":"\u0048S256"}"#,
        r#"{"alg":"HS256","kid":"1","jku":"https://evil.example","x5u":"https://evil.example","jwk":{"k":"AA"}}"#,
    ] {
        let token = signed(header, good_claims());
        assert_eq!(code(verify_token(&token)), None, "{header}");
    }
    let padding = "x".repeat(MAX_TOKEN_BYTES / 2);
    let long = signed(HEADER, and("more", &format!("\"{padding}\"")));
    assert!(long.len() < MAX_TOKEN_BYTES);
    assert_eq!(code(verify_token(&long)), None);
}

#[test]
fn names_that_we_do_not_know_are_taken_from_the_token() {
    let expected = Expected {
        agent_type: None,
        tenant_id: None,
        ..expected()
    };
    let token = signed(HEADER, with("tenant_id", "\"whoever\""));
    let verified = verify_as(&expected, &data("svantic_jwt", &token)).unwrap();
    assert_eq!(verified.tenant_id.as_deref(), Some("whoever"));
    let token = signed(HEADER, without("tenant_id"));
    let verified = verify_as(&expected, &data("svantic_jwt", &token)).unwrap();
    assert_eq!(verified.tenant_id, None);
}

#[test]
fn the_dispatch_id_is_the_requests_where_both_have_one() {
    let token = good_token();
    let data = |id: &str| {
        format!(
            r#"{{"dispatch_id":{id},"svantic_auth":{{"scheme":"svantic_jwt","token":"{token}"}}}}"#
        )
    };
    let refused = |id: &str| code(verify_as(&expected(), &data(id)));
    assert_eq!(refused("\"d1\""), None);
    assert_eq!(refused("null"), None);
    assert_eq!(refused("\"d2\""), Some(Code::WrongAudience));
    assert_eq!(refused("\"\""), Some(Code::WrongAudience));
    assert_eq!(refused("1"), Some(Code::MalformedEnvelope));
    assert_eq!(
        refused("\"d1\",\"dispatch_id\":\"d2\""),
        Some(Code::MalformedEnvelope)
    );
}

#[test]
fn the_time_counts_to_the_leeway_and_not_beyond() {
    let token = good_token();
    let at = |unix_ms: u64| code(verify_at(Duration::from_millis(unix_ms), &token));
    let exp = (NOW + 60) * 1000;
    assert_eq!(at(exp + 29_999), None);
    assert_eq!(at(exp + 30_000), Some(Code::Expired));
    assert_eq!(at(exp - 630_000), None);
    assert_eq!(at(exp - 630_001), Some(Code::Expired));
    assert_eq!(at(0), Some(Code::Expired), "a clock before 1970");
    let strict = Expected {
        clock_skew: Duration::ZERO,
        ..expected()
    };
    let data = data("svantic_jwt", &token);
    let comparison = ComparisonKey::random().unwrap();
    let at = |unix_ms| {
        let time = Duration::from_millis(unix_ms);
        code(verify(&data, &strict, &comparison, time))
    };
    assert_eq!(at(exp - 1), None);
    assert_eq!(at(exp), Some(Code::Expired));
    assert_eq!(at(exp - 600_000), None);
    assert_eq!(at(exp - 600_001), Some(Code::Expired));
}

#[test]
fn an_envelope_is_an_object_with_a_known_scheme_and_a_token() {
    let token = good_token();
    for (data, expected_code) in [
        ("{}".to_owned(), Code::MissingEnvelope),
        (r#"{"svantic_auth":null}"#.to_owned(), Code::MissingEnvelope),
        (
            r#"{"args":{"svantic_auth":{}}}"#.to_owned(),
            Code::MissingEnvelope,
        ),
        (String::new(), Code::MalformedEnvelope),
        ("[]".to_owned(), Code::MalformedEnvelope),
        ("{".to_owned(), Code::MalformedEnvelope),
        (
            r#"{"svantic_auth":"x"}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (
            r#"{"svantic_auth":["svantic_jwt","x"]}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (r#"{"svantic_auth":{}}"#.to_owned(), Code::MalformedEnvelope),
        (
            r#"{"svantic_auth":{"scheme":1,"token":"x"}}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (
            r#"{"svantic_auth":{"scheme":"svantic_jwt"}}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (
            r#"{"svantic_auth":{"scheme":"shared_secret"}}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (
            r#"{"svantic_auth":{"scheme":"shared_secret","token":null}}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (
            r#"{"svantic_auth":{"scheme":"shared_secret","token":["hush"]}}"#.to_owned(),
            Code::MalformedEnvelope,
        ),
        (
            r#"{"svantic_auth":{"scheme":"none","token":""}}"#.to_owned(),
            Code::UnsupportedScheme,
        ),
        (
            r#"{"svantic_auth":{"scheme":"SVANTIC_JWT","token":""}}"#.to_owned(),
            Code::UnsupportedScheme,
        ),
        (
            format!(
                r#"{{"svantic_auth":{{"scheme":"svantic_jwt","token":"x","token":"{token}"}}}}"#
            ),
            Code::MalformedEnvelope,
        ),
        (
            format!(
                r#"{{"svantic_auth":{{}},"svantic_auth":{{"scheme":"svantic_jwt","token":"{token}"}}}}"#
            ),
            Code::MalformedEnvelope,
        ),
    ] {
        assert_eq!(
            code(verify_as(&expected(), &data)),
            Some(expected_code),
            "{data}"
        );
    }
    // What nobody has signed is not believed, so it does not matter.
    let data = format!(
        r#"{{"svantic_auth":{{"scheme":"svantic_jwt","token":"{token}","expires_at":"1970-01-01T00:00:00Z"}}}}"#
    );
    assert_eq!(code(verify_as(&expected(), &data)), None);
}

#[test]
fn a_shared_secret_is_compared_and_says_nothing_else() {
    let data = r#"{"dispatch_id":"d1","svantic_auth":{"scheme":"shared_secret","token":"hush"}}"#;
    assert_eq!(
        verify_as(&expected(), data),
        Ok(Verified {
            scheme: "shared_secret",
            tenant_id: None,
            agent_type: None,
            instance_id: "i1".to_owned(),
            dispatch_id: Some("d1".to_owned()),
            life: None,
        })
    );
    for wrong in [
        "",
        "hus",
        "hush ",
        "Hush",
        "h\u{fc}sh",
        &"hush".repeat(1 << 18),
    ] {
        let refusal = code(verify_as(&expected(), &super::data("shared_secret", wrong)));
        assert_eq!(refusal, Some(Code::SecretMismatch));
    }
}

#[test]
fn a_scheme_whose_secret_is_not_known_is_refused() {
    let neither = Expected {
        signing_secret: None,
        shared_secret: None,
        ..expected()
    };
    for (scheme, token) in [
        ("svantic_jwt", good_token()),
        (
            "svantic_jwt",
            sealed(
                "",
                &format!("{}.{}", encoded(HEADER), encoded(good_claims())),
            ),
        ),
        ("shared_secret", "hush".to_owned()),
        ("shared_secret", String::new()),
    ] {
        let refusal = code(verify_as(&neither, &data(scheme, &token)));
        assert_eq!(refusal, Some(Code::UnsupportedScheme), "{scheme}");
    }
    // One secret does not stand in for the other.
    assert_eq!(
        code(verify_as(&expected(), &data("shared_secret", SECRET))),
        Some(Code::SecretMismatch)
    );
}
