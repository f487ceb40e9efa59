//! The server's own certificate: read at the start, and again when it is renewed.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// TLS 1.2 and 1.3 with a certificate that can be renewed while connections are open. A clone is
/// the same thing.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
}

impl Tls {
    /// Reads the certificate, with those it hangs on behind it, and its private key; both PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let certificate = Arc::new(Certificate::open(certificate, key)?);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unavailable)?
            .with_no_client_auth();
        let mut config = builder.with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // What lets clients resume is with them: nothing grows here.
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Unavailable)?;
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// Reads the files again. Connections that are open go on as they are.
    ///
    /// # Errors
    /// [`TlsError`]; the certificate stays what it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let current = read(&self.certificate.file, &self.certificate.key_file)?;
        *self.certificate.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// The key file, if others than its owner and its group may read or change it.
    #[must_use]
    pub fn loose_key_file(&self) -> Option<&Path> {
        let path = &self.certificate.key_file;
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o007 != 0).then_some(path)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// The certificate that is shown, whatever the client asks for.
#[derive(Debug)]
struct Certificate {
    file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    fn open(file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(read(file, key_file)?);
        Ok(Self { file: file.to_owned(), key_file: key_file.to_owned(), current })
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(file: &Path, key_file: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause| TlsError::Unreadable { path, cause }
    };
    let pem = std::fs::read(file).map_err(unreadable(file))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::NoCertificate(file.to_owned()))?;
    let pem = Zeroizing::new(std::fs::read(key_file).map_err(unreadable(key_file))?);
    let key =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(key_file.to_owned()))?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
    let unusable = |cause| TlsError::Unusable {
        certificate: file.to_owned(),
        key: key_file.to_owned(),
        cause,
    };
    certified.map(Arc::new).map_err(unusable)
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The file has no certificate in PEM, or a damaged one.
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key in PEM, or a damaged one.
    #[error("{} holds no private key in PEM", .0.display())]
    NoKey(PathBuf),
    /// Certificate and key do not fit, or are of a kind that is not understood.
    #[error("{} and {} cannot be used together", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        #[source]
        cause: rustls::Error,
    },
    /// This machine cannot do TLS at all.
    #[error("TLS cannot be set up")]
    Unavailable(#[source] rustls::Error),
}
