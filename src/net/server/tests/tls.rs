//! TLS with certificates from files: what is spoken, what is not, and what happens when the files change.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};

use super::client::Client;
use super::{Certificate, Limits, Rig, echo, patient};
use crate::error::{Error, ErrorKind};

/// A certificate and its key in files, removed at the end.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| {
            let name = format!("svantic-listen-{}-{n}-{kind}.pem", std::process::id());
            std::env::temp_dir().join(name)
        };
        let files = Self {
            certificate: path("certificate"),
            key: path("key"),
        };
        files.renew();
        files
    }

    /// Puts another pair into the files. Returns the certificate.
    fn renew(&self) -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(&self.certificate, certificate.pem()).unwrap();
        fs::write(&self.key, key.serialize_pem()).unwrap();
        certificate
    }

    fn read(&self) -> Result<Certificate, Error> {
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        Certificate::new(text(&self.certificate), text(&self.key))
    }

    fn rig(&self, limits: Limits) -> Rig {
        Rig::with(limits, Some(self.read().unwrap()), echo)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.certificate);
        let _ = fs::remove_file(&self.key);
    }
}

/// A client that trusts this certificate.
fn client(
    rig: &Rig,
    trusted: &rcgen::Certificate,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    Client::over(StreamOwned::new(tls, rig.client().stream.into_inner()))
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];

#[test]
fn requests_travel_over_tls_1_2_and_1_3() {
    let files = Files::new();
    let certificate = files.renew();
    let rig = files.rig(patient());
    for version in BOTH {
        let mut client = client(&rig, &certificate, &[version], &["h2", "http/1.1"]);
        for n in 0..2 {
            client.ask("POST", "/send", &"x".repeat(100_000 * n));
            assert_eq!(
                client.response().body.len(),
                100_000 * n + "POST /send ".len()
            );
        }
        let tls = &client.stream.get_ref().conn;
        assert_eq!(tls.protocol_version(), Some(version.version));
        assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    client(&rig, &certificate, BOTH, &[]).ask("POST", "/", "no ALPN is no fault");
}

#[test]
fn an_older_version_is_refused_with_an_alert() {
    let files = Files::new();
    let rig = files.rig(patient());
    for minor in [1, 2] {
        // A ClientHello with which nothing is wrong but the version: random, no session, suites, no compression,
        // the extensions signature_algorithms and supported_groups.
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0, 0, 18]);
        hello.extend([0, 13, 0, 6, 0, 4, 4, 3, 4, 1, 0, 10, 0, 4, 0, 2, 0, 29]);
        let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
        message.extend(hello);
        let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).unwrap()];
        record.extend(message);
        let mut client = rig.client();
        client.send(record);
        let mut alert = [0; 7];
        client.stream.read_exact(&mut alert).unwrap();
        // An alert, fatal, protocol_version.
        assert_eq!((alert[0], &alert[5..]), (0x15, &[2, 70][..]));
        assert!(client.is_ended());
    }
}

#[test]
fn who_speaks_http_2_only_or_no_tls_gets_no_further() {
    let files = Files::new();
    let certificate = files.renew();
    let rig = files.rig(patient());
    let mut client = client(&rig, &certificate, BOTH, &["h2"]);
    let tls = client.stream.get_mut();
    let refused = tls.write_all(b"x").and_then(|()| tls.read_exact(&mut [0]));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");

    let mut plain = rig.client();
    plain.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut all = Vec::new();
    let _ = plain.stream.read_to_end(&mut all);
    assert!(!all.starts_with(b"HTTP"), "{all:?}");
}

#[test]
fn a_handshake_has_the_time_of_a_head() {
    let files = Files::new();
    let rig = files.rig(Limits {
        header: Duration::from_millis(50),
        ..patient()
    });
    let mut client = rig.client();
    client.send([0x16, 3, 1]);
    assert!(client.is_ended());
}

#[test]
fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let files = Files::new();
    let first = files.renew();
    let rig = files.rig(patient());
    let mut early = client(&rig, &first, BOTH, &[]);
    early.ask("POST", "/", "x");
    assert_eq!(early.response().status, 200);
    let second = files.renew();
    let mut late = client(&rig, &second, BOTH, &[]);
    late.ask("POST", "/", "x");
    assert_eq!(late.response().status, 200);
    // Connections that stand stay.
    early.ask("POST", "/", "x");
    assert_eq!(early.response().status, 200);
    fs::write(&files.key, "half a ke").unwrap();
    for _ in 0..2 {
        let mut still = client(&rig, &second, BOTH, &[]);
        still.ask("POST", "/", "x");
        assert_eq!(still.response().status, 200);
    }
    let warning = rig.warnings.try_recv().unwrap();
    assert!(warning.contains(files.key.to_str().unwrap()), "{warning}");
    assert!(rig.warnings.try_recv().is_err(), "it is told once");
}

#[test]
fn files_that_do_not_fit_are_named() {
    let refused = |files: &Files| {
        let error = files.read().err().expect("it must be refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.code(), "INVALID_SERVER_CERT");
        error.message().to_owned()
    };
    let (one, other) = (Files::new(), Files::new());
    fs::copy(&other.key, &one.key).unwrap();
    assert!(refused(&one).contains("not the key of"));
    fs::write(&one.key, "").unwrap();
    assert!(refused(&one).contains("`key_file`"));
    fs::write(&other.certificate, "").unwrap();
    assert!(refused(&other).contains("`certificate_file`"));
    fs::remove_file(&other.certificate).unwrap();
    assert!(refused(&other).contains(other.certificate.to_str().unwrap()));
}
