//! The file of the service keys: read whole, replaced whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokenkeep_core::Timestamp;

use super::{KeyError, KeyId, Scope, ServiceKey};

/// A key as the file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKey {
    pub(super) id: KeyId,
    pub(super) name: String,
    pub(super) scopes: Vec<Scope>,
    pub(super) created_at: Timestamp,
    /// SHA-256 of the whole key in hex digits.
    pub(super) sha256: String,
}

impl StoredKey {
    pub(super) fn describe(&self) -> ServiceKey {
        ServiceKey {
            id: self.id.clone(),
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            created_at: self.created_at,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The format; 1.
    version: Version,
    keys: Vec<StoredKey>,
}

/// A format that this program does not know must not be read as if it did.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
#[derive(Clone, Copy)]
struct Version;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 1 { Ok(Self) } else { Err(format!("format {number} is not known")) }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

/// Tells one state of the file from another. Each change makes a fresh file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    #[cfg(unix)]
    inode_and_change: (u64, i64, i64),
}

#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The state of the file; absent if there is none.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, KeyError> {
        let Some(metadata) = present(fs::metadata(&self.path)).map_err(|e| self.failed(e))? else {
            return Ok(None);
        };
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Ok(Some(Stamp {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            #[cfg(unix)]
            inode_and_change: (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }))
    }

    /// The keys; none if there is no file.
    pub(super) fn read(&self) -> Result<Vec<StoredKey>, KeyError> {
        let Some(bytes) = present(fs::read(&self.path)).map_err(|e| self.failed(e))? else {
            return Ok(Vec::new());
        };
        parse(&bytes).map_err(|cause| KeyError::Damaged { path: self.path.clone(), cause })
    }

    /// Reads, changes and replaces the file. Other processes that change it wait.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Vec<StoredKey>) -> Result<(), KeyError>,
    ) -> Result<(), KeyError> {
        let _lock = self.lock().map_err(|cause| self.failed(cause))?;
        let mut keys = self.read()?;
        change(&mut keys)?;
        let bytes =
            to_bytes(keys).map_err(|cause| KeyError::Damaged { path: self.path.clone(), cause })?;
        self.replace(&bytes).map_err(|cause| self.failed(cause))
    }

    /// Says so if others may read the file.
    pub(super) fn warn_of_loose_mode(&self) {
        #[cfg(unix)]
        if let Ok(metadata) = fs::metadata(&self.path) {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let path = self.path.display();
                tracing::warn!(%path, "service keys have mode {mode:o}, 600 is expected");
            }
        }
    }

    fn lock(&self) -> io::Result<File> {
        let directory = self.directory();
        create_private_directory(directory)?;
        let lock = private().truncate(false).open(self.beside(".lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => lock.lock()?,
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        Ok(lock)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.beside(".new");
        // A rest of an earlier attempt could have a looser mode.
        present(fs::remove_file(&fresh))?;
        let mut file = private().create_new(true).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        // The rename itself must survive a power loss: a revoked key must not come back.
        File::open(self.directory())?.sync_all()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn failed(&self, cause: io::Error) -> KeyError {
        KeyError::File { path: self.path.clone(), cause }
    }
}

pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<Vec<StoredKey>> {
    serde_json::from_slice(bytes).map(|content: Content| content.keys)
}

pub(super) fn to_bytes(keys: Vec<StoredKey>) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec_pretty(&Content { version: Version, keys })
}

fn present<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Options for a file that only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
