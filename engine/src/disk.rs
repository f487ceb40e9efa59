//! The one file, its tables, and the handle that can be closed and opened again under readers.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, TableDefinition,
};

/// Sequence number to header; see [`tokenkeep_core::codec`].
pub(crate) const HEADERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("headers");
/// Sequence number to body, for the rows that are records.
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
    Custom(OpenMedium),
}

/// Opens the database of a [`Medium::Custom`].
pub(crate) type OpenMedium =
    Arc<dyn Fn(&mut Builder) -> Result<Database, DatabaseError> + Send + Sync>;

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
}

impl Disk {
    /// Opens what is there.
    pub(crate) fn open(
        medium: Medium,
        cache_bytes: usize,
        verify: bool,
    ) -> Result<Self, DatabaseError> {
        let disk = Self { medium, cache_bytes, verify, database: RwLock::new(None) };
        disk.reopen()?;
        Ok(disk)
    }

    /// Closes the database and opens it anew.
    pub(crate) fn reopen(&self) -> Result<(), DatabaseError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The lock on the file must be given up before it can be taken.
        drop(database.take());
        *database = Some(self.open_database()?);
        Ok(())
    }

    /// Closes the database for good.
    pub(crate) fn close(&self) -> Result<(), DatabaseError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        database.take().map_or(Ok(()), Database::close)
    }

    /// Gives free pages back to the file system.
    pub(crate) fn compact(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or(redb::Error::DatabaseClosed)?;
        database.compact()?;
        Ok(())
    }

    /// Works with the open database.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(database.as_ref().ok_or(redb::Error::DatabaseClosed)?)
    }

    /// The rows as they are at this instant.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_read()?;
        Ok(Snapshot {
            headers: transaction.open_table(HEADERS)?,
            bodies: transaction.open_table(BODIES)?,
            _database: database,
        })
    }

    /// The size of the file in bytes; 0 if it is no file.
    pub(crate) fn size_bytes(&self) -> u64 {
        match &self.medium {
            Medium::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Medium::Custom(_) => 0,
        }
    }

    fn open_database(&self) -> Result<Database, DatabaseError> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(self.verify);
        builder.set_repair_callback(|progress| {
            tracing::info!(progress = progress.progress(), "the file was not closed, checking it");
        });
        match &self.medium {
            Medium::File(path) => builder.open(path),
            Medium::Custom(open) => open(&mut builder),
        }
    }
}

/// The rows at one instant.
pub(crate) struct Snapshot<'a> {
    pub(crate) headers: ReadOnlyTable<u64, &'static [u8]>,
    bodies: ReadOnlyTable<u64, &'static [u8]>,
    /// Dropped last: while it is held, the database is not closed.
    _database: RwLockReadGuard<'a, Option<Database>>,
}

impl Snapshot<'_> {
    /// The header in row `seq`.
    pub(crate) fn header(&self, seq: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.headers.get(seq)?.map(|row| row.value().to_vec()))
    }

    /// The body in row `seq`.
    pub(crate) fn body(&self, seq: u64) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.bodies.get(seq)?.map(|row| row.value().to_vec()))
    }
}
