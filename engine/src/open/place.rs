//! The directory and the files in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::Path;

use redb::Builder;
use tokenkeep_core::{KeyRing, StoreId};

use super::OpenError;
use crate::key_file;
use crate::meta::Meta;

/// Makes the directory `path` if it is not there, and whatever is missing above it.
pub(super) fn make_directory(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        key_file::warn_if_loose(path);
        return Ok(());
    }
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.is_dir();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    missing.into_iter().rev().try_for_each(make_one).map_err(OpenError::inaccessible(path))
}

/// A name is on the disk only when the directory that it is in was synced.
fn make_one(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    key_file::sync_directory(key_file::parent(path))
}

/// Takes the directory for this engine, for as long as the file that is returned is open.
pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(OpenError::inaccessible(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(TryLockError::Error(cause)) => Err(OpenError::Inaccessible { path, cause }),
    }
}

/// Whether anything has the name `path`, be it a link that leads nowhere.
pub(super) fn is_there(path: &Path) -> Result<bool, OpenError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(OpenError::Inaccessible { path: path.to_owned(), cause }),
    }
}

/// Makes an empty store under another name and gives it its name: a file under the proper name
/// is always whole, so that an empty one is known to be damaged.
pub(super) fn create(
    directory: &Path,
    path: &Path,
    store: Option<StoreId>,
    ring: &KeyRing,
) -> Result<(), OpenError> {
    let store = store.map_or_else(StoreId::random, Ok).map_err(OpenError::Random)?;
    let unfinished = directory.join(UNFINISHED);
    let make = || -> io::Result<()> {
        key_file::remove_if_there(&unfinished)?;
        key_file::create_private(&unfinished)?;
        let database = Builder::new().create(&unfinished).map_err(io::Error::other)?;
        Meta::fresh(store, ring).write(&database).map_err(io::Error::other)?;
        database.close().map_err(io::Error::other)?;
        File::open(&unfinished)?.sync_all()?;
        key_file::publish(&unfinished, path)?;
        key_file::sync_directory(directory)
    };
    make().map_err(OpenError::inaccessible(path))
}

/// Refuses what redb would take for a fresh file or could trip over; returns the length.
pub(super) fn check_file(path: &Path) -> Result<u64, OpenError> {
    key_file::warn_if_loose(path);
    let mut file = File::open(path).map_err(OpenError::inaccessible(path))?;
    let length = file.metadata().map_err(OpenError::inaccessible(path))?.len();
    let mut start = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(OpenError::inaccessible(path))?;
    if start.iter().all(|byte| *byte == 0) {
        return Err(OpenError::damaged(path, "the file is empty"));
    }
    if start != MAGIC {
        return Err(OpenError::foreign(path));
    }
    Ok(length)
}

/// What an engine locks as long as it has the store open. It is left in place: were it removed,
/// two engines could each lock a file of that name.
const LOCK: &str = "lock";
/// The data file while it is made.
const UNFINISHED: &str = "tokens.redb.unfinished";
/// What every redb file begins with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
