//! Why a store is not opened.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use tokenkeep_core::keyring::{KeyId, Unfit};
use tokenkeep_core::{RandomUnavailable, StoreId};

use crate::failure::Fault;

/// Why a store was not opened. Nothing was taken from it, nor put in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file or its directory cannot be read or written.
    #[error("{} cannot be used: check that it exists, its owner and its mode", path.display())]
    Inaccessible {
        /// What cannot be used.
        path: PathBuf,
        /// What the operating system or SQLite says.
        #[source]
        cause: io::Error,
    },
    /// Another process, or another store in this one, has the file open.
    #[error("the store is in use: end the process that has it open, or open it there only")]
    InUse,
    /// The file was truncated, emptied or changed.
    #[error("the data file is damaged: keep a copy of it, and restore a backup in its place")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file is something else than a token store.
    #[error("the data file is not a token store: choose another file")]
    Foreign,
    /// The table of the original application lacks a column.
    #[error("the table user_auth_credentials has no column {column}: choose another file")]
    MissingColumn {
        /// The column that is missing.
        column: &'static str,
    },
    /// The file was written by a newer version.
    #[error("the data file has format {format}: open it with the newer version that wrote it")]
    NewerFormat {
        /// The format of the file.
        format: u8,
    },
    /// The store is there and is not the one that the program means.
    #[error(
        "this is store {found}, and store {expected} is expected: devices of one are unknown in \
         the other; choose another file"
    )]
    OtherStore {
        /// The store that is meant.
        expected: StoreId,
        /// The store that is there.
        found: StoreId,
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
    /// Sealing is off, and the store is sealed.
    #[error("the store is sealed: open it with sealing on and with its key ring")]
    Sealed,
    /// Sealing is on, and the store was kept without.
    #[error(
        "the store is not sealed: open it with sealing off, or say that what is in it is to be \
         sealed"
    )]
    NotSealed,
    /// The thread that writes could not be started.
    #[error("the thread that writes cannot be started")]
    NoThread(#[source] io::Error),
    /// No random bytes were to be had.
    #[error("no fresh store can be made")]
    Random(#[source] RandomUnavailable),
}

impl OpenError {
    pub(crate) fn damaged(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Damaged(cause.into())
    }

    /// What SQLite says of the file `path`.
    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::OutOfMemory,
            ) => Self::Inaccessible { path: path.to_owned(), cause: io::Error::other(error) },
            _ => Self::damaged(error),
        }
    }

    /// As [`OpenError::sqlite`], of the making of indices.
    pub(super) fn index(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::damaged(SeveralRows),
            _ => Self::sqlite(path)(error),
        }
    }

    /// As [`OpenError::sqlite`], of an operation on rows.
    pub(crate) fn fault(path: &Path) -> impl Fn(Fault) -> Self {
        move |fault| match fault {
            Fault::Sqlite(error) => Self::sqlite(path)(error),
            Fault::Unreadable(_, cause) => Self::damaged(cause),
        }
    }

    pub(super) fn inaccessible(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Inaccessible { path: path.to_owned(), cause }
    }
}

impl From<Unfit> for OpenError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Missing(key) => Self::KeyMissing { key },
            Unfit::Different(key) => Self::WrongKeyRing { key },
        }
    }
}

/// The index that keeps each device to one row was gone, and one has more by now.
#[derive(Debug, thiserror::Error)]
#[error(
    "the table user_auth_credentials has several rows of one device, and which of them counts \
     cannot be told: delete the others"
)]
struct SeveralRows;
