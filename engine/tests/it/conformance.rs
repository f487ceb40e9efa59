//! The suite that every store passes.
//!
//! `store_conformance!` of `tokenkeep_core::testing` is called here with [`store`].

use std::sync::Arc;

use tokenkeep::{Engine, ManualClock, Options, TokenStore};

/// An empty store, its clock, and the directory that goes with it.
fn store(clock: Arc<ManualClock>) -> (Engine, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path(), Options::new().clock(clock)).unwrap();
    (engine, directory)
}

#[tokio::test]
async fn a_fresh_store_is_empty_and_takes_writes() {
    use tokenkeep::Clock as _;
    let clock = Arc::new(ManualClock::new(tokenkeep::Timestamp::from_unix_seconds(1)));
    let (engine, _directory) = store(Arc::clone(&clock));
    let stats = engine.stats(clock.now()).await.unwrap();
    assert_eq!((stats.devices, stats.users, stats.garbage_rows), (0, 0, 0));
    engine.check_writable().await.unwrap();
}
