//! The key ring of a store: where it is, and that a fresh store gets the right one.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tokenkeep::key_file::{self, KeyFileError};
use tokenkeep_core::KeyRing;

use super::opening::{configured, is_there};
use super::{Address, StoreFailure};
use crate::config::{Config, KeyRingSource};

/// The ring of the store at `address`, which must be there.
///
/// # Errors
/// [`StoreFailure`].
pub fn existing_ring(config: &Config, address: &Address) -> Result<KeyRing, StoreFailure> {
    match ring_source(config, address) {
        KeyRingSource::File(path) if !path.is_file() => {
            // The directory of the settings has the ring of stores elsewhere.
            match config.key_ring() {
                KeyRingSource::File(other) if other != path && other.is_file() => {
                    key_file::open_or_create(&other).map_err(StoreFailure::KeyFile)
                }
                _ => Err(StoreFailure::KeyRingMissing(path)),
            }
        }
        source => ring_at(&source),
    }
}

/// The ring of the store at `address`; it is made if neither is there.
///
/// # Errors
/// [`StoreFailure`].
pub fn ring(config: &Config, address: &Address) -> Result<KeyRing, StoreFailure> {
    // Whether there is one on a network is not known yet; one that is there knows its ring.
    if is_there(address) && !matches!(address, Address::Redis(_)) {
        return existing_ring(config, address);
    }
    let source = ring_source(config, address);
    if let KeyRingSource::File(path) = &source
        && let Some(directory) = path.parent()
    {
        make_private(directory).map_err(|cause| ring_unwritable(path, cause))?;
    }
    ring_at(&source)
}

/// The file of the ring that the store of these settings is sealed with.
///
/// # Errors
/// [`StoreFailure`] if the ring is in no file.
pub fn ring_file(config: &Config) -> Result<PathBuf, StoreFailure> {
    let KeyRingSource::File(path) = ring_source(config, &configured(config)?) else {
        return Err(StoreFailure::RingInEnvironment);
    };
    if path.is_file() { Ok(path) } else { Err(StoreFailure::KeyRingMissing(path)) }
}

pub(super) fn ring_at(source: &KeyRingSource) -> Result<KeyRing, StoreFailure> {
    match source {
        KeyRingSource::Text(text) => KeyRing::parse(text.expose()).map_err(StoreFailure::KeyRing),
        KeyRingSource::File(path) => key_file::open_or_create(path).map_err(StoreFailure::KeyFile),
    }
}

/// Puts `ring` where a fresh store looks for it; what is there must be the same.
pub(super) fn place_ring(path: &Path, ring: &KeyRing) -> Result<(), StoreFailure> {
    if path.is_file() {
        let there = key_file::open_or_create(path).map_err(StoreFailure::KeyFile)?;
        let same = there.to_text() == ring.to_text();
        return if same { Ok(()) } else { Err(StoreFailure::OtherRing(path.to_owned())) };
    }
    let placed = path.parent().map_or(Ok(()), make_private);
    placed
        .and_then(|()| key_file::replace(path, ring))
        .map_err(|cause| ring_unwritable(path, cause))
}

pub(super) fn ring_unwritable(path: &Path, cause: io::Error) -> StoreFailure {
    StoreFailure::KeyFile(KeyFileError::Inaccessible { path: path.to_owned(), cause })
}

pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Where the ring of the store at `address` is: as the settings say, and if they do not, in the
/// data directory, which for the embedded store is its own.
pub(super) fn ring_source(config: &Config, address: &Address) -> KeyRingSource {
    match (config.key_ring(), address) {
        (KeyRingSource::File(path), Address::Redb(directory))
            if path == config.store.data_dir.join(RING) =>
        {
            KeyRingSource::File(directory.join(RING))
        }
        (source, _) => source,
    }
}

/// The key ring, unless it is elsewhere.
pub(super) const RING: &str = "keyring";
