//! A ring in its file is changed by one at a time, and what a crash left of that goes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tokenkeep_core::KeyRing;

use super::{
    KeyFileError, parent, read, remove_if_there, sync_directory, unfinished, write_private,
};

/// Puts what `change` makes of the ring in the file `path` in its place, at once. The file must be
/// there, and keeps its owner. Whoever else changes it waits, so that no key gets lost.
///
/// # Errors
/// [`KeyFileError`], or what `change` says; the file is as it was then.
pub fn change<E: From<KeyFileError>>(
    path: &Path,
    change: impl FnOnce(&KeyRing) -> Result<KeyRing, E>,
) -> Result<KeyRing, E> {
    let inaccessible = |cause| KeyFileError::Inaccessible { path: path.to_owned(), cause };
    // What a link leads to is changed, not the link.
    let real = fs::canonicalize(path).map_err(inaccessible)?;
    let _lock = lock(&real).map_err(inaccessible)?;
    remove_leftovers(&real);
    let text = read(&real).map_err(inaccessible)?;
    let ring = KeyRing::parse(&text)
        .map_err(|cause| KeyFileError::Invalid { path: path.to_owned(), cause })?;
    let changed = change(&ring)?;
    put(&real, &changed).map_err(inaccessible)?;
    Ok(changed)
}

/// Removes what a crash left beside the ring in `path`, unless somebody changes it just now.
pub(super) fn tidy(path: &Path) {
    // A directory that cannot be written, as that of credentials, has nothing to tidy.
    let Ok(directory) = File::open(parent(path)) else { return };
    if directory.try_lock().is_ok() {
        remove_leftovers(path);
    }
}

/// Keeps everybody else from changing the ring in `path` as long as it is open.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(parent(path))?;
    directory.lock()?;
    Ok(directory)
}

/// Puts `ring` in place of what the file `path` holds.
pub(super) fn put(path: &Path, ring: &KeyRing) -> io::Result<()> {
    let unfinished = unfinished(path)?;
    let replaced = write_private(&unfinished, ring)
        .and_then(|()| keep_owner(path, &unfinished))
        .and_then(|()| fs::rename(&unfinished, path));
    if replaced.is_err() {
        remove_if_there(&unfinished)?;
    }
    replaced?;
    sync_directory(parent(path))
}

/// Gives `new` the owner that the file `path` has: the server must be able to read what its
/// operator writes.
#[cfg(unix)]
fn keep_owner(path: &Path, new: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let Ok(old) = fs::metadata(path) else { return Ok(()) };
    let made = fs::metadata(new)?;
    if (old.uid(), old.gid()) == (made.uid(), made.gid()) {
        return Ok(());
    }
    chown(new, Some(old.uid()), Some(old.gid()))
}

/// Gives `new` the owner that the file `path` has.
#[cfg(not(unix))]
fn keep_owner(_path: &Path, _new: &Path) -> io::Result<()> {
    Ok(())
}

fn remove_leftovers(path: &Path) {
    for leftover in leftovers(path) {
        match fs::remove_file(&leftover) {
            Ok(()) => {
                tracing::info!(path = %leftover.display(), "a crash left this; it is removed")
            }
            Err(error) => tracing::warn!(path = %leftover.display(), %error, "it stays"),
        }
    }
}

/// The files beside `path` that were to become it.
fn leftovers(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_leftover = |file: &Path| {
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let middle = file.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.'));
        let random = middle.and_then(|rest| rest.strip_suffix(".unfinished"));
        random.is_some_and(|text| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let Ok(entries) = fs::read_dir(parent(path)) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| is_leftover(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_file::open_or_create;

    #[test]
    fn what_a_crash_left_of_a_rotation_is_harmless_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring");
        let ring = open_or_create(&path).unwrap();
        let left = directory.path().join(format!("keyring.{}.unfinished", "0a".repeat(16)));
        let others = ["keyring.unfinished", "keyring.old", "keyring.0a.unfinished"];
        others.iter().for_each(|name| fs::write(directory.path().join(name), "mine").unwrap());
        // Half a ring, as a crash leaves it.
        fs::write(&left, &ring.rotated().unwrap().to_text()[..40]).unwrap();
        assert_eq!(*open_or_create(&path).unwrap().to_text(), *ring.to_text());
        assert!(!left.exists());
        assert!(others.iter().all(|name| directory.path().join(name).exists()));
    }

    #[test]
    fn who_changes_a_ring_at_once_loses_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring");
        let first = open_or_create(&path).unwrap().active();
        let rotate = || {
            let changed = change(&path, |ring| ring.rotated().map_err(KeyFileError::Random));
            changed.unwrap().active()
        };
        let mut drawn: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(rotate)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        drawn.push(first);
        let there: Vec<_> = open_or_create(&path).unwrap().ids().collect();
        assert_eq!(there.len(), 9);
        assert!(drawn.iter().all(|id| there.contains(id)));
    }

    #[test]
    fn a_link_stays_a_link_and_a_change_that_is_refused_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("keyring"), directory.path().join("link"));
        let ring = open_or_create(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let rotated = change(&link, |ring| ring.rotated().map_err(KeyFileError::Random)).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(*open_or_create(&path).unwrap().to_text(), *rotated.to_text());
        let cause = tokenkeep_core::keyring::InvalidKeyRing::NoKey;
        let refused: Result<_, KeyFileError> =
            change(&path, |_| Err(KeyFileError::Invalid { path: path.clone(), cause }));
        assert!(refused.is_err());
        assert_eq!(*open_or_create(&path).unwrap().to_text(), *rotated.to_text());
        assert_ne!(ring.active(), rotated.active());
    }
}
