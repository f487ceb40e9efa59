//! The kinds of store that tests run over, and the Redis that the tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use tokenkeep::{Engine, Options};
use tokenkeep_core::ManualClock;
use tokenkeep_core::codec::Sealing;
use tokenkeep_server::assembly;
use tokenkeep_server::config::{Config, StoreKind};
use tokenkeep_server::store::{self, AnyStore};
use tokenkeep_sqlite::SqliteStore;
use tokio::sync::Mutex;

use crate::moving::redis::Redis;

/// Declares tests over every kind of store, from async functions that take the kind.
macro_rules! over_every_store {
    (#[$test:meta] $($claim:ident),+ $(,)?) => {
        over_every_store!(#[$test] mod redb, Redb: $($claim)+);
        over_every_store!(#[$test] mod redis, Redis: $($claim)+);
        over_every_store!(#[$test] mod sqlite, Sqlite: $($claim)+);
    };
    (#[$test:meta] mod $module:ident, $kind:ident: $($claim:ident)+) => {
        mod $module {
            $(
                #[$test]
                async fn $claim() {
                    super::$claim(tokenkeep_server::config::StoreKind::$kind).await;
                }
            )+
        }
    };
}
pub(crate) use over_every_store;

/// Where a store of some kind will be that nobody else uses.
pub struct Ground {
    pub kind: StoreKind,
    redis: Option<Arc<Redis>>,
    prefix: String,
}

impl Ground {
    pub async fn of(kind: StoreKind) -> Self {
        let number = GROUNDS.fetch_add(1, Ordering::Relaxed);
        let redis = match kind {
            StoreKind::Redis => Some(shared().await),
            StoreKind::Redb | StoreKind::Sqlite => None,
        };
        Self { kind, redis, prefix: format!("test-{number}:") }
    }

    /// Settings for it.
    pub fn set(&self, config: &mut Config) {
        config.store.kind = self.kind;
        if let Some(redis) = &self.redis {
            config.store.redis.url = redis.url();
            config.store.redis.prefix.clone_from(&self.prefix);
        }
    }

    /// The same settings as TOML.
    pub fn settings(&self) -> String {
        let Self { kind, prefix, .. } = self;
        let redis = self.redis.as_ref().map_or(String::new(), |redis| {
            format!("[store.redis]\nurl = \"{}\"\nprefix = \"{prefix}\"\n", redis.url())
        });
        format!("[store]\nkind = \"{kind}\"\n{redis}")
    }
}

/// Opens the store of the settings as a server does, but by `clock`.
pub async fn open(config: &Config, clock: &Arc<ManualClock>) -> AnyStore {
    match config.store.kind {
        StoreKind::Redb => {
            let options = Options::new().clock(clock.clone());
            AnyStore::Redb(Engine::open(&config.store.data_dir, options).unwrap())
        }
        StoreKind::Sqlite => {
            let ring = store::ring(config, &store::configured(config).unwrap()).unwrap();
            let options = tokenkeep_sqlite::Options::new(Sealing::On(ring)).clock(clock.clone());
            AnyStore::Sqlite(SqliteStore::open(config.store.sqlite_file(), options).unwrap())
        }
        // Its own clock only frees space, later than by anybody else's.
        StoreKind::Redis => assembly::open_store(config).await.unwrap(),
    }
}

/// The Redis of this process; it goes with the last test that uses it.
async fn shared() -> Arc<Redis> {
    let mut shared = SHARED.lock().await;
    if let Some(redis) = shared.upgrade() {
        return redis;
    }
    let redis = Arc::new(Redis::start(&[]).await);
    *shared = Arc::downgrade(&redis);
    redis
}

static SHARED: Mutex<Weak<Redis>> = Mutex::const_new(Weak::new());
static GROUNDS: AtomicU32 = AtomicU32::new(0);
