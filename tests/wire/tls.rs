//! TLS: one trust for HTTP and WebSocket, and every certificate that must not be believed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Faults, Gateway, Options, Override};

use crate::abi::raw::RawServer;
use crate::abi::{Agent, config};
use crate::secrets::run_child;

fn gateway() -> Gateway {
    Gateway::start(Options {
        tls: true,
        ..Options::default()
    })
    .unwrap()
}

/// A file for this run's tests only.
pub(crate) fn file(name: &str, content: &[u8]) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    fs::write(&path, content).unwrap();
    path
}

/// A certificate of its own making for this address, in files with this in their names; those are the caller's to remove.
pub(crate) fn certificate_files(name: &str, address: &str) -> (Certificate, PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![address.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let certificate_file = file(
        &format!("{name}-certificate.pem"),
        certificate.pem().as_bytes(),
    );
    let key_file = file(&format!("{name}-key.pem"), key.serialize_pem().as_bytes());
    (certificate, certificate_file, key_file)
}

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    // Two authorities of one name would be told apart by the signature only.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name`, signed by `authority` or by itself.
pub(crate) fn certificate(
    name: &str,
    expired: bool,
    authority: Option<&Authority>,
) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (certificate.der().clone(), key)
}

/// A server's TLS with this certificate.
pub(crate) fn server_config(
    (certificate, key): (CertificateDer<'static>, KeyPair),
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

/// Speaks TLS with this certificate; a request that got that far is answered with 500.
fn tls_server(certified: (CertificateDer<'static>, KeyPair)) -> RawServer {
    let config = server_config(certified);
    RawServer::start(move |tcp| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(tls, tcp);
        if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
            drop(
                stream
                    .write_all(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            );
        }
    })
}

/// Answers the first bytes with these.
fn raw_server(answer: &'static [u8]) -> RawServer {
    RawServer::start(move |mut tcp: TcpStream| {
        if matches!(tcp.read(&mut [0; 4096]), Ok(1..)) {
            drop(tcp.write_all(answer));
            while matches!(tcp.read(&mut [0; 4096]), Ok(1..)) {}
        }
    })
}

#[test]
fn http_and_websocket_share_the_ca_file() {
    let gateway = gateway();
    let ca = file("gateway.pem", gateway.ca_pem().unwrap().as_bytes());
    let agent = Agent::connected(&gateway, &json!({"ca_file": ca}));
    agent.serves(&gateway);
    // The next dial trusts it as the first did.
    agent.calls_and_redials(&gateway);
    agent.disconnect().unwrap();
    assert_eq!(gateway.violations(), [""; 0]);
}

/// The certificate is for the address too.
#[test]
fn an_address_instead_of_a_name() {
    let gateway = gateway();
    let ca = file("address.pem", gateway.ca_pem().unwrap().as_bytes());
    let place = gateway.address();
    let connect_url = Some(Override::Text(format!("wss://{place}/agents/connect")));
    gateway.set_faults(Faults {
        connect_url,
        ..Faults::default()
    });
    let base = format!("https://{place}");
    let agent = Agent::connected(&gateway, &json!({"ca_file": ca, "svantic_url": base}));
    agent.serves(&gateway);
}

#[test]
fn without_the_authority_nothing_is_sent() {
    let (gateway, stranger) = (gateway(), authority("a stranger"));
    let other = file("stranger.pem", stranger.pem().as_bytes());
    for ca_file in [Value::Null, json!(other)] {
        let agent = Agent::of(&gateway, &json!({"ca_file": ca_file, "fail_fast": true}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Tls, "{failure:?}");
        let url = format!("POST {}/auth/get_token", gateway.url());
        failure.says(&[
            "[TLS_FAILED]",
            &url,
            "UnknownIssuer",
            "trust store and `ca_file`",
        ]);
        agent.is(State::Idle);
    }
    assert_eq!(gateway.requests().len(), 0);
}

/// The same bad servers as `svantic_url` and as `connect_url`.
#[test]
fn certificates_that_must_not_be_believed() {
    let (gateway, ours, stranger) = (gateway(), authority("ours"), authority("a stranger"));
    let bundle = gateway.ca_pem().unwrap() + &ours.pem();
    let ca = file("bundle.pem", bundle.as_bytes());
    let alert: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
    for (what, server, says) in [
        (
            "another name",
            tls_server(certificate("mesh.example.com", false, Some(&ours))),
            "not valid for name",
        ),
        (
            "expired",
            tls_server(certificate("localhost", true, Some(&ours))),
            "expired",
        ),
        (
            "unknown authority",
            tls_server(certificate("localhost", false, Some(&stranger))),
            "UnknownIssuer",
        ),
        (
            "self-signed",
            tls_server(certificate("localhost", false, None)),
            "UnknownIssuer",
        ),
        ("only TLS 1.1", raw_server(alert), "ProtocolVersion"),
        (
            "no TLS at all",
            raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "corrupt",
        ),
    ] {
        let place = format!("localhost:{}", server.address().port());
        let mut as_base = config(&format!("https://{place}"));
        as_base["token"] = "a-token-of-our-own".into();
        let agent = Agent::with(as_base, &json!({"ca_file": ca, "fail_fast": true}));
        let failure = agent.connect().expect_err(what);
        assert_eq!(failure.status, Status::Tls, "{what}: {failure:?}");
        failure.says(&[
            "[TLS_FAILED]",
            says,
            &format!("https://{place}/agents/register"),
            "`ca_file`",
        ]);
        agent.is(State::Idle);

        let url = format!("wss://{place}/agents/connect");
        let connect_url = Some(Override::Text(url.clone()));
        gateway.set_faults(Faults {
            connect_url,
            ..Faults::default()
        });
        let more = json!({"ca_file": ca, "fail_fast": true, "allowed_connect_hosts": [place]});
        let agent = Agent::of(&gateway, &more);
        let failure = agent.connect().expect_err(what);
        assert_eq!(failure.status, Status::Tls, "{what}: {failure:?}");
        failure.says(&[
            "[TLS_FAILED]",
            says,
            &url,
            "dialing the WebSocket",
            "`ca_file`",
        ]);
    }
    // The proof that the rest of the setting is good: a certificate that is believed gets the request.
    let good = tls_server(certificate("localhost", false, Some(&ours)));
    let mut base = config(&format!("https://localhost:{}", good.address().port()));
    base["token"] = "a-token-of-our-own".into();
    let agent = Agent::with(base, &json!({"ca_file": ca, "fail_fast": true}));
    agent.connect().unwrap_err().says(&["HTTP 500"]);
}

#[test]
fn a_ca_file_that_is_none_is_refused_by_create() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAECAwQFBgcICQ==\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\nAAEC";
    let key = KeyPair::generate().unwrap().serialize_pem();
    for path in [
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("there-is-no-such-file.pem"),
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        file("empty.pem", b""),
        file("text.pem", b"this is not PEM\n"),
        file("binary.pem", &[0, 255, 254, 1, 2, 3]),
        file("key.pem", key.as_bytes()),
        file("garbage.pem", garbage.as_bytes()),
        file("cut.pem", cut.as_bytes()),
    ] {
        let mut config = config("https://localhost:1");
        config["token"] = "a-token".into();
        config["ca_file"] = json!(path);
        let Err(failure) = Agent::create(&config) else {
            panic!("{path:?} was accepted")
        };
        assert_eq!(failure.status, Status::InvalidArgument);
        failure.says(&[
            "[INVALID_CA_FILE]",
            "`ca_file`",
            path.to_str().unwrap(),
            "give the path of a PEM file",
        ]);
    }
}

/// `security.md` S-15.
#[test]
fn no_key_log_is_written() {
    let gateway = gateway();
    let ca = file("key-log.pem", gateway.ca_pem().unwrap().as_bytes());
    let log = ca.with_extension("keys");
    let mut config = config(&gateway.url());
    config["client_id"] = gateway.client_id().into();
    config["client_secret"] = gateway.client_secret().into();
    config["ca_file"] = json!(ca);
    run_child(&config, |child: &mut Command| {
        child.env("SSLKEYLOGFILE", &log);
    });
    assert_eq!(
        gateway
            .agent(config["instance_id"].as_str().unwrap())
            .unwrap()
            .welcomes,
        1
    );
    assert!(!log.exists());
}
