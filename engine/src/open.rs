//! Opening: finds out what a directory holds, and refuses what it does not understand.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use redb::{Builder, DatabaseError};
use tokenkeep_core::keyring::KeyId;
use tokenkeep_core::{KeyRing, RandomUnavailable, StoreId};

use crate::disk::{Disk, Medium};
use crate::key_file::{self, KeyFileError};
use crate::meta::Meta;
use crate::options::{KeySource, Options};

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
    #[error("the data file is damaged: keep a copy of it, and restore a backup in its place")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file is something else than a token store.
    #[error("the data file is not a token store: choose another directory")]
    Foreign,
    /// The file was written by a newer version.
    #[error("the data file has format {format}: open it with the newer version that wrote it")]
    NewerFormat {
        /// The format of the file.
        format: u8,
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
    pub(crate) fn damaged(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Damaged(cause.into())
    }

    fn inaccessible(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Inaccessible { path: path.to_owned(), cause }
    }
}

/// A file that was found to be in order, and the ring that opens it.
pub(crate) struct Opened {
    pub(crate) disk: Disk,
    pub(crate) meta: Meta,
    pub(crate) ring: KeyRing,
}

/// Opens the store in `directory`, or makes one if there is none.
pub(crate) fn directory(directory: &Path, options: &Options) -> Result<Opened, OpenError> {
    make_directory(directory).map_err(OpenError::inaccessible(directory))?;
    let path = directory.join(FILE);
    let exists = path.try_exists().map_err(OpenError::inaccessible(&path))?;
    let ring = ring(directory, options, exists)?;
    if !exists {
        create(directory, &path, &ring)?;
    }
    let length = check_file(&path)?;
    let verify = options.verify || length <= ALWAYS_VERIFIED;
    open(Medium::File(path), options, verify, ring)
}

/// Opens what `medium` holds, which may be nothing yet.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn medium(medium: Medium, options: &Options) -> Result<Opened, OpenError> {
    let ring = match &options.keys {
        KeySource::Ring(ring) => ring.clone(),
        KeySource::File(path) => key_file::open_or_create(path).map_err(OpenError::KeyFile)?,
        KeySource::Beside => KeyRing::generate().map_err(OpenError::Random)?,
    };
    let disk = open_disk(medium, options, false)?;
    disk.with(|database| {
        if database_is_empty(database)? {
            let store =
                StoreId::random().map_err(|error| redb::Error::Io(io::Error::other(error)))?;
            Meta::fresh(store, &ring).write(database)?;
        }
        Ok(())
    })
    .map_err(OpenError::damaged)?;
    finish(disk, ring)
}

fn open(
    medium: Medium,
    options: &Options,
    verify: bool,
    ring: KeyRing,
) -> Result<Opened, OpenError> {
    // redb trusts a file that was closed properly, and may panic if it was changed since.
    let attempt = std::panic::AssertUnwindSafe(|| {
        if let Medium::File(path) = &medium {
            look(path, &ring)?;
        }
        let disk = open_disk(medium, options, verify)?;
        finish(disk, ring)
    });
    std::panic::catch_unwind(attempt)
        .unwrap_or_else(|_| Err(OpenError::damaged("the file makes no sense")))
}

/// Refuses what does not fit before the file is opened for writing, which changes it a little
/// even if nothing is written. A file that was not closed cannot be looked at in this way.
fn look(path: &Path, ring: &KeyRing) -> Result<(), OpenError> {
    match Builder::new().open_read_only(path) {
        Ok(database) => Meta::read(&database)?.check_ring(ring),
        Err(DatabaseError::RepairAborted) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

fn open_disk(medium: Medium, options: &Options, verify: bool) -> Result<Disk, OpenError> {
    Disk::open(medium, options.page_cache_bytes, verify).map_err(refused)
}

fn refused(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::InUse
        }
        DatabaseError::UpgradeRequired(_) => OpenError::Foreign,
        error => OpenError::damaged(error),
    }
}

fn finish(disk: Disk, ring: KeyRing) -> Result<Opened, OpenError> {
    let mut meta = None;
    disk.with(|database| {
        meta = Some(Meta::read(database));
        Ok(())
    })
    .map_err(OpenError::damaged)?;
    let mut meta = meta.unwrap_or(Err(OpenError::Foreign))?;
    meta.check_ring(&ring)?;
    if meta.adopt(&ring) {
        disk.with(|database| meta.write(database)).map_err(OpenError::damaged)?;
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
    if exists && !there {
        return Err(OpenError::KeyRingMissing { path });
    }
    key_file::open_or_create(&path).map_err(OpenError::KeyFile)
}

/// Makes an empty store under another name and renames it: a file under the proper name is
/// always whole, so that an empty one is known to be damaged.
fn create(directory: &Path, path: &Path, ring: &KeyRing) -> Result<(), OpenError> {
    let store = StoreId::random().map_err(OpenError::Random)?;
    let unfinished = directory.join(UNFINISHED);
    let make = || -> io::Result<()> {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        key_file::create_private(&unfinished)?;
        let database = Builder::new().create(&unfinished).map_err(io::Error::other)?;
        Meta::fresh(store, ring).write(&database).map_err(io::Error::other)?;
        database.close().map_err(io::Error::other)?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, path)?;
        key_file::sync_directory(directory)
    };
    make().map_err(OpenError::inaccessible(path))
}

/// Refuses what redb would take for a fresh file or could trip over; returns the length.
fn check_file(path: &Path) -> Result<u64, OpenError> {
    key_file::warn_if_loose(path);
    let mut file = File::open(path).map_err(OpenError::inaccessible(path))?;
    let length = file.metadata().map_err(OpenError::inaccessible(path))?.len();
    let mut start = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(OpenError::inaccessible(path))?;
    if start.iter().all(|byte| *byte == 0) {
        return Err(OpenError::damaged("the file is empty"));
    }
    if start != MAGIC {
        return Err(OpenError::Foreign);
    }
    Ok(length)
}

fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        key_file::warn_if_loose(path);
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The data file in the directory.
const FILE: &str = "tokens.redb";
/// The data file while it is made.
const UNFINISHED: &str = "tokens.redb.unfinished";
/// The key ring, unless it is elsewhere.
const KEYS: &str = "keys";
/// What every redb file begins with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Files up to this size are always checked as a whole, in bytes.
const ALWAYS_VERIFIED: u64 = 64 << 20;
