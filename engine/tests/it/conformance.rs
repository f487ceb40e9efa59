//! The store contract over the engine, on a directory of its own.

use std::sync::Arc;

use tokenkeep::{Engine, ManualClock, Options};
use tokenkeep_core::testing::conformance::{Fixture, START};

struct OnDisk {
    engine: Engine,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

fn open(directory: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Engine {
    Engine::open(directory.path(), Options::new().clock(clock.clone())).unwrap()
}

impl Fixture for OnDisk {
    type Store = Engine;

    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        Self { engine: open(&directory, &clock), clock, directory }
    }

    async fn reopen(self) -> Self {
        let Self { engine, clock, directory } = self;
        engine.close().await.unwrap();
        drop(engine);
        Self { engine: open(&directory, &clock), clock, directory }
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

tokenkeep_core::store_conformance!(OnDisk);
