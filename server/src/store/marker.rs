//! The mark that a store gets when its sessions went elsewhere: who opens it by old settings
//! would serve what is stale.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokenkeep_core::Timestamp;

/// The sessions of a store were moved: it is not the one that counts any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sessions of this store were moved to {to}: set `store.kind` and its address to that one \
     (and remove {} only if the move must be forgotten)", mark.display()
)]
pub struct Moved {
    /// Where to, without a password, and when.
    pub to: String,
    /// What says so.
    pub mark: PathBuf,
}

/// Refuses a store whose data file is `data`, if it is marked as moved.
pub(super) fn check(data: &Path) -> Result<(), Moved> {
    let mark = mark_of(data);
    match std::fs::read_to_string(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A mark that cannot be read is one all the same.
        said => Err(Moved { to: said.unwrap_or_default().trim().to_owned(), mark }),
    }
}

/// Marks the store whose data file is `data` as moved, durably.
pub(super) fn set(data: &Path, to: &str, at: Timestamp) -> io::Result<()> {
    let mark = mark_of(data);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark)?;
    writeln!(file, "{to} at {at}")?;
    file.sync_all()?;
    let directory = data.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn mark_of(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".MOVED");
    data.with_file_name(name)
}
