//! The key ring changes while the store is used, beyond what every store promises of it.

use tokenkeep::testing::{Disk, open_on};
use tokenkeep::{KeyRing, Options, TokenStore as _};

use crate::support::{Place, live, login, record};

#[test]
fn a_write_that_waits_while_the_ring_is_rotated_is_under_the_key_that_counts_then() {
    let (disk, ring) = (Disk::new(), KeyRing::generate().unwrap());
    let now = Place::new().now();
    let engine = open_on(&disk, Options::new().key_ring(ring.clone())).unwrap();
    let new = ring.rotated().unwrap();
    std::thread::scope(|scope| {
        let held = disk.hold_syncs();
        let taken = scope.spawn(|| engine.blocking().take_ring(new.clone()));
        while !disk.is_syncing() {
            std::thread::yield_now();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // It is sealed with the old key and stands in line before the writer goes on.
        let (inserted, ()) = runtime.block_on(async {
            tokio::join!(engine.insert(login(record(1, now)), now), async { drop(held) })
        });
        inserted.unwrap();
        taken.join().unwrap().unwrap();
    });
    engine.blocking().retire(ring.active()).unwrap();
    engine.blocking().close().unwrap();
    let alone = new.without(ring.active()).unwrap();
    let engine = open_on(&disk, Options::new().key_ring(alone)).unwrap();
    live(&engine, 1, now);
}
