//! The file that holds the key ring: made once, private, and durable before anything is sealed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tokenkeep_core::keyring::InvalidKeyRing;
use tokenkeep_core::{KeyRing, RandomUnavailable};
use zeroize::Zeroizing;

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
    match read(path) {
        Ok(text) => {
            warn_if_loose(path);
            KeyRing::parse(&text)
                .map_err(|cause| KeyFileError::Invalid { path: path.to_owned(), cause })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let ring = KeyRing::generate().map_err(KeyFileError::Random)?;
            create(path, &ring).map_err(inaccessible)?;
            Ok(ring)
        }
        Err(error) => Err(inaccessible(error)),
    }
}

/// Puts `ring` in place of what the file `path` holds, at once: a crash leaves one or the other.
///
/// # Errors
/// What the operating system says.
pub fn replace(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let unfinished = unfinished(path);
    write_private(&unfinished, ring)?;
    fs::rename(&unfinished, path)?;
    sync_directory(parent(path))
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

/// A hard link, unlike a rename, fails if another process was faster.
fn create(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let unfinished = unfinished(path);
    write_private(&unfinished, ring)?;
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)?;
    sync_directory(parent(path))
}

fn write_private(path: &Path, ring: &KeyRing) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(path)?;
    file.write_all(ring.to_text().as_bytes())?;
    file.sync_all()
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    // A ring is small: whatever is longer is something else, and is not read to its end.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN));
    File::open(path)?.take(MAX_LEN as u64).read_to_string(&mut text)?;
    Ok(text)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
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
}
