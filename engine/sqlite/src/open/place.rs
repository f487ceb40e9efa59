//! The data file, the directory that it is in, and the files beside it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::OpenError;

/// The data file's own path, links resolved; its directory is made if it is not there.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let path = std::path::absolute(path).map_err(OpenError::inaccessible(path))?;
    make_directory(parent(&path))?;
    match fs::symlink_metadata(&path) {
        Ok(_) => fs::canonicalize(&path).map_err(OpenError::inaccessible(&path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(cause) => Err(OpenError::Inaccessible { path, cause }),
    }
}

/// The file with `suffix` beside `path`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The directory that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the directory `path` if it is not there, and whatever is missing above it.
fn make_directory(path: &Path) -> Result<(), OpenError> {
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
    sync_directory(parent(path))
}

/// Takes the data file for this store, for as long as the file that is returned is open.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    // It is left in place: were it removed, two stores could each lock a file of that name.
    let path = beside(path, ".lock");
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

/// Refuses what SQLite would take for a fresh file; returns the length.
pub(super) fn check_file(path: &Path) -> Result<u64, OpenError> {
    warn_if_loose(path);
    let mut file = File::open(path).map_err(OpenError::inaccessible(path))?;
    let length = file.metadata().map_err(OpenError::inaccessible(path))?.len();
    let mut start = Vec::new();
    file.by_ref()
        .take(HEADER_BYTES)
        .read_to_end(&mut start)
        .map_err(OpenError::inaccessible(path))?;
    if start.iter().all(|byte| *byte == 0) {
        return Err(OpenError::damaged("the file is empty"));
    }
    if !start.starts_with(MAGIC) {
        return Err(OpenError::Foreign);
    }
    match start.get(MAGIC.len()..) {
        Some([high, low]) if length % page_bytes([*high, *low]) == 0 => Ok(length),
        _ => Err(OpenError::damaged("the file is cut in the middle of a page")),
    }
}

/// The page size as the header has it.
fn page_bytes(bytes: [u8; 2]) -> u64 {
    match u16::from_be_bytes(bytes) {
        0 | 1 => 65_536,
        bytes => u64::from(bytes),
    }
}

/// Whether everything that was written is in the data file itself: no log beside it holds any.
pub(super) fn is_closed(path: &Path) -> bool {
    ["-wal", "-journal"]
        .into_iter()
        .all(|suffix| fs::metadata(beside(path, suffix)).map_or(0, |file| file.len()) == 0)
}

/// Makes an empty file that only its owner may use; fails if there is one.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Gives the finished file `unfinished` its name, durably; fails if something has that name.
pub(crate) fn publish(unfinished: &Path, path: &Path) -> io::Result<()> {
    File::open(unfinished)?.sync_all()?;
    match fs::hard_link(unfinished, path) {
        Ok(()) => fs::remove_file(unfinished)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // Not every file system has links.
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Err(_) => fs::rename(unfinished, path)?,
    }
    sync_directory(parent(path))
}

/// Removes a file that may be gone.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    // Only Unix can open a directory as a file.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Warns if others than the owner may use `path`.
#[cfg(unix)]
fn warn_if_loose(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others than the owner may use this");
    }
}

/// Warns if others than the owner may use `path`.
#[cfg(not(unix))]
fn warn_if_loose(_path: &Path) {}

/// What every SQLite file begins with; the page size follows.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: u64 = 18;
