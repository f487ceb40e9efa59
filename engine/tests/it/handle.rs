//! What the handle of an engine promises beyond the contract of stores.

use std::sync::Arc;

use tokenkeep::{EndReason, InsertOutcome, Lookup, StoreError, TokenStore};

use crate::support::{DAY, Place, device, email, ended, live, log_in, login, record};

#[test]
fn an_id_is_taken_while_anything_is_known_of_it() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let again = || engine.blocking().insert(login(record(1, now)), now).unwrap();
    assert!(matches!(again(), InsertOutcome::Taken));
    engine.blocking().remove(device(1), None, EndReason::Logout, now).unwrap();
    assert!(matches!(again(), InsertOutcome::Taken));
    assert_eq!(ended(&engine, 1, now), "logout");
    assert_eq!(ended(&engine, 1, now + DAY), "absent");
}

#[tokio::test]
async fn the_async_face_waits_for_room_in_the_channel() {
    let place = Place::new();
    let options = place.options().channel_depth(1).cache_bytes(0);
    let engine = tokenkeep::Engine::open(place.directory.path(), options).unwrap();
    let now = place.now();
    let logins = (0..100).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.insert(login(record(n, now)), now).await.unwrap() })
    });
    for login in logins.collect::<Vec<_>>() {
        assert!(matches!(login.await.unwrap(), InsertOutcome::Inserted { .. }));
    }
    assert_eq!(engine.devices_of(&email("ada@example.org"), now).await.unwrap().len(), 100);
    assert!(matches!(engine.get(device(42), now).await.unwrap(), Lookup::Live(_)));
    assert_eq!(engine.figures().cached_records, 0);
}

#[test]
fn a_cached_record_is_handed_out_without_a_copy() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    assert!(Arc::ptr_eq(&live(&engine, 1, now), &live(&engine, 1, now)));
    drop(engine);
    let engine = place.open();
    assert_eq!(engine.figures().cached_records, 0);
    let first = live(&engine, 1, now);
    assert!(Arc::ptr_eq(&first, &live(&engine, 1, now)));
}

#[test]
fn the_cache_keeps_to_its_budget_and_to_what_is_read() {
    let place = Place::new();
    let options = place.options().cache_bytes(20_000);
    let engine = tokenkeep::Engine::open(place.directory.path(), options).unwrap();
    let now = place.now();
    log_in(&engine, 200, now);
    let favourite = live(&engine, 200, now);
    for n in 0..150 {
        log_in(&engine, n, now);
        assert!(Arc::ptr_eq(&favourite, &live(&engine, 200, now)), "evicted at {n}");
    }
    let figures = engine.figures();
    assert!(figures.cached_bytes <= 20_000 && figures.cached_records > 5, "{figures:?}");
    for n in 0..150 {
        live(&engine, n, now);
    }
    assert!(engine.figures().cached_bytes <= 20_000);
}

#[test]
fn a_closed_store_says_so() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let other = engine.clone();
    engine.blocking().close().unwrap();
    let closed = |error| matches!(error, StoreError::Closed);
    assert!(closed(other.blocking().get(device(1), now).unwrap_err()));
    assert!(closed(other.blocking().insert(login(record(2, now)), now).unwrap_err()));
    assert!(closed(other.blocking().close().unwrap_err()));
    live(&place.open(), 1, now);
}
