//! The file that holds the key ring: made once, private, and durable before anything is sealed.

mod changing;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tokenkeep_core::keyring::InvalidKeyRing;
use tokenkeep_core::{KeyRing, RandomUnavailable, StoreId};
use zeroize::Zeroizing;

pub use changing::change;

/// Why the file of a key ring cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the key file {} cannot be used: check its owner and its mode", path.display())]
    Inaccessible {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// It holds something else.
    #[error("the key file {} does not hold a key ring: put the right file there", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: InvalidKeyRing,
    },
    /// No key can be drawn.
    #[error("no fresh key can be made")]
    Random(#[source] RandomUnavailable),
}

/// Reads the ring in the file `path`; makes a file with a fresh ring if there is none.
///
/// The file has mode 0600, and is on the disk with its name when this returns. A file that others
/// may read is used, and warned of.
///
/// # Errors
/// [`KeyFileError`]; an existing file is never changed.
pub fn open_or_create(path: &Path) -> Result<KeyRing, KeyFileError> {
    let inaccessible = |cause| KeyFileError::Inaccessible { path: path.to_owned(), cause };
    let text = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let ring = KeyRing::generate().map_err(KeyFileError::Random)?;
            match create(path, &ring) {
                // Another process was faster: its ring is the one that counts.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
                made => return made.map(|()| ring).map_err(inaccessible),
            }
        }
        read => read,
    };
    let text = text.map_err(inaccessible)?;
    warn_if_loose(path);
    changing::tidy(path);
    KeyRing::parse(&text).map_err(|cause| KeyFileError::Invalid { path: path.to_owned(), cause })
}

/// Puts `ring` in place of what the file `path` holds, at once: a crash leaves one or the other.
///
/// # Errors
/// What the operating system says.
pub fn replace(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let _lock = changing::lock(path)?;
    changing::put(path, ring)
}

/// Makes an empty file that only its owner may use; fails if there is one.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    // Only Unix can open a directory as a file.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Warns if others than the owner may use `path`.
#[cfg(unix)]
pub(crate) fn warn_if_loose(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others than the owner may use this");
    }
}

/// Warns if others than the owner may use `path`.
#[cfg(not(unix))]
pub(crate) fn warn_if_loose(_path: &Path) {}

/// Makes the file `path`; fails if there is one.
fn create(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let _lock = changing::lock(path)?;
    let unfinished = unfinished(path)?;
    let made = write_private(&unfinished, ring).and_then(|()| publish(&unfinished, path));
    if made.is_err() {
        remove_if_there(&unfinished)?;
    }
    // Whoever was faster may not have come so far yet.
    sync_directory(parent(path))?;
    made
}

/// Gives the finished file `unfinished` its name; fails if something has that name already.
pub(crate) fn publish(unfinished: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, path) {
        Ok(()) => fs::remove_file(unfinished),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links.
        Err(_) => rename_new(unfinished, path),
    }
}

/// Renames, unless something has the new name already.
#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Renames, unless something has the new name already.
#[cfg(not(target_os = "linux"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

fn write_private(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(ring.to_text().as_bytes())?;
    file.sync_all()
}

/// Removes a file that may be gone.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    // A ring is small: whatever is longer is something else, and is not read to its end.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN));
    File::open(path)?.take(MAX_LEN as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// The name that a file has while it is written: nobody else's, for two may be at it at once.
pub(crate) fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let random = StoreId::random().map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:032x}.unfinished", u128::from_be_bytes(*random.as_bytes())));
    Ok(path.with_file_name(name))
}

/// The directory that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let ring = open_or_create(&path).unwrap();
        let again = open_or_create(&path).unwrap();
        assert_eq!(*ring.to_text(), *again.to_text());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_is_no_ring_is_refused_and_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        for bad in [b"".as_slice(), b"tokenkeep keys v1\n", &[0xff; 100], &[b'a'; 100_000]] {
            fs::write(&path, bad).unwrap();
            assert!(open_or_create(&path).is_err());
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_ring_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let rotated = open_or_create(&path).unwrap().rotated().unwrap();
        replace(&path, &rotated).unwrap();
        assert_eq!(*open_or_create(&path).unwrap().to_text(), *rotated.to_text());
    }

    #[test]
    fn who_makes_a_ring_at_once_gets_the_same_one() {
        for _ in 0..20 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("keys");
            let start = std::sync::Barrier::new(8);
            let make = || {
                start.wait();
                open_or_create(&path).unwrap().to_text().to_string()
            };
            let rings: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(rings.iter().all(|ring| *ring == rings[0]));
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left behind");
        }
    }

    #[test]
    fn a_file_that_is_there_is_never_renamed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::write(&from, "new").unwrap();
        rename_new(&from, &to).unwrap();
        fs::write(&from, "newer").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(publish(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }
}
