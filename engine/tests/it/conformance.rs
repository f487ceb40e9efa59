//! The store contract over the engine, on a directory of its own.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableTable as _, TableDefinition};
use tokenkeep::testing::with_colliding_emails;
use tokenkeep::{Engine, KeyRing, ManualClock, OpenError, Options};
use tokenkeep_core::testing::conformance::{Fixture, START, SealedFixture};

/// A store in a directory; with `COLLIDING`, all emails have the same hash.
struct OnDisk<const COLLIDING: bool> {
    engine: Engine,
    ring: KeyRing,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

impl<const COLLIDING: bool> OnDisk<COLLIDING> {
    fn open_at(directory: tempfile::TempDir, clock: Arc<ManualClock>, ring: KeyRing) -> Self {
        Self::try_open(directory, clock, ring).unwrap()
    }

    fn try_open(
        directory: tempfile::TempDir,
        clock: Arc<ManualClock>,
        ring: KeyRing,
    ) -> Result<Self, OpenError> {
        let options = Options::new().clock(clock.clone()).key_ring(ring.clone());
        let options = if COLLIDING { with_colliding_emails(options) } else { options };
        let engine = Engine::open(directory.path(), options)?;
        Ok(Self { engine, ring, clock, directory })
    }
}

impl<const COLLIDING: bool> Fixture for OnDisk<COLLIDING> {
    type Store = Engine;

    async fn open() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        Self::open_at(tempfile::tempdir().unwrap(), clock, KeyRing::generate().unwrap())
    }

    async fn reopen(self) -> Self {
        let ring = self.ring.clone();
        self.reopen_with(ring).await.unwrap()
    }

    async fn spoil(self) -> Self {
        let Self { engine, ring, clock, directory } = self;
        engine.close().await.unwrap();
        drop(engine);
        damage_bodies(&directory.path().join("tokens.redb"));
        Self::open_at(directory, clock, ring)
    }

    fn store(&self) -> &Engine {
        &self.engine
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn written(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.directory.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

impl<const COLLIDING: bool> SealedFixture for OnDisk<COLLIDING> {
    fn ring(&self) -> KeyRing {
        self.ring.clone()
    }

    async fn reopen_with(self, ring: KeyRing) -> Result<Self, String> {
        let Self { engine, clock, directory, .. } = self;
        engine.close().await.unwrap();
        drop(engine);
        Self::try_open(directory, clock, ring).map_err(|error| error.to_string())
    }
}

/// Changes every sealed token in the file; a ring without the key would open no store at all.
fn damage_bodies(file: &Path) {
    let transaction = Database::open(file).unwrap().begin_write().unwrap();
    {
        let bodies = TableDefinition::<u64, &[u8]>::new("bodies");
        let mut bodies = transaction.open_table(bodies).unwrap();
        let blocks = bodies.iter().unwrap().map(|block| {
            let (number, body) = block.unwrap();
            let damaged = body.value().iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
            (number.value(), damaged)
        });
        for (number, damaged) in blocks.collect::<Vec<_>>() {
            bodies.insert(number, damaged.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

tokenkeep_core::store_conformance!(OnDisk<false>);
tokenkeep_core::sealed_store_conformance!(OnDisk<false>);

/// Emails that the index cannot tell apart are two users all the same.
mod colliding {
    use super::OnDisk;

    tokenkeep_core::store_conformance!(OnDisk<true>;
        the_list_of_an_email_is_exact,
        all_of_an_email_end_at_once,
        list_and_records_agree_after_reopening,
        what_was_ended_while_dead_stays_dead,
        nobody_replaces_the_session_of_another_user,
        nobody_counts_or_evicts_the_devices_of_another_user,
        what_cannot_be_read_can_be_ended,
        no_end_reaches_the_dead_of_another_user
    );
}
