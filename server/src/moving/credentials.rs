//! Device credentials for sessions that have none: those of the original application.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokenkeep_core::{
    Clock, Credential, DeviceSecret, Lookup, StoreError, TokenRecord, TokenStore, Verifier,
};
use zeroize::Zeroizing;

/// Why no credentials were issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file cannot be made or written.
    #[error("{} cannot be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// No secret could be drawn.
    #[error("the operating system's random generator failed")]
    Random,
    /// The destination cannot be asked whether it knows a session already.
    #[error("the destination cannot be read")]
    Store(#[source] StoreError),
}

/// A file with a line for each session that got a credential: the device id and the credential.
/// The last line of a device counts.
#[derive(Debug)]
pub struct Credentials {
    file: File,
    path: PathBuf,
    issued: u64,
}

impl Credentials {
    /// Opens the file for its owner only, or makes it; lines are added at its end.
    ///
    /// # Errors
    /// [`CredentialsError::File`]
    pub fn open(path: &Path) -> Result<Self, CredentialsError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|cause| CredentialsError::File { path: path.to_owned(), cause })?;
        Ok(Self { file, path: path.to_owned(), issued: 0 })
    }

    /// How many were issued.
    #[must_use]
    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// Draws a credential for each record that has none and is not known at `to`. The lines are
    /// on the disk before the records are stored: no session is left without its line.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub async fn issue<S: TokenStore>(
        &mut self,
        records: &mut [TokenRecord],
        to: &S,
        clock: &dyn Clock,
    ) -> Result<(), CredentialsError> {
        let mut lines = Zeroizing::new(Vec::new());
        for record in records.iter_mut() {
            if !is_nobodys(record) {
                continue;
            }
            let found = to.get(record.device_id, clock.now()).await;
            if !matches!(found.map_err(CredentialsError::Store)?, Lookup::Absent) {
                continue;
            }
            let mut secret = Zeroizing::new([0; 32]);
            getrandom::fill(secret.as_mut()).map_err(|_| CredentialsError::Random)?;
            let credential = Credential::new(record.device_id, DeviceSecret::from_bytes(*secret));
            record.verifier = credential.verifier(&to.id());
            lines.extend_from_slice(record.device_id.to_string().as_bytes());
            lines.push(b' ');
            lines.extend_from_slice(credential.expose().as_bytes());
            lines.push(b'\n');
            self.issued += 1;
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        written.map_err(|cause| CredentialsError::File { path: self.path.clone(), cause })
    }
}

/// Whether nobody can present the credential of `record`.
pub(super) fn is_nobodys(record: &TokenRecord) -> bool {
    record.verifier.as_bytes() == Verifier::NOBODY.as_bytes()
}
