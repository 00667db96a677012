//! The one TLS configuration, for HTTP and WebSocket alike: ring, TLS 1.2 and up, the platform's roots
//! and the caller's `ca_file`.

use std::sync::Arc;

use once_cell::sync::OnceCell;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, ErrorKind};

/// Whom to trust. The platform's roots are read when TLS is first used.
pub(crate) struct Trust {
    extra: Vec<Vec<u8>>,
    /// The same, ready for use.
    roots: RootCertStore,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// Reads `ca_file`, which must hold at least one certificate in PEM.
    pub(crate) fn new(ca_file: Option<&str>) -> Result<Self, Error> {
        let mut extra = Vec::new();
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            let refused = |why: String| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    "INVALID_CA_FILE",
                    format!("`ca_file` {path}: {why}"),
                )
                .hint(
                    "give the path of a PEM file with the certificates of the authorities to trust",
                )
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refused(error.to_string()))?;
                let added = roots.add(certificate.clone());
                added.map_err(|error| {
                    refused(format!("a certificate in it cannot be trusted: {error}"))
                })?;
                extra.push(certificate.to_vec());
            }
            if extra.is_empty() {
                return Err(refused("there is no certificate in it".to_owned()));
            }
        }
        Ok(Self {
            extra,
            roots,
            config: OnceCell::new(),
        })
    }

    /// The certificates trusted beside the platform's: what distinguishes this trust from another, whatever file
    /// they came from.
    pub(crate) fn extra(&self) -> &[Vec<u8>] {
        &self.extra
    }

    /// The configuration.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        self.config.get_or_try_init(|| self.build()).cloned()
    }

    fn build(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = self.roots.clone();
        // Single certificates that cannot be read are the platform's problem, not a reason to trust none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        with_roots(roots)
    }
}

/// A configuration that trusts nobody, for clients that only ever speak plain HTTP to loopback.
pub(crate) fn trusting_nobody() -> Result<Arc<ClientConfig>, Error> {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "TLS_SETUP", error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
