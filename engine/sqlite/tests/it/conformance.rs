//! The store contract, with and without sealing.

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::{Fixture, SealedFixture};
use tokenkeep_core::{KeyRing, ManualClock};
use tokenkeep_sqlite::SqliteStore;

use crate::support::Place;

/// A store, and where it is; `SEALED` or shared with the original application.
struct OnDisk<const SEALED: bool>(SqliteStore, Place);

impl<const SEALED: bool> Fixture for OnDisk<SEALED> {
    type Store = SqliteStore;

    async fn open() -> Self {
        let place = if SEALED { Place::sealed() } else { Place::plain() };
        Self(place.open(), place)
    }

    async fn reopen(self) -> Self {
        let Self(store, place) = self;
        store.close().await.unwrap();
        Self(place.open(), place)
    }

    async fn spoil(self) -> Self {
        let Self(store, place) = self;
        store.close().await.unwrap();
        // A ring without the key would open no store at all.
        let connection = rusqlite::Connection::open(place.file()).unwrap();
        let emptied = "UPDATE user_auth_credentials SET access_token = ''";
        connection.execute(emptied, []).unwrap();
        drop(connection);
        Self(place.open(), place)
    }

    fn store(&self) -> &SqliteStore {
        &self.0
    }

    fn clock(&self) -> &ManualClock {
        &self.1.clock
    }

    fn written(&self) -> Vec<u8> {
        // Without sealing, tokens are meant to lie in the clear.
        if SEALED { self.1.bytes() } else { Vec::new() }
    }
}

impl SealedFixture for OnDisk<true> {
    fn ring(&self) -> KeyRing {
        match &self.1.sealing {
            Sealing::On(ring) => ring.clone(),
            Sealing::Off => panic!("it is sealed"),
        }
    }

    async fn reopen_with(self, ring: KeyRing) -> Result<Self, String> {
        let Self(store, mut place) = self;
        store.close().await.unwrap();
        place.sealing = Sealing::On(ring);
        match place.try_open() {
            Ok(store) => Ok(Self(store, place)),
            Err(error) => Err(error.to_string()),
        }
    }
}

mod sealed {
    tokenkeep_core::store_conformance!(super::OnDisk<true>);
    tokenkeep_core::sealed_store_conformance!(super::OnDisk<true>);
}

mod plain {
    tokenkeep_core::store_conformance!(super::OnDisk<false>);
}
