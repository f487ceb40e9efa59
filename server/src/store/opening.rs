//! Opens the store of the settings, or the one at an address.

use std::path::Path;
use std::sync::Arc;

use tokenkeep::{Durability, Engine, Options};
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::{KeyRing, StoreId, SystemClock, TokenStore as _};

use super::keys::{RING, place_ring, ring, ring_at, ring_source};
use super::login::{logged_in, redis_address};
use super::{Address, AnyStore, REDB_FILE, RedisAddress, StoreFailure, refuse_moved};
use crate::config::{self, Config, KeyRingSource, StoreKind};

/// Where the store of these settings is.
///
/// # Errors
/// [`StoreFailure`] if the password cannot be read.
pub fn configured(config: &Config) -> Result<Address, StoreFailure> {
    let store = &config.store;
    Ok(match store.kind {
        StoreKind::Redb => Address::Redb(store.data_dir.clone()),
        StoreKind::Sqlite => Address::Sqlite(store.sqlite_file()),
        StoreKind::Redis => Address::Redis(redis_address(config)?),
    })
}

/// Opens the store of the settings, or makes it.
///
/// # Errors
/// [`StoreFailure`]; nothing was changed on the disk.
pub async fn open_configured(config: &Config) -> Result<AnyStore, StoreFailure> {
    let address = configured(config)?;
    refuse_moved(&address)?;
    match &address {
        // It finds out by itself whether a ring that is missing was there before.
        Address::Redb(directory) => {
            let options = match config.key_ring() {
                KeyRingSource::File(path) => options(config).key_file(path),
                source @ KeyRingSource::Text(_) => options(config).key_ring(ring_at(&source)?),
            };
            open_redb(directory, options)
        }
        _ => open_with(config, &address, &ring(config, &address)?, None).await,
    }
}

/// Opens the store at `address`, or makes it under the name `id`, if it continues another one.
/// A store in a directory of its own gets the ring beside it.
///
/// # Errors
/// [`StoreFailure`].
pub async fn open_destination(
    config: &Config,
    address: &Address,
    ring: &KeyRing,
    id: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    refuse_moved(address)?;
    if let (Address::Redb(directory), KeyRingSource::File(path)) =
        (address, ring_source(config, address))
        && path == directory.join(RING)
    {
        place_ring(&path, ring)?;
    }
    let store = open_with(config, address, ring, id).await?;
    match id {
        // One that is on a network may have been there already.
        Some(id) if store.id() != id => {
            Err(StoreFailure::OtherStore { expected: id, found: store.id() })
        }
        _ => Ok(store),
    }
}

/// Opens a copy of a backup at `address`, and checks all of its file.
///
/// # Errors
/// [`StoreFailure`].
pub async fn open_backup(
    config: &Config,
    address: &Address,
    ring: &KeyRing,
) -> Result<AnyStore, StoreFailure> {
    match address {
        Address::Redb(directory) => {
            open_redb(directory, options(config).key_ring(ring.clone()).verify(true))
        }
        // It is checked when it is read, which whoever restores it does.
        _ => open_with(config, address, ring, None).await,
    }
}

/// Whether a store that lies in files is there; what is on a network is asked when it is opened.
pub(crate) fn is_there(address: &Address) -> bool {
    match address {
        Address::Redb(directory) => directory.join(REDB_FILE).is_file(),
        Address::Sqlite(file) | Address::OriginalSqlite(file) => file.is_file(),
        Address::Redis(_) | Address::OriginalRedis(_) => true,
    }
}

pub(super) async fn open_with(
    config: &Config,
    address: &Address,
    ring: &KeyRing,
    id: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    match address {
        Address::Redb(directory) => {
            let options = options(config).key_ring(ring.clone());
            let options = id.map_or(options.clone(), |id| options.store_id(id));
            open_redb(directory, options)
        }
        Address::Redis(redis) => {
            let redis = logged_in(config, redis.clone())?;
            open_redis(&redis, &rereading(config, address, ring), id).await
        }
        Address::Sqlite(file) => open_sqlite(file, sealing(config.store.sqlite.sealing, ring), id),
        Address::OriginalRedis(_) | Address::OriginalSqlite(_) => {
            Err(StoreFailure::Original(address.to_string()))
        }
    }
}

/// `ring`, and what is found by then where it comes from: other servers seal into the same store.
fn rereading(config: &Config, address: &Address, ring: &KeyRing) -> KeyRing {
    let source = ring_source(config, address);
    ring.rereading(move || {
        let is_there = !matches!(&source, KeyRingSource::File(path) if !path.is_file());
        let read = is_there.then(|| ring_at(&source))?;
        let warn = |error: &StoreFailure| {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "a key is missing, and the key ring cannot be read again");
        };
        read.inspect_err(warn).ok()
    })
}

fn sealing(on: bool, ring: &KeyRing) -> Sealing {
    if on { Sealing::On(ring.clone()) } else { Sealing::Off }
}

fn open_redb(directory: &Path, options: Options) -> Result<AnyStore, StoreFailure> {
    Engine::open(directory, options)
        .map(AnyStore::Redb)
        .map_err(|cause| StoreFailure::Open { directory: directory.display().to_string(), cause })
}

#[cfg(feature = "redis")]
fn redis_settings(address: &RedisAddress) -> tokenkeep_redis::Settings {
    use tokenkeep_core::Password;
    use tokenkeep_redis::Settings;
    let nodes = std::iter::once(address.expose()).chain(address.nodes.iter().map(String::as_str));
    let settings = match (&address.sentinel_master, address.cluster) {
        (Some(master), _) => Settings::sentinel(nodes, master),
        (None, true) => Settings::cluster(nodes),
        (None, false) => Settings::single(address.expose()),
    };
    let settings = settings.prefix(address.prefix.clone()).sealing(address.sealing);
    let settings = match &address.sentinel_login {
        Some((user, password)) => {
            settings.sentinel_login(user.clone(), Password::new(password.as_str()))
        }
        None => settings,
    };
    match &address.authorities {
        Some(pem) => settings.authorities(pem.clone()),
        None => settings,
    }
}

#[cfg(feature = "redis")]
async fn open_redis(
    address: &RedisAddress,
    ring: &KeyRing,
    id: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    let settings = redis_settings(address);
    let settings = id.map_or(settings.clone(), |id| settings.store_id(id));
    let store = Box::pin(tokenkeep_redis::RedisStore::open(settings, ring.clone()))
        .await
        .map_err(|cause| StoreFailure::Redis { address: address.to_string(), cause })?;
    Box::pin(super::marker::check_redis(&store, address)).await?;
    Ok(AnyStore::Redis(store))
}

/// Opens the original application's Redis, and writes nothing there.
#[cfg(feature = "redis")]
pub(super) async fn open_original(address: &RedisAddress) -> Result<AnyStore, StoreFailure> {
    Box::pin(tokenkeep_redis::RedisStore::open_original(redis_settings(address)))
        .await
        .map(AnyStore::Redis)
        .map_err(|cause| StoreFailure::Redis { address: address.to_string(), cause })
}

#[cfg(not(feature = "redis"))]
async fn open_redis(
    _: &RedisAddress,
    _: &KeyRing,
    _: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    Err(StoreFailure::LeftOut(StoreKind::Redis))
}

#[cfg(not(feature = "redis"))]
pub(super) async fn open_original(_: &RedisAddress) -> Result<AnyStore, StoreFailure> {
    Err(StoreFailure::LeftOut(StoreKind::Redis))
}

#[cfg(feature = "sqlite")]
pub(super) fn open_sqlite(
    file: &Path,
    sealing: Sealing,
    id: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    let options = tokenkeep_sqlite::Options::new(sealing);
    let options = id.map_or(options.clone(), |id| options.store_id(id));
    tokenkeep_sqlite::SqliteStore::open(file, options)
        .map(AnyStore::Sqlite)
        .map_err(|cause| StoreFailure::Sqlite { file: file.display().to_string(), cause })
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn open_sqlite(
    _: &Path,
    _: Sealing,
    _: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    Err(StoreFailure::LeftOut(StoreKind::Sqlite))
}

fn options(config: &Config) -> Options {
    let store = &config.store;
    let durability = match store.durability {
        config::Durability::Immediate => Durability::Immediate,
        config::Durability::Interval(every) => Durability::Interval(every),
    };
    Options::new()
        .clock(Arc::new(SystemClock::new()))
        .cache_bytes(store.cache_bytes)
        .durability(durability)
        .garbage(u8::try_from(store.garbage_share).unwrap_or(100), GARBAGE_ROWS)
}

/// Fewer rows than these are not worth reclaiming.
const GARBAGE_ROWS: u64 = 1024;
