//! The store contract, with and without sealing.

use tokenkeep_core::ManualClock;
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::{Fixture, lost_keys};
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
        let Self(store, mut place) = self;
        store.close().await.unwrap();
        match place.sealing.clone() {
            Sealing::On(ring) => {
                let (both, fresh) = lost_keys(&ring);
                place.sealing = Sealing::On(both);
                place.open().close().await.unwrap();
                place.sealing = Sealing::On(fresh);
            }
            Sealing::Off => {
                let connection = rusqlite::Connection::open(place.file()).unwrap();
                let emptied = "UPDATE user_auth_credentials SET access_token = ''";
                connection.execute(emptied, []).unwrap();
            }
        }
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

mod sealed {
    tokenkeep_core::store_conformance!(super::OnDisk<true>);
}

mod plain {
    tokenkeep_core::store_conformance!(super::OnDisk<false>);
}
