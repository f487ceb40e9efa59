//! Rows that are carried to the tail of the log, and those that cannot be.

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokenkeep::{EndReason, Engine, StoreError};

use crate::support::{DAY, HOUR, Place, device, ended, live, log_in, replace};

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
