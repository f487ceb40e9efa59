//! Readers and the writer on the index, in schedules that shuttle picks.
//!
//! What papaya does with one device is one step, as is what the cache's mutex guards: shuttle
//! decides who is next between them. It does not look inside papaya, and the order of memory
//! accesses is not weakened.

use std::sync::Arc;

use shuttle::thread;
use tokenkeep_core::codec::RecordHeader;
use tokenkeep_core::{DeviceId, Timestamp, TokenRecord, Version};

use super::{Index, LiveSlot, Slot};
use crate::testing::record;

const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
const NOW: Timestamp = Timestamp::from_unix_seconds(1);
const SCHEDULES: usize = 3000;

/// The record that row `seq` holds.
fn row(seq: u64) -> Arc<TokenRecord> {
    let version = Version::from_number(seq);
    Arc::new(TokenRecord { version, ..record(DEVICE, NOW) })
}

fn slot(seq: u64, cached: bool) -> Slot {
    let record = row(seq);
    let mut slot = LiveSlot::new(seq, &RecordHeader::of(&record), 7);
    slot.cached = cached.then_some(record);
    Slot::Live(slot)
}

/// Reads as [`crate::Engine`] does: the slot, then the row that it names, then the cache.
fn read(index: &Index, seen: &mut u64) {
    let Some(Slot::Live(found)) = index.slot(DEVICE) else { return };
    thread::yield_now();
    if let Some(cached) = &found.cached {
        assert_eq!(cached.version, Version::from_number(found.seq), "a superseded record");
    }
    assert!(found.seq >= *seen, "what was seen once does not go back");
    *seen = found.seq;
    let record = row(found.seq);
    thread::yield_now();
    index.keep(DEVICE, found.seq, &record);
}

/// The cache's counts are those of the slots, and every cached record is its slot's.
fn check(index: &Index) {
    let cached = match index.slot(DEVICE) {
        Some(Slot::Live(slot)) => slot.cached.map(|record| (record, slot.seq)),
        _ => None,
    };
    assert_eq!(index.cached().0, u64::from(cached.is_some()), "counted and cached");
    assert_eq!(index.cached().1 == 0, cached.is_none(), "bytes and records");
    if let Some((record, seq)) = cached {
        assert_eq!(record.version, Version::from_number(seq), "a superseded record");
    }
    let (counts, recounted) = index.recount();
    assert_eq!(counts, recounted, "lists and slots");
    let user: Vec<_> = index.lists().devices_of(7).collect();
    assert_eq!(user.is_empty(), index.slot(DEVICE).is_none(), "the list and the slot");
}

#[track_caller]
fn in_all_orders(cache_bytes: usize) {
    let run = move || {
        let index = Arc::new(Index::new(cache_bytes, u64::MAX));
        index.publish().put(DEVICE, Some(slot(1, false)));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let index = Arc::clone(&index);
                thread::spawn(move || {
                    let mut seen = 0;
                    (0..2).for_each(|_| read(&index, &mut seen));
                })
            })
            .collect();
        for (seq, cached) in [(2, true), (3, false)] {
            thread::yield_now();
            index.publish().put(DEVICE, Some(slot(seq, cached)));
        }
        for reader in readers {
            reader.join().unwrap();
        }
        check(&index);
        index.publish().put(DEVICE, None);
        check(&index);
    };
    shuttle::check_random(run, SCHEDULES);
}

#[test]
fn a_reader_caches_nothing_that_was_superseded() {
    in_all_orders(1 << 20);
}

#[test]
fn what_does_not_fit_is_let_go_of_and_counted_out() {
    in_all_orders(0);
}
