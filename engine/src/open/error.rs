//! Why a store is not opened.

use std::io;
use std::path::{Path, PathBuf};

use tokenkeep_core::keyring::{KeyId, Unfit};
use tokenkeep_core::{RandomUnavailable, StoreId};

use crate::key_file::KeyFileError;

/// Why a store was not opened. Nothing was taken from it, nor put in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory or a file in it cannot be read or written.
    #[error("{} cannot be used: check that it exists, its owner and its mode", path.display())]
    Inaccessible {
        /// What cannot be used.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// Another process, or another engine in this one, has the store open.
    #[error("the store is in use: end the process that has it open, or open it there only")]
    InUse,
    /// The file was truncated, emptied or changed.
    #[error(
        "the data file {} is damaged: keep a copy of it, and restore a backup in its place",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is something else than a token store.
    #[error("{} is not a token store: choose another directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "the data file {} has format {format}: open it with the newer version that wrote it",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        format: u8,
    },
    /// The file was written by an older version, which vouched for nothing.
    #[error(
        "the data file {} has format {format}, which is not read any more: export it with the \
         version that wrote it, and import that",
        path.display()
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        format: u8,
    },
    /// The store is there and is not the one that the program means.
    #[error(
        "this is store {found}, and store {expected} is expected: devices of one are unknown in \
         the other; choose another directory"
    )]
    OtherStore {
        /// The store that is meant.
        expected: StoreId,
        /// The store that is there.
        found: StoreId,
    },
    /// There is a store, and the key ring that belongs to it is missing.
    #[error(
        "the key ring {} of this store is missing: put it back, without it no token can be read",
        path.display()
    )]
    KeyRingMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The key ring belongs to another store.
    #[error("the key ring does not fit this store: key {key} is missing in it or another one")]
    WrongKeyRing {
        /// The key that is missing or different.
        key: KeyId,
    },
    /// The key ring lacks a key that records may be sealed with.
    #[error(
        "the key {key} is missing in the key ring, and records may be sealed with it: put it back"
    )]
    KeyMissing {
        /// The key that is missing.
        key: KeyId,
    },
    /// The file of the key ring cannot be used.
    #[error("the key ring cannot be used")]
    KeyFile(#[source] KeyFileError),
    /// The thread that writes could not be started.
    #[error("the thread that writes cannot be started")]
    NoThread(#[source] io::Error),
    /// No id could be drawn for a fresh store.
    #[error("no fresh store can be made")]
    Random(#[source] RandomUnavailable),
}

impl OpenError {
    pub(crate) fn damaged(
        path: &Path,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged { path: path.to_owned(), cause: cause.into() }
    }

    pub(crate) fn foreign(path: &Path) -> Self {
        Self::Foreign { path: path.to_owned() }
    }

    /// What redb says of the file `path`: what the operating system refuses is no damage.
    pub(crate) fn storage(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::UpgradeRequired(_) => Self::foreign(path),
            redb::Error::Io(cause) if !is_about_content(&cause) => {
                Self::Inaccessible { path: path.to_owned(), cause }
            }
            error @ redb::Error::PreviousIo => {
                Self::Inaccessible { path: path.to_owned(), cause: io::Error::other(error) }
            }
            error => Self::damaged(path, error),
        }
    }

    pub(super) fn inaccessible(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Inaccessible { path: path.to_owned(), cause }
    }
}

/// redb says in this way that a file is too short, or no database.
fn is_about_content(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl From<Unfit> for OpenError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Missing(key) => Self::KeyMissing { key },
            Unfit::Different(key) => Self::WrongKeyRing { key },
        }
    }
}
