//! Rows that are carried to the tail of the log, and those that cannot be.

use std::collections::BTreeSet;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokenkeep::{EndReason, Engine, Lookup, Options, StoreError, Version};

use crate::failures::Machine;
use crate::support::{
    DAY, HOUR, Place, device, email, ended, holder, live, log_in, record, replace,
};

const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");
const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");

/// A closed store with the records of devices 2, 3 and 1 in one block, in this order, of which
/// only the first has a body that can be read.
fn place_with_a_torn_block() -> Place {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    (1..=3).for_each(|n| drop(log_in(&engine, n, now)));
    replace(&engine, 1, 1, now);
    engine.blocking().compact().unwrap();
    engine.blocking().close().unwrap();
    drop(engine);
    let transaction = Database::open(place.file()).unwrap().begin_write().unwrap();
    {
        let mut bodies = transaction.open_table(BODIES).unwrap();
        let (number, list) = {
            let (number, list) = bodies.first().unwrap().unwrap();
            (number.value(), list.value().to_vec())
        };
        let first = usize::try_from(u32::from_le_bytes(list[..4].try_into().unwrap())).unwrap();
        bodies.insert(number, &list[..4 + first]).unwrap();
        assert_eq!(bodies.iter().unwrap().count(), 1, "one block");
    }
    transaction.commit().unwrap();
    place
}

/// The number of the last block of a closed store, and how many there are.
fn blocks(place: &Place) -> (u64, usize) {
    let database = Database::open(place.file()).unwrap();
    let headers = database.begin_read().unwrap().open_table(HEADERS).unwrap();
    let last = headers.last().unwrap().map_or(0, |(number, _)| number.value());
    (last, headers.iter().unwrap().count())
}

#[track_caller]
fn is_unreadable(engine: &Engine, n: u8, place: &Place) {
    let error = engine.blocking().get(device(n), place.now()).unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
}

#[test]
fn what_ended_stays_so_beside_a_row_that_cannot_be_read() {
    let place = place_with_a_torn_block();
    let (engine, now) = (place.open(), place.now());
    live(&engine, 2, now);
    is_unreadable(&engine, 1, &place);
    engine.blocking().remove(device(2), None, EndReason::Logout, now).unwrap();
    engine.blocking().compact().unwrap();
    is_unreadable(&engine, 1, &place);
    assert_eq!(ended(&engine, 2, now), "logout");
    // The tombstone is forgotten, and its row goes.
    place.clock.advance(DAY + HOUR);
    engine.blocking().flush().unwrap();
    engine.blocking().compact().unwrap();
    assert_eq!(ended(&engine, 2, place.now()), "absent");
    drop(engine);
    let engine = place.open();
    assert_eq!(ended(&engine, 2, place.now()), "absent");
    is_unreadable(&engine, 1, &place);
}

#[test]
fn a_row_that_cannot_be_read_keeps_nobody_busy() {
    let place = place_with_a_torn_block();
    let open = || {
        let options = place.options().garbage(1, 1).cache_bytes(0);
        Engine::open(place.directory.path(), options).unwrap()
    };
    let engine = open();
    let now = place.now();
    (4..9).for_each(|n| drop(log_in(&engine, n, now)));
    (4..9).for_each(|n| replace(&engine, n, 1, now));
    (0..50).for_each(|_| engine.blocking().flush().unwrap());
    engine.blocking().close().unwrap();
    drop(engine);
    let (before, _) = blocks(&place);
    let engine = open();
    (0..50).for_each(|_| engine.blocking().flush().unwrap());
    engine.blocking().close().unwrap();
    drop(engine);
    let (after, there) = blocks(&place);
    assert!(after < before + 10 && there < 10, "{before}, {after}, {there}");
}

#[test]
fn a_row_that_cannot_be_read_goes_when_it_is_not_needed_any_more() {
    let place = place_with_a_torn_block();
    let engine = place.open();
    let now = place.now();
    // One of them gets a newer row, and that one ends and is forgotten: its old row is gone, too.
    replace(&engine, 3, 1, now);
    assert_eq!(live(&engine, 3, now).version.number(), 2);
    engine.blocking().remove(device(3), None, EndReason::Logout, now).unwrap();
    engine.blocking().compact().unwrap();
    place.clock.advance(DAY + HOUR);
    engine.blocking().flush().unwrap();
    engine.blocking().compact().unwrap();
    drop(engine);
    let engine = place.open();
    let now = place.now();
    assert_eq!(ended(&engine, 3, now), "absent");
    is_unreadable(&engine, 1, &place);
    live(&engine, 2, now);
    // The last one ends: its block goes, while its tombstone stays.
    let all =
        engine.blocking().remove_all_of(&email("ada@example.org"), None, EndReason::Refused, now);
    assert_eq!(all.unwrap().len(), 1, "what could not be read is not shown");
    engine.blocking().compact().unwrap();
    assert_eq!((engine.figures().rows, engine.figures().garbage_rows), (2, 0));
    drop(engine);
    let engine = place.open();
    assert_eq!((ended(&engine, 1, now), ended(&engine, 2, now)), ("refused", "refused"));
    place.clock.advance(DAY + HOUR);
    engine.blocking().flush().unwrap();
    engine.blocking().compact().unwrap();
    assert_eq!(engine.figures().rows, 0);
    tokenkeep::testing::check_counts(&engine);
    drop(engine);
    assert_eq!(ended(&place.open(), 1, place.now()), "absent");
}

/// Has everything carried to the tail, by way of a row of garbage.
fn carry_everything(engine: &Engine, place: &Place) {
    let version = live(engine, 250, place.now()).version.number();
    replace(engine, 250, version, place.now());
    engine.blocking().compact().unwrap();
    assert_eq!(engine.figures().garbage_rows, 0);
}

#[test]
fn what_is_carried_stays_what_it_is() {
    let place = Place::new();
    let (mut engine, now) = (place.open(), place.now());
    (1..=2).for_each(|n| drop(log_in(&engine, n, now)));
    log_in(&engine, 250, now);
    let until = now + DAY;
    engine.blocking().lease(device(1), Version::FIRST, holder(1), until, now + HOUR).unwrap();
    engine.blocking().touch(device(1), now + 2 * HOUR).unwrap();
    engine.blocking().remove(device(2), None, EndReason::Refused, now).unwrap();
    let before = live(&engine, 1, now);
    carry_everything(&engine, &place);
    let carried = live(&engine, 1, now);
    assert_eq!(carried.refresh_intent, before.refresh_intent);
    assert_eq!(carried.last_seen_at, before.last_seen_at);
    for _ in 0..3 {
        carry_everything(&engine, &place);
        drop(engine);
        engine = place.open();
        let found = live(&engine, 1, now);
        assert_eq!(found.last_seen_at, before.last_seen_at);
        assert_eq!(found.previous_visit_at, before.previous_visit_at);
        let intent = found.refresh_intent.unwrap();
        assert_eq!((intent.holder, intent.since), (holder(1), now + HOUR));
        let Lookup::Ended(gone) = engine.blocking().get(device(2), now).unwrap() else {
            panic!("the tombstone is lost")
        };
        assert_eq!(gone.reason, EndReason::Refused);
        assert!(gone.verifier.matches(&record(2, now).verifier));
    }
}

#[test]
fn a_walk_sees_every_record_while_everything_is_carried() {
    let place = Place::new();
    let options = place.options().cache_bytes(0);
    let engine = Engine::open(place.directory.path(), options).unwrap();
    let now = place.now();
    (0..40).for_each(|n| drop(log_in(&engine, n, now)));
    log_in(&engine, 250, now);
    for carried_at in 0..6 {
        let (mut seen, mut after) = (BTreeSet::new(), None);
        for page in 0..30 {
            let limit = 7.try_into().unwrap();
            let found = engine.blocking().scan(after.as_ref(), limit, now).unwrap();
            seen.extend(found.records.iter().map(|record| record.device_id));
            after = found.next;
            if after.is_none() {
                break;
            }
            if page % 6 == carried_at {
                carry_everything(&engine, &place);
            }
        }
        assert_eq!(after, None, "a walk ends");
        assert_eq!(seen.len(), 41);
    }
}

#[test]
fn a_file_does_not_grow_while_its_records_are_refreshed() {
    let place = Place::new();
    let options = place.options().garbage(30, 64);
    let engine = Engine::open(place.directory.path(), options).unwrap();
    let now = place.now();
    (0..200).for_each(|n| drop(log_in(&engine, n, now)));
    let (mut most, mut after_a_round) = (0, 0);
    for version in 1..=10 {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let engine = &engine;
                // Half of them are refreshed: the others are in the way.
                scope.spawn(move || {
                    (0..25).for_each(|n| replace(engine, thread * 50 + n, version, now));
                });
            }
        });
        most = most.max(engine.figures().rows);
        if version == 2 {
            after_a_round = engine.blocking().stats(now).unwrap().size_bytes;
        }
    }
    assert!(most <= 400, "{most} rows for 200 records");
    let after = engine.blocking().stats(now).unwrap().size_bytes;
    assert!(after <= 2 * after_a_round, "{after_a_round} bytes, then {after}");
}

#[test]
fn ending_everything_ends_what_lies_on_a_damaged_page_too() {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    let now = machine.now;
    (0..60).for_each(|n| drop(log_in(&engine, n, now)));
    engine.blocking().close().unwrap();
    let whole = machine.disk.bytes();
    let ada = email("ada@example.org");
    let mut ended_unseen = 0;
    for page in 1..whole.len() / PAGE {
        machine.disk.damage(|bytes| bytes.clone_from(&whole));
        let engine = machine.open(Options::new().cache_bytes(0).page_cache_bytes(0));
        let opened = machine.disk.bytes();
        machine.disk.damage(|bytes| bytes[page * PAGE..][..64].fill(0xff));
        match engine.blocking().remove_all_of(&ada, None, EndReason::EndedByUser, now) {
            Ok(seen) => {
                ended_unseen += 60 - seen.len();
                assert_eq!(engine.blocking().stats(now).unwrap().devices, 0, "page {page}");
            }
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("page {page}: {error:?}"),
        }
        // redb aborts if it panics over its own bookkeeping while it closes.
        machine.disk.damage(|bytes| *bytes = opened);
    }
    assert!(ended_unseen > 0, "some page was one of records");
}

const PAGE: usize = 4096;
