//! The one file, its tables, and the handle that can be closed and opened again under readers.

mod overlay;
mod snapshot;

use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, StorageError, TableDefinition,
};

pub(crate) use overlay::Overlay;
use snapshot::Headers;
pub(crate) use snapshot::{Row, Snapshot};
#[cfg(any(test, feature = "testing"))]
pub(crate) use snapshot::{corrupted, find};

/// Number of a block to its headers; see [`crate::block`] and [`tokenkeep_core::codec`].
pub(crate) const HEADERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("headers");
/// Number of a block to its bodies, if it has any.
pub(crate) const BODIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("bodies");
/// The one row that says what the file is; see [`crate::meta`].
pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// How to get at the file.
#[derive(Clone)]
pub(crate) enum Medium {
    File(PathBuf),
    /// Something that a test made up.
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "tests alone bring a medium of their own")
    )]
    Custom(Arc<dyn CustomMedium>),
}

/// A medium that is no file.
pub(crate) trait CustomMedium: Send + Sync {
    /// As [`Medium::forget_cached`].
    fn forget_cached(&self);
    /// Opens the database, or makes one.
    fn open(&self, builder: &mut Builder) -> Result<Database, DatabaseError>;
    /// Opens the database without a change to the medium.
    fn open_overlaid(&self, builder: &mut Builder) -> Result<Database, DatabaseError>;
}

/// What becomes of an overlay if the file cannot be opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlaid {
    Keep,
    /// It failed to read, and does not read any more.
    Renew,
}

impl Medium {
    /// Where the file is; a made up name if it is none.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Custom(_) => Path::new("custom medium"),
        }
    }

    /// Lets the operating system forget what it keeps in memory of the file, so that what is read
    /// is what is on the disk. After a failed sync some systems show pages that are not there,
    /// and never write them: a commit that is seen in this way goes with the power.
    pub(crate) fn forget_cached(&self) {
        match self {
            Self::File(path) => forget_cached(path),
            Self::Custom(medium) => medium.forget_cached(),
        }
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// The database, if it is open.
///
/// redb refuses everything after an I/O error until the database is opened anew. Readers hold
/// the lock for a single read, so that opening anew needs nobody's leave.
#[derive(Debug)]
pub(crate) struct Disk {
    medium: Medium,
    cache_bytes: usize,
    verify: bool,
    database: RwLock<Option<Database>>,
    /// What is written stays in memory: the database is there to be read.
    is_overlaid: AtomicBool,
    /// Keeps others out of the directory, even while the database is opened anew.
    lock: Mutex<Option<File>>,
}

impl Disk {
    /// Opens what is there.
    pub(crate) fn open(
        medium: Medium,
        lock: Option<File>,
        cache_bytes: usize,
        verify: bool,
    ) -> Result<Self, DatabaseError> {
        let mut disk = Self {
            medium,
            cache_bytes,
            verify,
            database: RwLock::new(None),
            is_overlaid: AtomicBool::new(false),
            lock: Mutex::new(lock),
        };
        disk.database = RwLock::new(Some(guarded(|| disk.open_database())?));
        Ok(disk)
    }

    /// Closes the database and opens it anew. If it cannot be opened for writing, what it holds is
    /// read all the same, through the overlay that there may be or another one.
    pub(crate) fn reopen(&self, overlaid: Overlaid) -> Result<(), DatabaseError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The lock on the file must be given up before it can be taken; an overlay has none.
        if !self.is_overlaid.load(Ordering::Acquire) {
            drop_quietly(database.take());
        }
        let opened = guarded(|| self.open_database());
        let is_overlaid = opened.is_err();
        let outcome = match opened {
            Ok(opened) => {
                drop_quietly(database.replace(opened));
                Ok(())
            }
            Err(error) => {
                let there = database.take().filter(|_| overlaid == Overlaid::Keep);
                *database = there.or_else(|| guarded(|| self.open_overlaid()).ok());
                Err(error)
            }
        };
        self.is_overlaid.store(is_overlaid, Ordering::Release);
        outcome
    }

    /// Closes the database for good.
    pub(crate) fn close(&self) -> Result<(), DatabaseError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.take();
        let closed = guarded(|| database.map_or(Ok(()), Database::close));
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        closed
    }

    /// Gives free pages back to the file system.
    pub(crate) fn compact(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or(redb::Error::DatabaseClosed)?;
        guarded(|| Ok(database.compact().map(|_| ())?))
    }

    /// Works with the open database. What is damaged can make redb panic; that is an error here.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        guarded(|| work(database))
    }

    /// As [`Disk::with`], for work that writes.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        if self.is_overlaid.load(Ordering::Acquire) {
            return Err(redb::Error::DatabaseClosed);
        }
        self.with(work)
    }

    /// The rows as they are at this instant.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let open = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let (headers, bodies) = guarded(|| {
            let transaction = open.begin_read()?;
            let headers = transaction.open_table(HEADERS)?;
            Ok::<_, redb::Error>((headers, transaction.open_table(BODIES)?))
        })?;
        Ok(Snapshot { headers: Headers(headers), bodies, _database: database })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.medium.path()
    }

    /// The size of the file in bytes; 0 if it is no file.
    pub(crate) fn size_bytes(&self) -> u64 {
        match &self.medium {
            Medium::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Medium::Custom(_) => 0,
        }
    }

    fn open_database(&self) -> Result<Database, DatabaseError> {
        self.medium.forget_cached();
        let mut builder = self.builder();
        match &self.medium {
            Medium::File(path) => builder.open(path),
            Medium::Custom(medium) => medium.open(&mut builder),
        }
    }

    fn open_overlaid(&self) -> Result<Database, DatabaseError> {
        let mut builder = self.builder();
        match &self.medium {
            Medium::File(path) => {
                let file = FileBackend::new(File::open(path)?)?;
                builder.create_with_backend(Overlay::new(file)?)
            }
            Medium::Custom(medium) => medium.open_overlaid(&mut builder),
        }
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(self.verify);
        builder.set_repair_callback(|progress| {
            tracing::info!(progress = progress.progress(), "the file was not closed, checking it");
        });
        builder
    }
}

#[cfg(target_os = "linux")]
fn forget_cached(path: &Path) {
    let forget = || -> std::io::Result<()> {
        let file = File::open(path)?;
        // What still waits to be written cannot be forgotten. That this fails is no news: then
        // it is not on the disk, and is not seen any more below.
        let _ = file.sync_data();
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    };
    if let Err(error) = forget() {
        tracing::warn!(path = %path.display(), %error, "the file is read as the cache has it");
    }
}

#[cfg(not(target_os = "linux"))]
fn forget_cached(_path: &Path) {}

impl Drop for Disk {
    fn drop(&mut self) {
        let database = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        drop_quietly(database);
    }
}

/// Calls redb. It trusts what it reads, and may panic if that was changed behind its back: one
/// damaged page must not take the thread with it.
pub(crate) fn guarded<T, E: From<StorageError>>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StorageError::Corrupted("a page makes no sense".into()).into()))
}

/// Dropping a database writes to it, which may go wrong as everything else.
fn drop_quietly(database: Option<Database>) {
    // Nobody waits for it: whatever must be on the disk was committed.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}
