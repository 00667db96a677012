//! A mesh that asks who connects: `client_cert_file` and `client_key_file`, for HTTP and WebSocket alike.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Gateway, Options};

use crate::abi::{Agent, config};
use crate::tls::{Authority, authority, file};

pub(crate) fn asking(authority: &Authority) -> Gateway {
    Gateway::start(Options {
        tls: true,
        client_ca: Some(authority.pem()),
        ..Options::default()
    })
    .unwrap()
}

/// A client's certificate and its key, as PEM.
pub(crate) fn client(authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["desk".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The keys of the configuration for these files.
pub(crate) fn shows(
    name: &str,
    (certificate, key): &(String, String),
) -> (PathBuf, PathBuf, Value) {
    let certificate = file(&format!("{name}.crt"), certificate.as_bytes());
    let key = file(&format!("{name}.key"), key.as_bytes());
    let more = json!({"client_cert_file": certificate, "client_key_file": key});
    (certificate, key, more)
}

#[test]
fn http_and_websocket_show_the_certificate() {
    let clients = authority("clients");
    let gateway = asking(&clients);
    let ca = file("mutual.pem", gateway.ca_pem().unwrap().as_bytes());
    let (_, _, mut more) = shows("mutual", &client(&clients));
    more["ca_file"] = json!(ca);
    // Both are behind the same door: a connection without the certificate gets no answer at all.
    let agent = Agent::connected(&gateway, &more);
    agent.serves(&gateway);
    assert!(gateway.abort(agent.id()));
    agent.enters("reconnecting");
    agent.enters("connected");
    agent.serves(&gateway);
}

#[test]
fn without_the_certificate_or_with_a_strangers_nothing_is_let_in() {
    let (clients, strangers) = (authority("clients"), authority("strangers"));
    let gateway = asking(&clients);
    let ca = file("mutual-refused.pem", gateway.ca_pem().unwrap().as_bytes());
    let (_, _, stranger) = shows("stranger", &client(&strangers));
    for mut more in [json!({}), stranger] {
        more["ca_file"] = json!(ca);
        more["fail_fast"] = true.into();
        let agent = Agent::of(&gateway, &more);
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Tls, "{failure:?}");
        failure.says(&["[TLS_FAILED]", "/auth/get_token", "`client_cert_file`"]);
        agent.is(State::Idle);
    }
    assert_eq!(gateway.requests().len(), 0);
}

#[test]
fn files_that_cannot_be_used_are_refused_by_create_and_never_quoted() {
    let clients = authority("clients");
    let (good_certificate, good_key) = client(&clients);
    let (_, other_key) = client(&clients);
    let good = (
        file("good.crt", good_certificate.as_bytes()),
        file("good.key", good_key.as_bytes()),
    );
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-file.key");
    let middle: String = good_key.lines().nth(1).unwrap().to_owned();
    let broken = good_key.replace("-----END PRIVATE KEY-----", "");
    let odd = good_key.replace(
        "-----BEGIN PRIVATE KEY-----",
        &format!("-----BEGIN {middle}"),
    );
    let key = |name: &str, content: &str| (good.0.clone(), file(name, content.as_bytes()));
    let certificate = |name: &str, content: &str| (file(name, content.as_bytes()), good.1.clone());
    for ((certificate, key), blamed, why) in [
        (
            (good.0.clone(), missing),
            "`client_key_file`",
            "o such file",
        ),
        (
            key("empty.key", ""),
            "`client_key_file`",
            "no unencrypted private key",
        ),
        (
            key("cert.key", &good_certificate),
            "`client_key_file`",
            "no unencrypted private key",
        ),
        (key("broken.key", &broken), "`client_key_file`", "cut off"),
        (key("odd.key", &odd), "`client_key_file`", ""),
        (
            key("other.key", &other_key),
            "`client_key_file`",
            "not the key of",
        ),
        (
            certificate("empty.crt", ""),
            "`client_cert_file`",
            "no certificate",
        ),
        (
            certificate("key.crt", &good_key),
            "`client_cert_file`",
            "no certificate",
        ),
    ] {
        let mut config = config("https://localhost:1");
        config["token"] = "a-token".into();
        config["client_cert_file"] = json!(certificate);
        config["client_key_file"] = json!(key);
        let Err(failure) = Agent::create(&config) else {
            panic!("{certificate:?} with {key:?} was accepted")
        };
        assert_eq!(failure.status, Status::InvalidArgument);
        let path = if blamed.contains("key") {
            &key
        } else {
            &certificate
        };
        failure.says(&["[INVALID_CLIENT_CERT]", blamed, why, path.to_str().unwrap()]);
        assert!(!failure.text.contains(&middle[..12]), "{failure:?}");
    }
    for (only, other) in [
        ("client_cert_file", "client_key_file"),
        ("client_key_file", "client_cert_file"),
    ] {
        let mut config = config("https://localhost:1");
        config["token"] = "a-token".into();
        config[only] = json!(good.0);
        let Err(failure) = Agent::create(&config) else {
            panic!("{only} alone was accepted")
        };
        failure.says(&["[INVALID_CONFIG]", &format!("`{other}` is missing")]);
    }
    // The proof that the rest of the setting is good.
    let mut config = config("https://localhost:1");
    config["token"] = "a-token".into();
    config["client_cert_file"] = json!(good.0);
    config["client_key_file"] = json!(good.1);
    Agent::create(&config).unwrap();
    for path in [good.0, good.1] {
        fs::remove_file(path).unwrap();
    }
}
