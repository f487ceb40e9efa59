//! Stores that are read from: they must be there, and the original application's stay as they are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokenkeep_core::KeyRing;
use tokenkeep_core::codec::Sealing;

use super::keys::{existing_ring, make_private};
use super::login::logged_in;
use super::opening::{is_there, open_original, open_sqlite, open_with};
use super::{Address, AnyStore, StoreFailure, refuse_moved};
use crate::config::Config;

/// A store to read from.
#[derive(Debug)]
pub struct Source {
    /// The store.
    pub store: AnyStore,
    /// The ring that opens what is in it; the original application has none.
    pub ring: Option<KeyRing>,
    /// Where a copy of it lies, if it is one.
    _scratch: Option<TempDir>,
}

/// Opens the store at `address`, which must be there, and says with which ring. Of the original
/// application's data it reads the rows as they are; the ring is that of the settings then.
///
/// # Errors
/// [`StoreFailure`].
pub async fn open_source(config: &Config, address: &Address) -> Result<Source, StoreFailure> {
    if !is_there(address) {
        return Err(StoreFailure::NothingThere(address.to_string()));
    }
    refuse_moved(address)?;
    match address {
        Address::OriginalSqlite(file) => {
            // The original is left as it is.
            let (scratch, copy) = copied(config, file)?;
            let store = open_sqlite(&copy, Sealing::Off, None)?;
            Ok(Source { store, ring: None, _scratch: Some(scratch) })
        }
        Address::OriginalRedis(redis) => {
            let store = open_original(&logged_in(config, redis.clone())?).await?;
            Ok(Source { store, ring: None, _scratch: None })
        }
        Address::Redb(_) | Address::Redis(_) | Address::Sqlite(_) => {
            let ring = existing_ring(config, address)?;
            let store = open_with(config, address, &ring, None).await?;
            Ok(Source { store, ring: Some(ring), _scratch: None })
        }
    }
}

/// A copy of the SQLite file `file`, which goes with the directory.
fn copied(config: &Config, file: &Path) -> Result<(TempDir, PathBuf), StoreFailure> {
    let unreadable = |cause| StoreFailure::Unreadable { path: file.to_owned(), cause };
    let directory = &config.store.data_dir;
    make_private(directory).map_err(unreadable)?;
    let scratch = tempfile::Builder::new().prefix("original-").tempdir_in(directory);
    let scratch = scratch.map_err(unreadable)?;
    let copy = scratch.path().join("original.sqlite");
    for suffix in ["", "-wal", "-journal"] {
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        if suffix.is_empty() || beside(file).is_file() {
            std::fs::copy(beside(file), beside(&copy)).map_err(unreadable)?;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(beside(&copy), private).map_err(unreadable)?;
        }
    }
    Ok((scratch, copy))
}
