//! The one TLS configuration, for HTTP and WebSocket alike: ring, TLS 1.2 and up, the platform's roots
//! and the caller's `ca_file`, and the caller's own certificate for a mesh that asks for one.
//!
//! The files are read again when they have changed, so that certificates can be rotated while the agent runs.

use std::sync::{Arc, Mutex, PoisonError};

use once_cell::sync::OnceCell;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::stamp::Stamp;
use crate::error::{Error, ErrorKind};
use crate::sharing::Sharing;

/// Whom to trust and what to show, as the files say at the moment.
pub(crate) struct Trust {
    ca_file: Option<String>,
    /// `client_cert_file` and `client_key_file`.
    client_files: Option<(String, String)>,
    read: Mutex<Read>,
}

/// What was read last.
struct Read {
    setup: Arc<TlsSetup>,
    /// The files as they were before they were read; `None` where the last reading failed.
    stamps: Option<Vec<Stamp>>,
    /// What was wrong with the files when that was last told.
    told: Option<String>,
}

impl Trust {
    /// Reads the files. `ca_file` must hold at least one certificate in PEM; the client's key must be that of its
    /// certificate.
    pub(crate) fn new(
        ca_file: Option<String>,
        client_files: Option<(String, String)>,
    ) -> Result<Arc<Self>, Error> {
        let trust = Self::read(ca_file, client_files)?;
        if trust.names_files() {
            return Ok(Arc::new(trust));
        }
        Ok(WITHOUT_FILES.share(trust))
    }

    fn names_files(&self) -> bool {
        self.ca_file.is_some() || self.client_files.is_some()
    }

    fn read(
        ca_file: Option<String>,
        client_files: Option<(String, String)>,
    ) -> Result<Self, Error> {
        let stamps = stamps(ca_file.as_ref(), client_files.as_ref());
        let setup = TlsSetup::read(ca_file.as_ref(), client_files.as_ref())?;
        Ok(Self {
            ca_file,
            client_files,
            read: Mutex::new(Read {
                setup: SETUPS.share(setup),
                stamps: Some(stamps),
                told: None,
            }),
        })
    }

    /// What holds now: read again if a file has changed. Files that cannot be used leave what was read before,
    /// and a warning, which is given once for each cause: they may be about to be written.
    pub(crate) fn current(&self) -> (Arc<TlsSetup>, Option<String>) {
        let (ca_file, client_files) = (self.ca_file.as_ref(), self.client_files.as_ref());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(ca_file, client_files);
        if read.stamps.as_ref() == Some(&stamps) {
            return (Arc::clone(&read.setup), None);
        }
        let mut warning = None;
        match TlsSetup::read(ca_file, client_files) {
            Ok(setup) => {
                // The same content keeps its connections.
                if setup.key() != read.setup.key() {
                    read.setup = SETUPS.share(setup);
                }
                read.stamps = Some(stamps);
                read.told = None;
            }
            Err(error) => {
                read.stamps = None;
                let text = format!("{}; what was read before is still used", error.message());
                if read.told.as_ref() != Some(&text) {
                    warning = Some(text.clone());
                    read.told = Some(text);
                }
            }
        }
        (Arc::clone(&read.setup), warning)
    }
}

fn stamps(ca_file: Option<&String>, client_files: Option<&(String, String)>) -> Vec<Stamp> {
    let client = client_files.into_iter().flat_map(|(cert, key)| [cert, key]);
    ca_file.into_iter().chain(client).map(Stamp::of).collect()
}

/// What all connectors have that name no files: for them there is nothing to read again, and nothing to be told.
static WITHOUT_FILES: Sharing<Trust> = Sharing::new();

/// What names files is nobody else's: its warnings are told once to each.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        !self.names_files() && !other.names_files()
    }
}

/// A configuration with the platform's roots is large, and takes long to read: it is that of all connectors that trust the
/// same and show the same.
static SETUPS: Sharing<TlsSetup> = Sharing::new();

/// Whom to trust and what to show. The platform's roots are read when TLS is first used.
pub(crate) struct TlsSetup {
    key: TlsKey,
    /// The extra certificates, ready for use.
    roots: RootCertStore,
    client: Option<Arc<CertifiedKey>>,
    config: OnceCell<Arc<ClientConfig>>,
}

/// What distinguishes one setup from another, whatever files it came from: the certificates trusted beside the
/// platform's, and those shown. The key is not in it: it is the one that fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsKey {
    extra: Vec<CertificateDer<'static>>,
    shown: Vec<CertificateDer<'static>>,
}

impl PartialEq for TlsSetup {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl TlsSetup {
    fn read(
        ca_file: Option<&String>,
        client_files: Option<&(String, String)>,
    ) -> Result<Self, Error> {
        let mut extra = Vec::new();
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            extra = certificates(path).map_err(|why| refused_ca(path, &why))?;
            for certificate in &extra {
                roots.add(certificate.clone()).map_err(|error| {
                    let why = format!("a certificate in it cannot be trusted: {error}");
                    refused_ca(path, &why)
                })?;
            }
        }
        let client = client_files
            .map(|(certificate, key)| client(certificate, key))
            .transpose()?;
        let shown = client.as_ref().map(|client| client.cert.clone());
        Ok(Self {
            key: TlsKey {
                extra,
                shown: shown.unwrap_or_default(),
            },
            roots,
            client: client.map(Arc::new),
            config: OnceCell::new(),
        })
    }

    /// What distinguishes it.
    pub(crate) fn key(&self) -> &TlsKey {
        &self.key
    }

    /// The configuration.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        self.config.get_or_try_init(|| self.build()).cloned()
    }

    fn build(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = self.roots.clone();
        // Single certificates that cannot be read are the platform's problem, not a reason to trust none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        with_roots(roots, self.client.as_ref())
    }
}

/// A configuration that trusts nobody, for clients that only ever speak plain HTTP to loopback.
pub(crate) fn trusting_nobody() -> Result<Arc<ClientConfig>, Error> {
    with_roots(RootCertStore::empty(), None)
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn with_roots(
    roots: RootCertStore,
    client: Option<&Arc<CertifiedKey>>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "TLS_SETUP", error.to_string()))?
        .with_root_certificates(roots);
    Ok(Arc::new(match client {
        Some(client) => {
            let shown: Arc<dyn ResolvesClientCert> =
                Arc::new(SingleCertAndKey::from(Arc::clone(client)));
            builder.with_client_cert_resolver(shown)
        }
        None => builder.with_no_client_auth(),
    }))
}

/// The client's certificate chain with its key.
fn client(certificate_file: &str, key_file: &str) -> Result<CertifiedKey, Error> {
    certified(certificate_file, key_file).map_err(|fault| match fault {
        PemFault::Certificate(why) => refused_client("client_cert_file", certificate_file, &why),
        PemFault::Key(why) => refused_client("client_key_file", key_file, &why),
        PemFault::Mismatch => {
            let why = format!(
                "it is not the key of the certificate in `client_cert_file` {certificate_file}"
            );
            refused_client("client_key_file", key_file, &why)
        }
    })
}

/// What is wrong with a certificate and its key.
pub(super) enum PemFault {
    /// The certificates cannot be used: why.
    Certificate(String),
    /// The key cannot be used: why.
    Key(String),
    /// One is not the other's.
    Mismatch,
}

/// A certificate chain with its key, each from a PEM file.
pub(super) fn certified(certificate_file: &str, key_file: &str) -> Result<CertifiedKey, PemFault> {
    let chain = certificates(certificate_file).map_err(PemFault::Certificate)?;
    let content: SecretSlice<u8> = std::fs::read(key_file)
        .map_err(|error| PemFault::Key(error.to_string()))?
        .into();
    let key = PrivateKeyDer::from_pem_slice(content.expose_secret())
        .map_err(|error| PemFault::Key(flaw(&error, "unencrypted private key")))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => PemFault::Mismatch,
        rustls::Error::InvalidCertificate(_) => {
            PemFault::Certificate("its first certificate cannot be used".to_owned())
        }
        // What rustls says of a key may describe it.
        _ => PemFault::Key("the private key in it cannot be used".to_owned()),
    })
}

/// The certificates in a PEM file, at least one.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let content = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|error| flaw(&error, "certificate"))?;
    if certificates.is_empty() {
        return Err(flaw(&pem::Error::NoItemsFound, "certificate"));
    }
    Ok(certificates)
}

/// What is wrong with a PEM file, in words of our own: the parser's quote lines of the file.
fn flaw(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {wanted} in it"),
        pem::Error::Io(error) => error.to_string(),
        _ => "it is not PEM, or is cut off".to_owned(),
    }
}

fn refused_ca(path: &str, why: &str) -> Error {
    let text = format!("`ca_file` {path}: {why}");
    Error::new(ErrorKind::InvalidArgument, "INVALID_CA_FILE", text)
        .hint("give the path of a PEM file with the certificates of the authorities to trust")
}

fn refused_client(key: &str, path: &str, why: &str) -> Error {
    let text = format!("`{key}` {path}: {why}");
    Error::new(ErrorKind::InvalidArgument, "INVALID_CLIENT_CERT", text)
        .hint("give the paths of two PEM files: the agent's certificate, followed by those between it and its authority, and its private key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn files_that_change_are_read_again_and_the_same_content_is_the_same_setup() {
        let (first, second) = (authority(), authority());
        let path = std::env::temp_dir().join(format!("svantic-trust-{}.pem", std::process::id()));
        let put = |content: &str| fs::write(&path, content).unwrap();
        put(&first);
        let trust = Trust::new(Some(path.to_str().unwrap().to_owned()), None).unwrap();
        let at_first = trust.current().0;
        assert!(Arc::ptr_eq(&at_first, &trust.current().0));
        // Another length, the same certificates: what is connected stays so.
        put(&format!("{first}\n\n"));
        assert!(Arc::ptr_eq(&at_first, &trust.current().0));

        put(&format!("the second\n{second}"));
        let (then, warning) = trust.current();
        assert!(then.key() != at_first.key() && warning.is_none());

        put("half a fi");
        let (kept, warning) = trust.current();
        assert!(Arc::ptr_eq(&kept, &then));
        let warning = warning.unwrap();
        let (named, why) = (path.to_str().unwrap(), "no certificate");
        assert!(
            warning.contains(named) && warning.contains(why),
            "{warning}"
        );
        assert!(trust.current().1.is_none(), "it is told once");
        fs::remove_file(&path).unwrap();
        let (kept, warning) = trust.current();
        assert!(Arc::ptr_eq(&kept, &then) && warning.is_some());
        assert!(trust.current().1.is_none(), "it is told once");

        put(&first);
        let (back, warning) = trust.current();
        assert!(back.key() == at_first.key() && warning.is_none());
        fs::remove_file(&path).unwrap();
    }
}
