//! The outbox: sessions that ended stand there until the auth server has heard of them.

use std::path::PathBuf;
use std::time::Duration;

use tokenkeep::{Engine, Options};
use tokenkeep_core::Clock;

use super::keys::ring_at;
use super::opening::is_there;
use super::{Address, AnyStore, StoreFailure};
use crate::config::Config;

/// Opens the outbox in the data directory, or makes it; none where the auth server cannot be told
/// that a session ended. It is an embedded store of its own beside whatever keeps the sessions,
/// sealed with the same ring; call it when the store is open.
///
/// # Errors
/// [`StoreFailure`]; nothing was changed on the disk.
pub fn open_outbox(
    config: &Config,
    clock: std::sync::Arc<dyn Clock>,
) -> Result<Option<AnyStore>, StoreFailure> {
    if config.auth_server.revoke_path.is_none() {
        return Ok(None);
    }
    open(config, clock).map(Some)
}

/// Opens the outbox that lies in the data directory, if there is one: the auth server may have
/// been one that can be told.
pub(super) fn open_outbox_that_is_there(
    config: &Config,
    clock: std::sync::Arc<dyn Clock>,
) -> Result<Option<AnyStore>, StoreFailure> {
    if !is_there(&Address::Redb(directory(config))) {
        return Ok(None);
    }
    open(config, clock).map(Some)
}

fn open(config: &Config, clock: std::sync::Arc<dyn Clock>) -> Result<AnyStore, StoreFailure> {
    let directory = directory(config);
    let options = Options::new()
        .key_ring(ring_at(&config.key_ring())?)
        .clock(clock)
        .cache_bytes(CACHE_BYTES)
        .answerable(ANSWERABLE);
    Engine::open(&directory, options)
        .map(AnyStore::Redb)
        .map_err(|cause| StoreFailure::Open { directory: directory.display().to_string(), cause })
}

fn directory(config: &Config) -> PathBuf {
    config.store.data_dir.join("outbox")
}

/// Notes are read once.
const CACHE_BYTES: usize = 1 << 20;
/// Nobody asks for notes that are gone.
const ANSWERABLE: Duration = Duration::from_secs(60);
