//! A certificate authority made at the start, and the server certificate it signs: TLS without anything on disk.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::error::Error;

/// What a gateway with `tls` needs.
pub(crate) struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

/// Makes both certificates; `host` is added to the names when it is not a loopback one. With
/// `client_ca` (PEM) only clients with a certificate of these authorities get past the handshake.
pub(crate) fn make(host: &str, client_ca: Option<&str>) -> Result<ServerTls, Error> {
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
    let verifier = match client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let authority = authority.map_err(|error| failed(&error))?;
                roots.add(authority).map_err(|error| failed(&error))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| failed(&error))?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerTls {
        config: Arc::new(config),
        ca_pem: ca.pem(),
    })
}
