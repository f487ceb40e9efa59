//! A store of each kind, on storage of its own.

use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokenkeep::core::codec::Sealing;
use tokenkeep::{Engine, KeyRing, Options, TokenStore};
use tokenkeep_redis::RedisStore;
use tokenkeep_sqlite::SqliteStore;
use tokio::runtime::Runtime;

use crate::peers::redis_server::RedisServer;
use crate::runtime;

/// A store that is open, and a runtime to use it with.
pub(super) trait Fixture {
    /// What the store is called.
    const NAME: &'static str;
    /// Its type.
    type Store: TokenStore;

    fn store(&self) -> &Self::Store;
    fn runtime(&self) -> &Runtime;
}

/// The embedded engine.
pub(super) struct Redb {
    engine: Engine,
    runtime: Runtime,
    _place: TempDir,
}

impl Redb {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let place = tempfile::tempdir_in(directory)?;
        let engine = Engine::open(place.path(), Options::default())?;
        Ok(Self { engine, runtime: runtime(), _place: place })
    }
}

impl Fixture for Redb {
    const NAME: &'static str = "redb";
    type Store = Engine;

    fn store(&self) -> &Engine {
        &self.engine
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// A SQLite file.
pub(super) struct Sqlite {
    store: SqliteStore,
    runtime: Runtime,
    _place: TempDir,
}

impl Sqlite {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let place = tempfile::tempdir_in(directory)?;
        let sealing = Sealing::On(KeyRing::generate()?);
        let options = tokenkeep_sqlite::Options::new(sealing);
        let store = SqliteStore::open(place.path().join("tokens.sqlite"), options)?;
        Ok(Self { store, runtime: runtime(), _place: place })
    }
}

impl Fixture for Sqlite {
    const NAME: &'static str = "sqlite";
    type Store = SqliteStore;

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// A `redis-server` on loopback that syncs every write.
pub(super) struct Redis {
    store: RedisStore,
    runtime: Runtime,
    /// Where it is, and how it is sealed, for other processes.
    pub(super) url: String,
    pub(super) ring: KeyRing,
    _server: RedisServer,
    _place: TempDir,
}

impl Redis {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let place = tempfile::tempdir_in(directory)?;
        let server = RedisServer::start(place.path()).context("redis-server is needed")?;
        let url = format!("redis://127.0.0.1:{}/", server.port);
        let (runtime, ring) = (runtime(), KeyRing::generate()?);
        let store = runtime.block_on(connect(&url, ring.clone()))?;
        Ok(Self { store, runtime, url, ring, _server: server, _place: place })
    }
}

/// The store at `url`.
pub(super) async fn connect(url: &str, ring: KeyRing) -> Result<RedisStore> {
    Ok(RedisStore::open(tokenkeep_redis::Settings::single(url), ring).await?)
}

impl Fixture for Redis {
    const NAME: &'static str = "redis";
    type Store = RedisStore;

    fn store(&self) -> &RedisStore {
        &self.store
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}
