//! Opening: finds out what a file holds, takes it over, and refuses what it does not understand.

mod error;
pub(crate) mod place;

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokenkeep_core::StoreId;
use tokenkeep_core::codec::Sealing;

use crate::connection;
use crate::meta::{self, Meta};
use crate::options::Options;
use crate::row::Form;
use crate::rows::Rows;
use crate::{schema, take_over};

pub use error::OpenError;

/// A file that was found to be in order.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) writer: Connection,
    pub(crate) form: Form,
    /// Held as long as the store is open.
    pub(crate) lock: File,
}

/// What a file holds.
enum Content {
    Store(Meta),
    Original,
}

/// Opens the store in the file `path`, or makes one if there is none.
pub(crate) fn file(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    let path = place::resolve(path)?;
    let lock = place::lock(&path)?;
    if path.exists() {
        look(&path, options)?;
    } else {
        create(&path, options)?;
    }
    if matches!(options.sealing, Sealing::Off) {
        tracing::warn!(path = %path.display(), "sealing is off: tokens lie in the file in the clear");
    }
    let options = &options.clone().with_own_ring();
    let mut writer = connection::for_writing(&path, options).map_err(OpenError::sqlite(&path))?;
    let form = begin(&mut writer, &path, options)?;
    if meta::is_sweep_due(&writer).map_err(OpenError::sqlite(&path))? {
        sweep(&writer, &path)?;
    }
    Ok(Opened { path, writer, form, lock })
}

/// Refuses what does not fit before anything is written.
fn look(path: &Path, options: &Options) -> Result<(), OpenError> {
    let length = place::check_file(path)?;
    if !place::is_closed(path) && place::beside(path, "-journal").exists() {
        // It was not closed, and SQLite has to write to find out what is in it.
        return Ok(());
    }
    let sqlite = OpenError::sqlite(path);
    let connection = connection::for_looking(path, place::is_closed(path)).map_err(&sqlite)?;
    if let Content::Store(meta) = content(&connection, path)? {
        meta.check_store(options.store)?;
        meta.check_sealing(&options.sealing, options.seal_plain)?;
    }
    if options.verify || length <= ALWAYS_VERIFIED {
        let verdict: String = connection
            .pragma_query_value(None, "quick_check", |row| row.get(0))
            .map_err(&sqlite)?;
        if verdict != "ok" {
            return Err(OpenError::damaged(verdict));
        }
    }
    Ok(())
}

fn content(connection: &Connection, path: &Path) -> Result<Content, OpenError> {
    let sqlite = OpenError::sqlite(path);
    let columns = columns(connection, "user_auth_credentials").map_err(&sqlite)?;
    if columns.is_empty() {
        return Err(OpenError::Foreign);
    }
    let is_missing = |column: &&str| !columns.iter().any(|there| there == column);
    if let Some(column) = schema::SHARED_COLUMNS.into_iter().find(is_missing) {
        return Err(OpenError::MissingColumn { column });
    }
    let missing = schema::OUR_COLUMNS.iter().filter(|column| is_missing(column)).count();
    let meta = self::columns(connection, "tokenkeep_meta").map_err(&sqlite)?;
    match (meta.is_empty(), missing) {
        (true, missing) if missing == schema::OUR_COLUMNS.len() => Ok(Content::Original),
        (false, 0) => Ok(Content::Store(Meta::read(connection).map_err(&sqlite)??)),
        _ => Err(OpenError::damaged("a part of the tables is missing")),
    }
}

/// The columns of `table`; none if it is not there.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare("SELECT lower(name) FROM pragma_table_info(?1)")?;
    query.query_map([table], |row| row.get(0))?.collect()
}

/// Makes an empty store under another name and gives it its name: a file under the proper name
/// is always whole, so that an empty one is known to be damaged.
fn create(path: &Path, options: &Options) -> Result<(), OpenError> {
    let unfinished = place::beside(path, ".unfinished");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let left = place::beside(&unfinished, suffix);
        place::remove_if_there(&left).map_err(OpenError::inaccessible(&left))?;
    }
    place::create_private(&unfinished).map_err(OpenError::inaccessible(&unfinished))?;
    {
        let sqlite = OpenError::sqlite(&unfinished);
        let mut connection = connection::for_writing(&unfinished, options).map_err(&sqlite)?;
        schema::make_original(&connection).map_err(&sqlite)?;
        begin(&mut connection, &unfinished, options)?;
        meta::forget_sweep(&connection).map_err(&sqlite)?;
        connection.close().map_err(|(_, error)| sqlite(error))?;
    }
    place::publish(&unfinished, path).map_err(OpenError::inaccessible(path))
}

/// Checks the file again, where nobody can change it meanwhile, and brings it to the form in
/// which this store works: whole or not at all.
fn begin(connection: &mut Connection, path: &Path, options: &Options) -> Result<Form, OpenError> {
    let sqlite = OpenError::sqlite(path);
    let begun = Transaction::new(connection, TransactionBehavior::Immediate).map_err(&sqlite)?;
    let form = match content(&begun, path)? {
        Content::Original => {
            let store =
                options.store.map_or_else(StoreId::random, Ok).map_err(OpenError::Random)?;
            schema::add_ours(&begun).map_err(&sqlite)?;
            let form = Form { sealing: options.sealing.clone(), store };
            take_everything(&begun, &form, path, options)?;
            Meta::fresh(store, &options.sealing).write(&begun).map_err(&sqlite)?;
            form
        }
        Content::Store(mut meta) => {
            meta.check_store(options.store)?;
            meta.check_sealing(&options.sealing, options.seal_plain)?;
            let form = Form { sealing: options.sealing.clone(), store: meta.store };
            if !meta.is_sealed() && !form.is_shared() {
                take_everything(&begun, &form, path, options)?;
            }
            if meta.adopt(&options.sealing) {
                meta.write(&begun).map_err(&sqlite)?;
            }
            form
        }
    };
    schema::add_indices(&begun).map_err(OpenError::index(path))?;
    Rows::new(&begun, &form, options.answerable).check_indices().map_err(&sqlite)?;
    begun.execute(OPEN_INTENTS, []).map_err(&sqlite)?;
    begun.commit().map_err(&sqlite)?;
    Ok(form)
}

fn take_everything(
    connection: &Connection,
    form: &Form,
    path: &Path,
    options: &Options,
) -> Result<(), OpenError> {
    let rows = Rows::new(connection, form, options.answerable);
    if !form.is_shared() {
        // Nothing was sealed so far, and what is set aside from here on is.
        take_over::seal_set_aside(&rows).map_err(OpenError::fault(path))?;
    }
    let taken =
        take_over::everything(&rows, options.clock.now()).map_err(OpenError::fault(path))?;
    if !form.is_shared() {
        meta::note_sweep(connection).map_err(OpenError::sqlite(path))?;
    }
    if taken.adopted > 0 {
        tracing::info!(rows = taken.adopted, "rows were taken over");
    }
    if taken.set_aside > 0 {
        tracing::warn!(
            rows = taken.set_aside,
            "rows that make no sense are kept aside, in the table tokenkeep_set_aside"
        );
    }
    Ok(())
}

/// Rewrites the file, so that nothing of what was taken over lies in it in the clear. It is
/// repeated at the next opening, should it not come to its end.
fn sweep(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = OpenError::sqlite(path);
    // The copy that is made meanwhile is as large as the file; it shows no token.
    connection
        .execute_batch("PRAGMA temp_store = file; VACUUM; PRAGMA temp_store = memory")
        .map_err(&sqlite)?;
    let busy: bool = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(&sqlite)?;
    if busy {
        return Err(OpenError::InUse);
    }
    // The original application may have left one; with a write-ahead log it means nothing.
    let journal = place::beside(path, "-journal");
    place::remove_if_there(&journal).map_err(OpenError::inaccessible(&journal))?;
    meta::forget_sweep(connection).map_err(&sqlite)
}

/// Files up to this size are always checked as a whole, in bytes.
const ALWAYS_VERIFIED: u64 = 16 << 20;
/// Whoever held a lease is gone: one process has the file open.
const OPEN_INTENTS: &str = "UPDATE user_auth_credentials SET leased_until = 0, uncertain = 1
    WHERE holder IS NOT NULL";
