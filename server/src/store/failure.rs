//! Why a store is not opened.

use std::io;
use std::path::{Path, PathBuf};

use tokenkeep::OpenError;
use tokenkeep::key_file::KeyFileError;
use tokenkeep_core::keyring::InvalidKeyRing;
use tokenkeep_core::{RandomUnavailable, StoreId};

use super::{InvalidAddress, Moved};
use crate::config::StoreKind;

/// Why a store was not opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreFailure {
    /// The key ring of the environment is not one.
    #[error("TOKENKEEP_KEY_RING is not a key ring")]
    KeyRing(#[source] InvalidKeyRing),
    /// The key ring is in the environment, where it cannot be changed.
    #[error(
        "the key ring is in TOKENKEEP_KEY_RING, which only you can change: put its text into a \
         file, name that in TOKENKEEP_KEY_RING_FILE instead, and rotate again"
    )]
    RingInEnvironment,
    /// The file of the key ring cannot be used.
    #[error("the key ring cannot be used")]
    KeyFile(#[source] KeyFileError),
    /// The key ring is not where it should be.
    #[error("the key ring {} is missing: put it back, without it no token can be read", .0.display())]
    KeyRingMissing(PathBuf),
    /// Another key ring is in the place of the one that must be there.
    #[error("{} is another key ring than that of the sessions: choose another directory", .0.display())]
    OtherRing(PathBuf),
    /// The file of the password cannot be read.
    #[error("the password in {} cannot be read", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The embedded store in a directory was not opened.
    #[error("the store in {directory} was not opened")]
    Open {
        /// The directory.
        directory: String,
        /// Why not.
        #[source]
        cause: OpenError,
    },
    /// There is no store, and none is to be made.
    #[error("there is no store at {0}")]
    NothingThere(String),
    /// The sessions of the store went elsewhere.
    #[error(transparent)]
    Moved(#[from] Moved),
    /// This program was built without that kind of store.
    #[error("this tokenkeep was built without {0}: build it with the feature of that name")]
    LeftOut(StoreKind),
    /// The address is not one.
    #[error("store.redis.url")]
    Address(#[source] InvalidAddress),
    /// The store on Redis was not opened.
    #[cfg(feature = "redis")]
    #[error("the store at {address} was not opened")]
    Redis {
        /// Its address, without the password.
        address: String,
        /// Why not.
        #[source]
        cause: tokenkeep_redis::OpenError,
    },
    /// The store on Redis did not say whether it counts.
    #[cfg(feature = "redis")]
    #[error("the store at {address} was not opened")]
    Unanswered {
        /// Its address, without the password.
        address: String,
        /// Why not.
        #[source]
        cause: tokenkeep_core::StoreError,
    },
    /// The SQLite store was not opened.
    #[cfg(feature = "sqlite")]
    #[error("the store in {file} was not opened")]
    Sqlite {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        cause: tokenkeep_sqlite::OpenError,
    },
    /// The data of the original application is no place to keep sessions in.
    #[error("{0} is the original application's data: sessions are taken from it, not kept in it")]
    Original(String),
    /// No random bytes were to be had.
    #[error("the operating system's random generator failed")]
    Random(#[source] RandomUnavailable),
    /// A file that is needed cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The store is there and is not the one that is meant.
    #[error("this is store {found}, and store {expected} is expected: choose another place")]
    OtherStore {
        /// The store that is meant.
        expected: StoreId,
        /// The store that is there.
        found: StoreId,
    },
}

impl StoreFailure {
    /// Whether the data file is there and damaged.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Open { cause: OpenError::Damaged { .. }, .. } => true,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { cause: tokenkeep_sqlite::OpenError::Damaged(_), .. } => true,
            _ => false,
        }
    }

    /// The same, of the file that was copied to where it was opened.
    #[must_use]
    pub fn naming(self, original: &Path) -> Self {
        let name = original.display().to_string();
        match self {
            Self::Open { cause, .. } => Self::Open { directory: name, cause },
            #[cfg(feature = "sqlite")]
            Self::Sqlite { cause, .. } => Self::Sqlite { file: name, cause },
            other => other,
        }
    }
}
