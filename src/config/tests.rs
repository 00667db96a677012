use super::*;
use secrecy::ExposeSecret as _;

fn none(_: &str) -> Option<String> {
    None
}

const MINIMAL: &str =
    r#"{"name":"order-desk","description":"d","client_id":"id","client_secret":"s3cret"}"#;

fn with(extra: &str) -> String {
    format!("{},{extra}}}", &MINIMAL[..MINIMAL.len() - 1])
}

fn refused(json: &str) -> Error {
    Config::parse(json, &none)
        .err()
        .unwrap_or_else(|| panic!("accepted: {json}"))
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = Config::parse(MINIMAL, &none).unwrap();
    assert_eq!(config.svantic_url.as_str(), "https://api.svantic.com");
    assert_eq!(config.mode, DeploymentMode::Connected);
    assert_eq!(config.identity.agent_type, "order-desk");
    assert_eq!(config.identity.version, "1.0.0");
    assert_eq!(config.delivery, DeliveryMode::Callbacks { workers: 1 });
    assert_eq!(config.busy_poll, Duration::ZERO, "threads sleep");
    assert_eq!(config.timeout, Duration::from_secs(30));
    assert_eq!(config.timing.heartbeat, Duration::from_secs(30));
    assert_eq!(config.max_frame_bytes, 4 << 20);
    let pid = std::process::id().to_string();
    assert!(config.identity.instance_id.contains(&format!("-{pid}")));
    assert!(config.auto_reconnect);
}

#[test]
fn how_long_the_io_thread_stays_awake_is_in_microseconds() {
    let config = Config::parse(&with(r#""busy_poll_us":1000"#), &none).unwrap();
    assert_eq!(config.busy_poll, Duration::from_millis(1));
}

#[test]
fn no_two_agents_of_a_process_get_one_id() {
    let ids = [(); 3].map(|()| Config::parse(MINIMAL, &none).unwrap().identity);
    assert_ne!(ids[0].instance_id, ids[1].instance_id);
    assert_ne!(ids[1].instance_id, ids[2].instance_id);
    assert_ne!(ids[0].instance_id, ids[2].instance_id);
    // A hosted one is named by its port, which nobody else of them has: no number follows, whoever came first.
    let hosted = with(r#""public_url":"https://a.example.com:8471""#);
    let hosted = Config::parse(&hosted, &none).unwrap().identity;
    assert!(hosted.instance_id.ends_with("-8471"));
}

#[test]
fn a_public_url_means_hosted_and_names_the_instance() {
    let config = Config::parse(
        &with(r#""public_url":"https://a.example.com:8443/x/""#),
        &none,
    )
    .unwrap();
    assert_eq!(config.mode, DeploymentMode::Hosted);
    assert_eq!(
        config.identity.public_url.as_deref(),
        Some("https://a.example.com:8443/x")
    );
    assert!(config.identity.instance_id.contains("-8443"));
    assert!(
        refused(&with(r#""deployment_mode":"hosted""#))
            .message()
            .contains("public_url")
    );
}

#[test]
fn the_environment_has_both_dispatch_secrets_so_that_a_rotation_changes_no_code() {
    let environment = |name: &str| match name {
        "SVANTIC_DISPATCH_SECRET" => Some("env-now".to_owned()),
        "SVANTIC_DISPATCH_SECRET_NEXT" => Some("env-next".to_owned()),
        _ => None,
    };
    let secrets = |extra: &str| {
        let hosted = format!(r#""public_url":"https://a.example.com",{extra}"#);
        let secrets = Config::parse(&with(&hosted), &environment)
            .unwrap()
            .hosted
            .secrets;
        let shown = |secret: Option<_>| {
            secret.map(|secret: secrecy::SecretString| secret.expose_secret().to_owned())
        };
        (secrets.signing.map(shown), secrets.shared.map(shown))
    };
    let both = ["env-now", "env-next"].map(|secret| Some(secret.to_owned()));
    assert_eq!(secrets(r#""version":"2""#), (both.clone(), [None, None]));
    let shared = r#""dispatch_auth":{"scheme":"shared_secret","required":true}"#;
    assert_eq!(secrets(shared), ([None, None], both));
    let (signing, _) = secrets(r#""signing_secret":"told","signing_secret_next":"told too""#);
    let told = ["told", "told too"].map(|secret| Some(secret.to_owned()));
    assert_eq!(signing, told);
}

#[test]
fn the_environment_fills_what_is_missing_and_explicit_wins() {
    let environment = |name: &str| {
        let value = match name {
            "SVANTIC_CLIENT_ID" => "env-id",
            "SVANTIC_CLIENT_SECRET" => "env-secret",
            "SVANTIC_URL" => "http://127.0.0.1:9",
            "SVANTIC_INSTANCE_ID" => "box-1",
            "SVANTIC_TOKEN" => "env-token",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let config = Config::parse(r#"{"name":"n","description":"d"}"#, &environment).unwrap();
    assert_eq!(config.svantic_url.as_str(), "http://127.0.0.1:9");
    assert_eq!(config.identity.instance_id, "box-1");
    let Credentials::Exchange {
        client_id,
        client_secret,
        client_secret_next: None,
    } = config.credentials
    else {
        panic!("credentials that can be renewed win over a token");
    };
    assert_eq!(
        (client_id.as_str(), client_secret.expose_secret()),
        ("env-id", "env-secret")
    );

    let explicit = r#"{"name":"n","description":"d","token":"t","instance_id":"mine","svantic_url":"https://x.example"}"#;
    let config = Config::parse(explicit, &environment).unwrap();
    assert!(
        matches!(config.credentials, Credentials::Static(token) if token.expose_secret() == "t")
    );
    assert_eq!(config.identity.instance_id, "mine");
    assert_eq!(config.svantic_url.as_str(), "https://x.example");
}

#[test]
fn missing_credentials_name_both_ways_and_the_variables() {
    let error = refused(r#"{"name":"n","description":"d"}"#).to_string();
    for part in [
        "client_id",
        "client_secret",
        "token",
        "SVANTIC_CLIENT_ID",
        "SVANTIC_CLIENT_SECRET",
        "SVANTIC_TOKEN",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let old = |name: &str| (name == "SAVANT_CLIENT_ID").then(|| "x".to_owned());
    let error = Config::parse(r#"{"name":"n","description":"d"}"#, &old)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("SAVANT_CLIENT_ID is set"),
        "{error}"
    );
}

#[test]
fn there_are_three_sources_of_tokens_and_only_one_is_taken() {
    let next = Config::parse(&with(r#""client_secret_next":"tomorrow""#), &none).unwrap();
    assert!(matches!(
        next.credentials,
        Credentials::Exchange { client_secret_next: Some(next), .. } if next.expose_secret() == "tomorrow"
    ));
    let provider = r#"{"name":"n","description":"d","token_provider":true,"token":"first"}"#;
    let config = Config::parse(provider, &none).unwrap();
    assert_eq!(config.timing.token_provider, Duration::from_secs(10));
    assert!(
        matches!(config.credentials, Credentials::Provider(Some(first)) if first.expose_secret() == "first")
    );
    // Explicit wins over the environment, which may still give the first token.
    let environment = |name: &str| name.starts_with("SVANTIC_").then(|| "from-env".to_owned());
    let provider =
        r#"{"name":"n","description":"d","token_provider":true,"svantic_url":"https://x.example"}"#;
    let config = Config::parse(provider, &environment).unwrap();
    assert!(matches!(config.credentials, Credentials::Provider(Some(_))));
    assert!(matches!(
        Config::parse(provider, &none).unwrap().credentials,
        Credentials::Provider(None)
    ));

    for both in [
        with(r#""token_provider":true"#),
        with(r#""token":"t""#),
        r#"{"name":"n","description":"d","token":"t","client_secret_next":"x"}"#.to_owned(),
    ] {
        assert_eq!(refused(&both).code(), "AMBIGUOUS_CREDENTIALS", "{both}");
    }
    let alone = r#"{"name":"n","description":"d","client_secret_next":"hush"}"#;
    let error = refused(alone);
    assert_eq!(error.code(), "MISSING_CREDENTIALS");
    assert!(
        error.message().contains("`client_secret` are missing"),
        "{error}"
    );
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let error = refused(&with(r#""client_secrt":"x""#));
    assert_eq!(error.code(), "UNKNOWN_KEY");
    assert!(
        error.to_string().contains("did you mean `client_secret`?"),
        "{error}"
    );
    assert!(
        refused(&with(r#""zzzzzzzzzz":1"#))
            .to_string()
            .contains("known keys:")
    );
}

#[test]
fn wrong_values_are_named_and_never_quoted() {
    for (extra, part) in [
        (r#""client_id":5"#, "`client_id`"),
        (r#""workers":0"#, "from 1 to 64"),
        (r#""workers":"many""#, "`workers`"),
        (
            r#""delivery":"push""#,
            "\"callbacks\", \"inline\" or \"pull\"",
        ),
        (r#""delivery":"pull","workers":2"#, "svantic_next"),
        (r#""delivery":"inline","workers":2"#, "I/O thread"),
        (r#""busy_poll_us":1001"#, "from 0 to 1000"),
        (r#""busy_poll_us":-1"#, "`busy_poll_us`"),
        (r#""busy_poll_us":true"#, "`busy_poll_us`"),
        (r#""timeout_ms":-1"#, "`timeout_ms`"),
        (r#""timeout_ms":1e99"#, "`timeout_ms`"),
        (r#""max_frame_bytes":1"#, "`max_frame_bytes`"),
        (r#""reconnect_delays_ms":[]"#, "`reconnect_delays_ms`"),
        (r#""name":"a\nb""#, "`name`"),
        (r#""name":"é""#, "`name`"),
        (r#""instance_id":"""#, "`instance_id`"),
        (r#""context":[]"#, "`context`"),
        (r#""dispatch_auth":{"scheme":"none"}"#, "svantic_jwt"),
        (
            r#""dispatch_auth":{"type":"svantic_jwt"}"#,
            "unknown key `type`",
        ),
        (r#""svantic_url":"http://example.com""#, "no TLS"),
        (
            r#""svantic_url":"https://user:hunter2@example.com""#,
            "password",
        ),
        (r#""dead_after_ms":1000,"ping_interval_ms":900"#, "twice"),
    ] {
        let error = refused(&with(extra)).to_string();
        assert!(error.contains(part), "{part} is not in: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let misplaced =
        refused(r#"{"name":"n","description":"d","client_id":"i","client_secret":98765432}"#);
    assert!(!misplaced.to_string().contains("98765432"), "{misplaced}");
    let both = refused(&with(r#""token":"t""#));
    assert_eq!(both.code(), "AMBIGUOUS_CREDENTIALS");
}

#[test]
fn json_that_is_malformed_deep_or_no_object() {
    assert_eq!(refused("{").kind(), ErrorKind::InvalidJson);
    assert_eq!(refused("[]").code(), "NOT_AN_OBJECT");
    let deep = format!("{{\"context\":{}", "[".repeat(200_000));
    assert_eq!(refused(&deep).kind(), ErrorKind::InvalidJson);
}
