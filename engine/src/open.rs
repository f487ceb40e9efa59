//! Opening: finds out what a directory holds, and refuses what it does not understand.

mod error;
mod place;

use std::fs::File;
use std::path::Path;

use redb::{Builder, DatabaseError};
use tokenkeep_core::KeyRing;
#[cfg(any(test, feature = "testing"))]
use tokenkeep_core::StoreId;

use crate::disk::{Disk, Medium};
use crate::key_file;
use crate::meta::Meta;
use crate::options::{KeySource, Options};

pub use error::OpenError;

/// A file that was found to be in order, and the ring that opens it.
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) meta: Meta,
    pub(crate) ring: KeyRing,
}

/// Opens the store in `directory`, or makes one if there is none.
pub(crate) fn directory(directory: &Path, options: &Options) -> Result<Opened, OpenError> {
    place::make_directory(directory)?;
    let lock = place::lock(directory)?;
    let path = directory.join(FILE);
    // Looked at before a key ring is made: what cannot be used is left alone.
    let length = match place::is_there(&path)? {
        true => Some(place::check_file(&path)?),
        false => None,
    };
    let ring = ring(directory, options, length.is_some())?;
    let length = match length {
        Some(length) => length,
        None => {
            place::create(directory, &path, options.store, &ring)?;
            place::check_file(&path)?
        }
    };
    let verify = options.verify || length <= ALWAYS_VERIFIED;
    open(Medium::File(path), Some(lock), options, verify, ring)
}

/// Opens what `medium` holds, which may be nothing yet.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn medium(medium: Medium, options: &Options) -> Result<Opened, OpenError> {
    let ring = match &options.keys {
        KeySource::Ring(ring) => ring.clone(),
        KeySource::File(path) => key_file::open_or_create(path).map_err(OpenError::KeyFile)?,
        KeySource::Beside => KeyRing::generate().map_err(OpenError::Random)?,
    };
    let disk = open_disk(medium, None, options, options.verify)?;
    disk.with(|database| {
        if database_is_empty(database)? {
            let drawn = || StoreId::random().map_err(std::io::Error::other);
            let store = options.store.map_or_else(drawn, Ok).map_err(redb::Error::Io)?;
            Meta::fresh(store, &ring).write(database)?;
        }
        Ok(())
    })
    .map_err(|error| OpenError::storage(disk.path(), error))?;
    finish(disk, options, ring)
}

fn open(
    medium: Medium,
    lock: Option<File>,
    options: &Options,
    verify: bool,
    ring: KeyRing,
) -> Result<Opened, OpenError> {
    let path = medium.path().to_owned();
    // redb trusts a file that was closed properly, and may panic if it was changed since.
    let attempt = std::panic::AssertUnwindSafe(|| {
        if let Medium::File(path) = &medium {
            medium.forget_cached();
            look(path, options, &ring)?;
        }
        let disk = open_disk(medium, lock, options, verify)?;
        finish(disk, options, ring)
    });
    std::panic::catch_unwind(attempt)
        .unwrap_or_else(|_| Err(OpenError::damaged(&path, "the file makes no sense")))
}

/// Refuses what does not fit before the file is opened for writing, which changes it a little
/// even if nothing is written. A file that was not closed cannot be looked at in this way.
fn look(path: &Path, options: &Options, ring: &KeyRing) -> Result<(), OpenError> {
    match Builder::new().open_read_only(path) {
        Ok(database) => {
            let meta = Meta::read(&database, path)?;
            meta.check_store(options.store)?;
            Ok(meta.check_ring(ring)?)
        }
        Err(DatabaseError::RepairAborted) => Ok(()),
        Err(error) => Err(OpenError::storage(path, error)),
    }
}

fn open_disk(
    medium: Medium,
    lock: Option<File>,
    options: &Options,
    verify: bool,
) -> Result<Disk, OpenError> {
    let path = medium.path().to_owned();
    Disk::open(medium, lock, options.page_cache_bytes, verify)
        .map_err(|error| OpenError::storage(&path, error))
}

fn finish(disk: Disk, options: &Options, ring: KeyRing) -> Result<Opened, OpenError> {
    let storage = |error| OpenError::storage(disk.path(), error);
    let mut meta =
        disk.with(|database| Ok(Meta::read(database, disk.path()))).map_err(storage)??;
    meta.check_store(options.store)?;
    meta.check_ring(&ring)?;
    if meta.adopt(&ring) {
        disk.with(|database| meta.write(database)).map_err(storage)?;
    }
    Ok(Opened { disk, meta, ring })
}

#[cfg(any(test, feature = "testing"))]
fn database_is_empty(database: &redb::Database) -> Result<bool, redb::Error> {
    use redb::ReadableDatabase as _;
    Ok(database.begin_read()?.list_tables()?.next().is_none())
}

fn ring(directory: &Path, options: &Options, exists: bool) -> Result<KeyRing, OpenError> {
    let path = match &options.keys {
        KeySource::Ring(ring) => return Ok(ring.clone()),
        KeySource::File(path) => path.clone(),
        KeySource::Beside => directory.join(KEYS),
    };
    let there = path.try_exists().map_err(OpenError::inaccessible(&path))?;
    match (exists, there) {
        (true, false) => return Err(OpenError::KeyRingMissing { path }),
        (false, true) => tracing::warn!(
            ring = %path.display(),
            "there is a key ring and no data file: a fresh store is made; if there was one, \
             restore it before anything is written"
        ),
        _ => {}
    }
    key_file::open_or_create(&path).map_err(OpenError::KeyFile)
}

/// The data file in the directory.
const FILE: &str = "tokens.redb";
/// The key ring, unless it is elsewhere.
const KEYS: &str = "keys";
/// Files up to this size are always checked as a whole, in bytes.
const ALWAYS_VERIFIED: u64 = 64 << 20;
