//! `[server.tls]`: the certificate with which the server speaks TLS itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::off;

/// `[server.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate and those it hangs on (PEM), the server's own first.
    #[serde(with = "off")]
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(with = "off")]
    pub key: Option<PathBuf>,
}

impl TlsSettings {
    /// The two files, if TLS is on.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        Some((self.certificate.as_deref()?, self.key.as_deref()?))
    }
}
