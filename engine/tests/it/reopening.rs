//! What is there again after closing and opening.

use tokenkeep::{Durability, EndReason, Engine, Release, Timestamp, Tokens, Version};

use crate::support::{
    DAY, HOUR, Place, device, email, ended, holder, live, log_in, record, replace,
};

#[test]
fn everything_that_was_acknowledged_is_there_again() {
    let place = Place::new();
    let now = place.now();
    let engine = place.open();
    let id = tokenkeep::TokenStore::id(&engine);
    for n in 1..=5 {
        log_in(&engine, n, now);
    }
    replace(&engine, 2, 1, now);
    engine.blocking().remove(device(3), None, EndReason::Logout, now).unwrap();
    engine.blocking().touch(device(4), now + HOUR).unwrap();
    drop(engine);

    let engine = place.open();
    assert_eq!(tokenkeep::TokenStore::id(&engine), id);
    assert_eq!(live(&engine, 1, now).access_token, record(1, now).access_token);
    assert_eq!(live(&engine, 2, now).version.number(), 2);
    assert_eq!(ended(&engine, 3, now), "logout");
    assert_eq!(live(&engine, 4, now).last_seen_at, now + HOUR);
    let devices = engine.blocking().devices_of(&email("ada@example.org"), now).unwrap();
    assert_eq!(devices.len(), 4);
    tokenkeep::testing::check_counts(&engine);
}

#[test]
fn a_lease_ends_with_its_process_and_leaves_an_uncertain_intent() {
    let place = Place::new();
    let now = place.now();
    let engine = place.open();
    for n in 1..=4 {
        log_in(&engine, n, now);
        engine.blocking().lease(device(n), Version::FIRST, holder(1), now + DAY, now).unwrap();
    }
    engine.blocking().release(device(2), holder(1), Release::NotSent, now).unwrap();
    let kept = engine.blocking().replace(Version::FIRST, record(3, now), Tokens::Renewed, now);
    kept.unwrap();
    replace(&engine, 4, 1, now);
    drop(engine);

    let engine = place.open();
    assert_eq!(engine.blocking().open_intents(now).unwrap(), [device(1), device(4)]);
    let intent = live(&engine, 1, now).refresh_intent.unwrap();
    assert!(intent.uncertain && !intent.is_held(now) && intent.since == now);
    assert_eq!(live(&engine, 2, now).refresh_intent, None);
    assert_eq!(live(&engine, 3, now).refresh_intent, None);
}

/// Opening reads the log in parts side by side; what belongs together lies in several of them.
#[test]
fn rows_amend_a_record_that_lies_far_before_them_in_their_order() {
    let place = Place::new();
    let now = place.now();
    let mut engine = place.open();
    (0..60).for_each(|n| drop(log_in(&engine, n, now)));
    for n in 0..60 {
        engine.blocking().touch(device(n), now + HOUR).unwrap();
        engine.blocking().lease(device(n), Version::FIRST, holder(1), now + DAY, now).unwrap();
    }
    for n in (0..60).step_by(2) {
        engine.blocking().release(device(n), holder(1), Release::NotSent, now).unwrap();
    }
    for _ in 0..10 {
        drop(engine);
        engine = place.open();
        for n in 0..60 {
            let record = live(&engine, n, now);
            assert_eq!(record.last_seen_at, now + HOUR, "device {n}");
            assert_eq!(record.refresh_intent.is_some(), n % 2 == 1, "device {n}");
        }
    }
}

#[test]
fn an_interval_acknowledges_early_and_a_clean_end_loses_nothing() {
    let place = Place::new();
    let now = place.now();
    let options = place.options().durability(Durability::Interval(HOUR));
    let engine = Engine::open(place.directory.path(), options).unwrap();
    for n in 0..20 {
        log_in(&engine, n, now);
    }
    drop(engine);
    let engine = place.open();
    assert_eq!(engine.blocking().stats(now).unwrap().devices, 20);
}

#[test]
fn compacting_gives_space_back_and_keeps_every_record() {
    let place = Place::new();
    let now = place.now();
    let engine = place.open();
    for n in 0..200 {
        log_in(&engine, n, now);
        for version in 1..6 {
            replace(&engine, n, version, now);
        }
    }
    for n in 10..200 {
        engine.blocking().remove(device(n), None, EndReason::Logout, now).unwrap();
    }
    let before = engine.blocking().stats(now).unwrap().size_bytes;
    engine.blocking().compact().unwrap();
    let after = engine.blocking().stats(now).unwrap();
    assert!(after.size_bytes < before / 2, "{before} before, {after:?}");
    assert_eq!((after.devices, after.garbage_rows), (10, 0));
    log_in(&engine, 201, now);
    drop(engine);
    let engine = place.open();
    live(&engine, 3, now);
    assert_eq!(ended(&engine, 100, now), "logout");
    tokenkeep::testing::check_counts(&engine);
}

#[test]
fn engines_share_nothing() {
    let (one, other) = (Place::new(), Place::new());
    let now = Timestamp::from_unix_seconds(1_700_000_000);
    let (first, second) = (one.open(), other.open());
    log_in(&first, 1, now);
    log_in(&second, 2, now);
    assert_eq!(ended(&first, 2, now), "absent");
    assert_eq!(ended(&second, 1, now), "absent");
    assert_ne!(tokenkeep::TokenStore::id(&first), tokenkeep::TokenStore::id(&second));
}
