//! Opens the store of the settings, or the one at an address.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokenkeep::key_file::KeyFileError;
use tokenkeep::{Durability, Engine, OpenError, Options};
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::keyring::InvalidKeyRing;
use tokenkeep_core::{
    KeyRing, RandomUnavailable, StoreId, SystemClock, Timestamp, TokenStore as _,
};

use super::keys::{RING, existing_ring, make_private, place_ring, ring, ring_at, ring_source};
use super::{Address, AnyStore, Moved, RedisAddress, marker};
use crate::config::{self, Config, KeyRingSource, StoreKind};

/// Why a store was not opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreFailure {
    /// The key ring of the environment is not one.
    #[error("TOKENKEEP_KEY_RING is not a key ring")]
    KeyRing(#[source] InvalidKeyRing),
    /// The key ring is in the environment, where it cannot be changed.
    #[error(
        "the key ring is in TOKENKEEP_KEY_RING, which only you can change: put its text into a \
         file, name that in TOKENKEEP_KEY_RING_FILE instead, and rotate again"
    )]
    RingInEnvironment,
    /// The file of the key ring cannot be used.
    #[error("the key ring cannot be used")]
    KeyFile(#[source] KeyFileError),
    /// The key ring is not where it should be.
    #[error("the key ring {} is missing: put it back, without it no token can be read", .0.display())]
    KeyRingMissing(PathBuf),
    /// Another key ring is in the place of the one that must be there.
    #[error("{} is another key ring than that of the sessions: choose another directory", .0.display())]
    OtherRing(PathBuf),
    /// The file of the password cannot be read.
    #[error("the password in {} cannot be read", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The embedded store in a directory was not opened.
    #[error("the store in {directory} was not opened")]
    Open {
        /// The directory.
        directory: String,
        /// Why not.
        #[source]
        cause: OpenError,
    },
    /// There is no store, and none is to be made.
    #[error("there is no store at {0}")]
    NothingThere(String),
    /// The sessions of the store went elsewhere.
    #[error(transparent)]
    Moved(#[from] Moved),
    /// This program was built without that kind of store.
    #[error("this tokenkeep was built without {0}: build it with the feature of that name")]
    LeftOut(StoreKind),
    /// The address is not one.
    #[error("store.redis.url")]
    Address(#[source] super::InvalidAddress),
    /// The store on Redis was not opened.
    #[cfg(feature = "redis")]
    #[error("the store at {address} was not opened")]
    Redis {
        /// Its address, without the password.
        address: String,
        /// Why not.
        #[source]
        cause: tokenkeep_redis::OpenError,
    },
    /// The SQLite store was not opened.
    #[cfg(feature = "sqlite")]
    #[error("the store in {file} was not opened")]
    Sqlite {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        cause: tokenkeep_sqlite::OpenError,
    },
    /// The data of the original application is no place to keep sessions in.
    #[error("{0} is the original application's data: sessions are taken from it, not kept in it")]
    Original(String),
    /// No random bytes were to be had.
    #[error("the operating system's random generator failed")]
    Random(#[source] RandomUnavailable),
    /// A file that is needed cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The store is there and is not the one that is meant.
    #[error("this is store {found}, and store {expected} is expected: choose another place")]
    OtherStore {
        /// The store that is meant.
        expected: StoreId,
        /// The store that is there.
        found: StoreId,
    },
}

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
    refuse_moved(config, &address)?;
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

/// A store to read from.
#[derive(Debug)]
pub struct Source {
    /// The store.
    pub store: AnyStore,
    /// The ring that opens what is in it; the original application has none.
    pub ring: Option<KeyRing>,
    /// Where a copy of it lies, if it is one.
    _scratch: Option<TempDir>,
}

/// Opens the store at `address`, which must be there, and says with which ring. Of the original
/// application's data it reads the rows as they are; the ring is that of the settings then.
///
/// # Errors
/// [`StoreFailure`].
pub async fn open_source(config: &Config, address: &Address) -> Result<Source, StoreFailure> {
    if !is_there(address) {
        return Err(StoreFailure::NothingThere(address.to_string()));
    }
    refuse_moved(config, address)?;
    match address {
        Address::OriginalSqlite(file) => {
            // The original is left as it is.
            let (scratch, copy) = copied(config, file)?;
            let store = open_sqlite(&copy, Sealing::Off, None)?;
            Ok(Source { store, ring: None, _scratch: Some(scratch) })
        }
        Address::OriginalRedis(redis) => {
            let mut redis = logged_in(config, redis.clone())?;
            redis.sealing = false;
            // Nothing is sealed by it.
            let ring = KeyRing::generate().map_err(StoreFailure::Random)?;
            let store = open_redis(&redis, &ring, None).await?;
            Ok(Source { store, ring: None, _scratch: None })
        }
        Address::Redb(_) | Address::Redis(_) | Address::Sqlite(_) => {
            let ring = existing_ring(config, address)?;
            let store = open_with(config, address, &ring, None).await?;
            Ok(Source { store, ring: Some(ring), _scratch: None })
        }
    }
}

/// A copy of the SQLite file `file`, which goes with the directory.
fn copied(config: &Config, file: &Path) -> Result<(TempDir, PathBuf), StoreFailure> {
    let unreadable = |cause| StoreFailure::Unreadable { path: file.to_owned(), cause };
    let directory = &config.store.data_dir;
    make_private(directory).map_err(unreadable)?;
    let scratch = tempfile::Builder::new().prefix("original-").tempdir_in(directory);
    let scratch = scratch.map_err(unreadable)?;
    let copy = scratch.path().join("original.sqlite");
    for suffix in ["", "-wal", "-journal"] {
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        if suffix.is_empty() || beside(file).is_file() {
            std::fs::copy(beside(file), beside(&copy)).map_err(unreadable)?;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(beside(&copy), private).map_err(unreadable)?;
        }
    }
    Ok((scratch, copy))
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
    refuse_moved(config, address)?;
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

/// Whether a store that lies in files is there; what is on a network is asked when it is opened.
pub(crate) fn is_there(address: &Address) -> bool {
    match address {
        Address::Redb(directory) => directory.join(REDB_FILE).is_file(),
        Address::Sqlite(file) | Address::OriginalSqlite(file) => file.is_file(),
        Address::Redis(_) | Address::OriginalRedis(_) => true,
    }
}

async fn open_with(
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
            open_redis(&redis, ring, id).await
        }
        Address::Sqlite(file) => open_sqlite(file, sealing(config.store.sqlite.sealing, ring), id),
        Address::OriginalRedis(_) | Address::OriginalSqlite(_) => {
            Err(StoreFailure::Original(address.to_string()))
        }
    }
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
async fn open_redis(
    address: &RedisAddress,
    ring: &KeyRing,
    id: Option<StoreId>,
) -> Result<AnyStore, StoreFailure> {
    use tokenkeep_redis::{RedisStore, Settings};
    let nodes = [address.expose()];
    let settings = match (&address.sentinel_master, address.cluster) {
        (Some(master), _) => Settings::sentinel(nodes, master),
        (None, true) => Settings::cluster(nodes),
        (None, false) => Settings::single(address.expose()),
    };
    let settings = settings.prefix(address.prefix.clone()).sealing(address.sealing);
    let settings = match &address.authorities {
        Some(pem) => settings.authorities(pem.clone()),
        None => settings,
    };
    let settings = id.map_or(settings.clone(), |id| settings.store_id(id));
    Box::pin(RedisStore::open(settings, ring.clone()))
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

#[cfg(feature = "sqlite")]
fn open_sqlite(
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
fn open_sqlite(_: &Path, _: Sealing, _: Option<StoreId>) -> Result<AnyStore, StoreFailure> {
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

/// The Redis of the settings, with what is needed to log in there.
fn redis_address(config: &Config) -> Result<RedisAddress, StoreFailure> {
    let redis = &config.store.redis;
    let mut address = RedisAddress::parse(&redis.url).map_err(StoreFailure::Address)?;
    address.prefix.clone_from(&redis.prefix);
    address.cluster = redis.cluster;
    address.sentinel_master.clone_from(&redis.sentinel_master);
    address.sealing = redis.sealing;
    logged_in(config, address)
}

/// `address` with the certificates, the user and the password of the settings, if it is their server.
pub(super) fn logged_in(
    config: &Config,
    mut address: RedisAddress,
) -> Result<RedisAddress, StoreFailure> {
    let redis = &config.store.redis;
    let theirs = RedisAddress::parse(&redis.url).map_err(StoreFailure::Address)?;
    if !theirs.is_same_server(&address) {
        return Ok(address);
    }
    if let Some(path) = &redis.ca_file {
        let pem = std::fs::read(path);
        let pem = pem.map_err(|cause| StoreFailure::Unreadable { path: path.clone(), cause })?;
        address.authorities = Some(pem);
    }
    let password = match (&redis.password, &redis.password_file) {
        (Some(password), _) => zeroize::Zeroizing::new(password.expose().to_owned()),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| zeroize::Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|cause| StoreFailure::Password { path: path.clone(), cause })?,
        (None, None) => return Ok(address),
    };
    Ok(address.with_login(redis.username.as_deref(), &password))
}

/// Refuses a store whose sessions went elsewhere.
///
/// # Errors
/// [`Moved`]
pub fn refuse_moved(config: &Config, address: &Address) -> Result<(), Moved> {
    marker::check(&data_file(config, address))
}

/// Marks the store at `from` as moved to `to`, durably.
pub(crate) fn mark_moved(
    config: &Config,
    from: &Address,
    to: &Address,
    at: Timestamp,
) -> io::Result<()> {
    marker::set(&data_file(config, from), &to.to_string(), at)
}

/// The file beside which the mark of a store lies. That of a store on a network lies in the data
/// directory of the server that moved it.
fn data_file(config: &Config, address: &Address) -> PathBuf {
    match address {
        Address::Redb(directory) => directory.join(REDB_FILE),
        Address::Sqlite(file) | Address::OriginalSqlite(file) => file.clone(),
        Address::Redis(redis) | Address::OriginalRedis(redis) => {
            let digest = Sha256::digest(redis.to_string());
            let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            config.store.data_dir.join(format!("redis-{name}"))
        }
    }
}

/// Fewer rows than these are not worth reclaiming.
const GARBAGE_ROWS: u64 = 1024;
/// The data file of the embedded engine.
pub(crate) const REDB_FILE: &str = "tokens.redb";
