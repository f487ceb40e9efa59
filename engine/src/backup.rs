//! A consistent copy of a store that is in use: the rows at one instant, in a file of their own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition, TableHandle as _,
};
use tokenkeep_core::StoreError;
use tokenkeep_core::codec::Header;

use crate::block::Entries;
use crate::command::{Command, Upkeep};
use crate::disk::{BODIES, HEADERS, META, guarded};
use crate::engine::Engine;
use crate::key_file;
use crate::shared::Shared;

/// Why there is no backup. Nothing is left of what was begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store does not work.
    #[error("the store cannot be read")]
    Store(#[source] StoreError),
    /// A file of that name is there already.
    #[error("{} is there already: choose another name", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or written.
    #[error("{} cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The caller did not want it any more.
    #[error("the backup was called off")]
    CalledOff,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupProgress {
    /// Blocks of rows that were copied.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

impl Engine {
    /// Copies the store as it is at one instant into the file `path`, which must not be there.
    ///
    /// The copy is a data file of its own, which opens with the same key ring; the ring is not in
    /// it. It has mode 0600, and is whole and on the disk under its name when this returns. The
    /// store is read and written meanwhile; what is written keeps space until the copy is done.
    /// `progress` is told how far it is, and calls the copy off with `false`.
    ///
    /// # Errors
    /// [`BackupError`]
    pub async fn backup(
        &self,
        path: impl Into<PathBuf>,
        mut progress: impl FnMut(BackupProgress) -> bool + Send + 'static,
    ) -> Result<(), BackupError> {
        // Notes of use may lie in memory only.
        let flushed = self.ask(|reply| Command::Upkeep(Upkeep::Flush { reply })).await;
        flushed.map_err(BackupError::Store)?;
        let path = path.into();
        let copied = self.read(move |shared| Ok(copy(shared, &path, &mut progress))).await;
        copied.map_err(BackupError::Store)?
    }
}

/// Writes under another name first: a file under the proper name is always whole.
fn copy(
    shared: &Shared,
    path: &Path,
    progress: &mut dyn FnMut(BackupProgress) -> bool,
) -> Result<(), BackupError> {
    let unwritable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
        _ => BackupError::Unwritable { path: path.to_owned(), cause: cause.into() },
    };
    if fs::symlink_metadata(path).is_ok() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    let unfinished = key_file::unfinished(path).map_err(unwritable)?;
    drop(key_file::create_private(&unfinished).map_err(unwritable)?);
    let written = rows_into(shared, &unfinished, progress).and_then(|()| {
        let publish = || -> io::Result<()> {
            File::open(&unfinished)?.sync_all()?;
            key_file::publish(&unfinished, path)?;
            key_file::sync_directory(key_file::parent(path))
        };
        publish().map_err(unwritable)
    });
    if written.is_err() {
        key_file::remove_if_there(&unfinished).map_err(unwritable)?;
    }
    written
}

fn rows_into(
    shared: &Shared,
    path: &Path,
    progress: &mut dyn FnMut(BackupProgress) -> bool,
) -> Result<(), BackupError> {
    let unreadable = |error: redb::Error| BackupError::Store(shared.read_failed(error));
    let unwritable =
        |error: redb::Error| BackupError::Unwritable { path: path.to_owned(), cause: error.into() };
    // The transaction keeps the rows as they are, and nobody out: the store can be opened anew or
    // closed meanwhile, and the copy fails then.
    let rows = shared.disk.with(|database| Ok(database.begin_read()?)).map_err(unreadable)?;
    let mut copy = Copy { rows, progress, counted: BackupProgress { done: 0, total: 0 } };
    copy.count().map_err(unreadable)?;
    let target = guarded(|| Ok(Builder::new().set_cache_size(CACHE_BYTES).create(path)?))
        .map_err(unwritable)?;
    for table in [HEADERS, BODIES] {
        copy.table(&target, table).map_err(|stop| stop.named(unreadable, unwritable))?;
    }
    copy.meta(&target).map_err(|stop| stop.named(unreadable, unwritable))?;
    guarded(|| Ok(target.close()?)).map_err(unwritable)
}

/// Why a copy stopped.
enum Stop {
    Reading(redb::Error),
    Writing(redb::Error),
    CalledOff,
}

impl Stop {
    fn named(
        self,
        unreadable: impl Fn(redb::Error) -> BackupError,
        unwritable: impl Fn(redb::Error) -> BackupError,
    ) -> BackupError {
        match self {
            Self::Reading(error) => unreadable(error),
            Self::Writing(error) => unwritable(error),
            Self::CalledOff => BackupError::CalledOff,
        }
    }
}

/// A copy that is under way.
struct Copy<'a> {
    rows: ReadTransaction,
    progress: &'a mut dyn FnMut(BackupProgress) -> bool,
    counted: BackupProgress,
}

type Blocks = TableDefinition<'static, u64, &'static [u8]>;

impl Copy<'_> {
    fn count(&mut self) -> Result<(), redb::Error> {
        self.counted.total = guarded(|| {
            let headers = self.rows.open_table(HEADERS)?.len()?;
            Ok::<_, redb::Error>(headers + self.rows.open_table(BODIES)?.len()?)
        })?;
        Ok(())
    }

    fn table(&mut self, target: &Database, definition: Blocks) -> Result<(), Stop> {
        let table = guarded(|| Ok::<_, redb::Error>(self.rows.open_table(definition)?));
        let table = table.map_err(Stop::Reading)?;
        let there = guarded(|| Ok::<_, redb::Error>(table.len()?)).map_err(Stop::Reading)?;
        let (mut next, mut copied) = (Some(0), 0);
        while let Some(from) = next {
            let blocks = read_some(&table, from).map_err(Stop::Reading)?;
            next = blocks.last().and_then(|(number, _)| number.checked_add(1));
            if definition.name() == HEADERS.name() {
                check_rows(&blocks).map_err(Stop::Reading)?;
            }
            copied += u64::try_from(blocks.len()).unwrap_or(0);
            write_some(target, definition, &blocks).map_err(Stop::Writing)?;
            self.counted.done += u64::try_from(blocks.len()).unwrap_or(0);
            if !(self.progress)(self.counted) {
                return Err(Stop::CalledOff);
            }
        }
        // A damaged page may well read as one with fewer rows. Without them what has ended would
        // live in the copy, which nobody could tell from a whole one.
        if copied == there { Ok(()) } else { Err(Stop::Reading(damaged("rows are missing"))) }
    }

    /// Comes last: a file without it is no store.
    fn meta(&mut self, target: &Database) -> Result<(), Stop> {
        let read = guarded(|| {
            let mut rows = Vec::new();
            for row in self.rows.open_table(META)?.iter()? {
                let (name, value) = row?;
                rows.push((name.value().to_owned(), value.value().to_vec()));
            }
            Ok::<_, redb::Error>(rows)
        });
        let rows = read.map_err(Stop::Reading)?;
        let write = guarded(|| {
            let transaction = target.begin_write()?;
            let mut table = transaction.open_table(META)?;
            for (name, value) in &rows {
                table.insert(name.as_str(), value.as_slice())?;
            }
            drop(table);
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        });
        write.map_err(Stop::Writing)
    }
}

/// The blocks from `from` on, as many as are copied at a time.
fn read_some(
    table: &ReadOnlyTable<u64, &'static [u8]>,
    from: u64,
) -> Result<Vec<(u64, Vec<u8>)>, redb::Error> {
    guarded(|| {
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        for block in table.range(from..)? {
            let (number, list) = block?;
            bytes += list.value().len();
            blocks.push((number.value(), list.value().to_vec()));
            if bytes >= AT_A_TIME_BYTES {
                break;
            }
        }
        Ok(blocks)
    })
}

/// Opening would refuse a copy with a row that makes no sense.
fn check_rows(blocks: &[(u64, Vec<u8>)]) -> Result<(), redb::Error> {
    for (number, list) in blocks {
        for row in Entries::of_headers(*number, list) {
            let (_, header) = row.map_err(|error| damaged(&error.to_string()))?;
            Header::decode(header).map_err(|error| damaged(&error.to_string()))?;
        }
    }
    Ok(())
}

fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}

fn write_some(
    target: &Database,
    definition: Blocks,
    blocks: &[(u64, Vec<u8>)],
) -> Result<(), redb::Error> {
    guarded(|| {
        let transaction = target.begin_write()?;
        let mut table = transaction.open_table(definition)?;
        for (number, list) in blocks {
            table.insert(number, list.as_slice())?;
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    })
}

/// How much is read before it is written.
const AT_A_TIME_BYTES: usize = 4 << 20;
/// Pages of the copy that are kept in memory.
const CACHE_BYTES: usize = 16 << 20;
