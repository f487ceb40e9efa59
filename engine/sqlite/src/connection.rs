//! Connections to the data file, all set up alike.
//!
//! While one is open, nothing in this process may open the data file in another way: on Unix,
//! closing such a handle drops the locks that SQLite has on the file.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::options::Options;

/// The connection that writes.
pub(crate) fn for_writing(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = open(path, options)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        match row.get_ref(0)?.as_str() {
            Ok("wal") => Ok(()),
            _ => Err(rusqlite::Error::QueryReturnedNoRows),
        }
    })?;
    // What was acknowledged is on the disk: each commit syncs the write-ahead log.
    connection.pragma_update(None, "synchronous", "full")?;
    // What was deleted or replaced is overwritten, in free pages, too.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    if let Some(bytes) = options.size_limit_bytes {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        connection.pragma_update(None, "max_page_count", (bytes / page.max(1)).max(1))?;
    }
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn for_reading(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = open(path, options)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// A connection that changes nothing on the disk, as far as SQLite can do that.
pub(crate) fn for_looking(path: &Path, is_closed: bool) -> rusqlite::Result<Connection> {
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match (is_closed, path.to_str()) {
        // Nobody has it open: it needs neither locks nor the files beside it.
        (true, Some(path)) => Connection::open_with_flags(
            format!("file:{}?immutable=1", escaped(path)),
            read_only | OpenFlags::SQLITE_OPEN_URI,
        ),
        _ => Connection::open_with_flags(path, read_only),
    }
}

fn open(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "trusted_schema", false)?;
    // The file may have been changed by others: it carries out nothing.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Nothing of a record goes to a file that others could read.
    connection.pragma_update(None, "temp_store", "memory")?;
    let kibibytes = i64::try_from(options.page_cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    Ok(connection)
}

/// The path as it stands in a URI.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// How long another program may keep the file locked before a write fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than there are.
const STATEMENTS: usize = 64;
/// The write-ahead log is cut to this size when it is not needed any more.
const LOG_BYTES_KEPT: u64 = 16 << 20;
