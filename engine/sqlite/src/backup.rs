//! A copy of the store while it works.

use std::io;
use std::path::{Path, PathBuf};

use tokenkeep_core::StoreId;

use crate::failure::Fault;
use crate::open::place;
use crate::store::SqliteStore;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The copy cannot be written. Nothing has the name that it should get.
    #[error(
        "the backup cannot be written: check that its directory exists, its owner and its mode"
    )]
    Inaccessible(#[source] io::Error),
    /// Something has the name of the backup already.
    #[error("the backup was not made: there is a file of that name, choose another one")]
    Exists,
    /// The store cannot be read.
    #[error("the store cannot be read for the backup")]
    Store(#[source] tokenkeep_core::StoreError),
}

impl SqliteStore {
    /// Writes a copy of the store as it is at one instant to the fresh file `to`, for its owner
    /// alone. Reads and writes go on meanwhile. Once the file has its name it is whole and on the
    /// disk, and opens as a store; the keys are not in it.
    ///
    /// # Errors
    /// [`BackupError`]; then there is no file under that name, unless there was one before.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        if std::fs::symlink_metadata(to).is_ok() {
            return Err(BackupError::Exists);
        }
        let to = std::path::absolute(to).map_err(BackupError::Inaccessible)?;
        let unfinished = unfinished(&to).map_err(BackupError::Inaccessible)?;
        let made = self.copy(&unfinished).await.and_then(|()| {
            place::publish(&unfinished, &to).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => BackupError::Exists,
                _ => BackupError::Inaccessible(error),
            })
        });
        if made.is_err() {
            place::remove_if_there(&unfinished).map_err(BackupError::Inaccessible)?;
        }
        made
    }

    async fn copy(&self, unfinished: &Path) -> Result<(), BackupError> {
        place::create_private(unfinished).map_err(BackupError::Inaccessible)?;
        let name = unfinished.to_str().ok_or_else(|| {
            BackupError::Inaccessible(io::Error::other("the name of the file is not UTF-8"))
        })?;
        let name = name.to_owned();
        self.read(move |_, connection| {
            // A connection that only reads may not write another file either.
            connection.pragma_update(None, "query_only", false)?;
            let copied = connection.execute("VACUUM INTO ?1", [name]);
            connection.pragma_update(None, "query_only", true)?;
            copied.map(drop).map_err(Fault::from)
        })
        .await
        .map_err(BackupError::Store)
    }
}

/// The name that a copy has while it is written: nobody else's, for two may be at it at once.
fn unfinished(to: &Path) -> io::Result<PathBuf> {
    let random = StoreId::random().map_err(io::Error::other)?;
    Ok(place::beside(to, &format!(".{random}.unfinished")))
}
