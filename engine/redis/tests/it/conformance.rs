//! The store contract on one server and on a cluster, which the tests share: each has a prefix of
//! its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use tokenkeep_core::testing::conformance::{Fixture, START, SealedFixture};
use tokenkeep_core::{KeyRing, ManualClock};
use tokenkeep_redis::{OpenError, RedisStore, Settings};
use tokio::sync::Mutex;

use crate::server::{Cluster, Server};

/// What the tests share; it goes with the last of them.
static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static CLUSTER: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
static FIXTURES: AtomicU32 = AtomicU32::new(0);

/// A store with a prefix of its own on servers `S`.
struct On<S> {
    servers: Arc<S>,
    prefix: String,
    settings: Settings,
    ring: KeyRing,
    store: RedisStore,
    clock: ManualClock,
}

impl<S> On<S> {
    async fn on(servers: Arc<S>, settings: Settings) -> Self {
        let number = FIXTURES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("test-{number}:");
        let settings = settings.prefix(prefix.clone());
        let ring = KeyRing::generate().unwrap();
        let store = RedisStore::open(settings.clone(), ring.clone()).await.unwrap();
        Self { servers, prefix, settings, ring, store, clock: ManualClock::new(START) }
    }

    async fn opened_with(self, ring: KeyRing) -> Result<Self, OpenError> {
        self.store.close().await.unwrap();
        let store = RedisStore::open(self.settings.clone(), ring.clone()).await?;
        Ok(Self { store, ring, ..self })
    }

    async fn opened_again(self) -> Self {
        let ring = self.ring.clone();
        self.opened_with(ring).await.unwrap()
    }

    /// Changes every sealed token on `nodes`; a ring without the key would open no store at all.
    fn spoil_on<'a>(&self, nodes: impl IntoIterator<Item = &'a Server>) {
        let prefix = &self.prefix;
        let records = format!("{prefix}{}", "[0-9a-f]".repeat(32));
        for node in nodes {
            for record in node.cli(&["KEYS", &records]).lines().filter(|key| !key.is_empty()) {
                node.cli(&["HSET", record, "access_token", "AAAA"]);
            }
        }
    }
}

impl Fixture for On<Server> {
    const SHARED: bool = true;
    type Store = RedisStore;

    async fn open() -> Self {
        let mut shared = SERVER.lock().await;
        let server = match shared.upgrade() {
            Some(server) => server,
            None => Arc::new(Server::start().await),
        };
        *shared = Arc::downgrade(&server);
        drop(shared);
        let settings = server.settings();
        Self::on(server, settings).await
    }

    async fn reopen(self) -> Self {
        self.opened_again().await
    }

    async fn spoil(self) -> Self {
        self.spoil_on([&*self.servers]);
        self.opened_again().await
    }

    fn store(&self) -> &RedisStore {
        &self.store
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn written(&self) -> Vec<u8> {
        self.servers.written()
    }
}

impl Fixture for On<Cluster> {
    const SHARED: bool = true;
    type Store = RedisStore;

    async fn open() -> Self {
        let mut shared = CLUSTER.lock().await;
        let cluster = match shared.upgrade() {
            Some(cluster) => cluster,
            None => Arc::new(Cluster::start().await),
        };
        *shared = Arc::downgrade(&cluster);
        drop(shared);
        let settings = cluster.settings();
        Self::on(cluster, settings).await
    }

    async fn reopen(self) -> Self {
        self.opened_again().await
    }

    async fn spoil(self) -> Self {
        self.spoil_on(&self.servers.nodes);
        self.opened_again().await
    }

    fn store(&self) -> &RedisStore {
        &self.store
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn written(&self) -> Vec<u8> {
        self.servers.nodes.iter().flat_map(Server::written).collect()
    }
}

impl<S: Send + Sync + 'static> SealedFixture for On<S>
where
    Self: Fixture<Store = RedisStore>,
{
    fn ring(&self) -> KeyRing {
        self.ring.clone()
    }

    async fn reopen_with(self, ring: KeyRing) -> Result<Self, String> {
        self.opened_with(ring).await.map_err(|error| error.to_string())
    }
}

mod on_one_server {
    tokenkeep_core::store_conformance!(super::On<super::Server>);
    tokenkeep_core::sealed_store_conformance!(super::On<super::Server>);
}

mod on_a_cluster {
    tokenkeep_core::store_conformance!(super::On<super::Cluster>);
    tokenkeep_core::sealed_store_conformance!(super::On<super::Cluster>);
}
