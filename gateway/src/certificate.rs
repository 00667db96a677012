//! A certificate authority made at the start, and the server certificate it signs: TLS without anything on disk.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};

use crate::error::Error;

/// What a gateway with `tls` needs.
pub(crate) struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

/// Makes both certificates; `host` is added to the names when it is not a loopback one.
pub(crate) fn make(host: &str) -> Result<ServerTls, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());

    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name
        .push(DnType::CommonName, "svantic-gateway local CA");
    let ca_key = KeyPair::generate().map_err(|error| failed(&error))?;
    let ca = CertifiedIssuer::self_signed(ca, ca_key).map_err(|error| failed(&error))?;

    let mut names = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    if !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    let mut server = CertificateParams::new(names).map_err(|error| failed(&error))?;
    server
        .distinguished_name
        .push(DnType::CommonName, "svantic-gateway");
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = server
        .signed_by(&key, &ca)
        .map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| failed(&error))?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerTls {
        config: Arc::new(config),
        ca_pem: ca.pem(),
    })
}
