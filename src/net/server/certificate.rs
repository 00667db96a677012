//! What the server shows of itself: a certificate chain and its key, read again when the files have changed, so that
//! certificates can be renewed while the agent runs.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::sign::SingleCertAndKey;

use crate::error::{Error, ErrorKind};
use crate::net::stamp::Stamp;
use crate::net::tls::{self, PemFault};

/// The two files, and the configuration made from what was in them.
pub(crate) struct Certificate {
    /// Of the certificate chain, and of its key.
    files: [String; 2],
    read: Mutex<Read>,
}

struct Read {
    config: Arc<ServerConfig>,
    /// The files as they were before they were read; `None` where the last reading failed.
    stamps: Option<[Stamp; 2]>,
    /// What was wrong with the files when that was last told.
    told: Option<String>,
}

impl Certificate {
    /// Reads the files, which must fit each other.
    pub(crate) fn new(certificate_file: String, key_file: String) -> Result<Self, Error> {
        let files = [certificate_file, key_file];
        let stamps = files.each_ref().map(Stamp::of);
        let config = config(&files)?;
        let (stamps, told) = (Some(stamps), None);
        let read = Mutex::new(Read {
            config,
            stamps,
            told,
        });
        Ok(Self { files, read })
    }

    /// What is shown now, and what is wrong with files that have changed and cannot be used: that is told once, and
    /// what was read before is still shown.
    pub(super) fn current(&self) -> (Arc<ServerConfig>, Option<String>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.files.each_ref().map(Stamp::of);
        if read.stamps == Some(stamps) {
            return (Arc::clone(&read.config), None);
        }
        let mut warning = None;
        match config(&self.files) {
            Ok(config) => {
                read.config = config;
                read.stamps = Some(stamps);
                read.told = None;
            }
            Err(error) => {
                read.stamps = None;
                let text = format!("{}; what was read before is still shown", error.message());
                if read.told.as_ref() != Some(&text) {
                    warning = Some(text.clone());
                    read.told = Some(text);
                }
            }
        }
        (Arc::clone(&read.config), warning)
    }
}

fn config([certificate_file, key_file]: &[String; 2]) -> Result<Arc<ServerConfig>, Error> {
    let shown = tls::certified(certificate_file, key_file).map_err(|fault| match fault {
        PemFault::Certificate(why) => refused("certificate_file", certificate_file, &why),
        PemFault::Key(why) => refused("key_file", key_file, &why),
        PemFault::Mismatch => refused(
            "key_file",
            key_file,
            &format!("it is not the key of the certificate in {certificate_file}"),
        ),
    })?;
    let shown: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(shown));
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "TLS_SETUP", error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn refused(key: &str, path: &str, why: &str) -> Error {
    let text = format!("`{key}` {path} of `listen`: {why}");
    Error::new(ErrorKind::InvalidArgument, "INVALID_SERVER_CERT", text)
        .hint("give the paths of two PEM files: the certificate of this server, followed by those between it and its authority, and its private key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
}
