//! The store contract, with and without sealing.

use tokenkeep_core::ManualClock;
use tokenkeep_core::testing::conformance::Fixture;
use tokenkeep_sqlite::SqliteStore;

use crate::support::Place;

struct Sealed(SqliteStore, Place);

impl Fixture for Sealed {
    type Store = SqliteStore;

    async fn open() -> Self {
        let place = Place::sealed();
        Self(place.open(), place)
    }

    async fn reopen(self) -> Self {
        let Self(store, place) = self;
        store.close().await.unwrap();
        Self(place.open(), place)
    }

    fn store(&self) -> &SqliteStore {
        &self.0
    }

    fn clock(&self) -> &ManualClock {
        &self.1.clock
    }

    fn written(&self) -> Vec<u8> {
        self.1.bytes()
    }
}

tokenkeep_core::store_conformance!(Sealed);
