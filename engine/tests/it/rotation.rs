//! The key ring changes while the store is used: nobody is logged out, and nothing comes back.

use std::sync::atomic::{AtomicBool, Ordering};

use tokenkeep::core::keyring::{KeyId, RingError};
use tokenkeep::{
    Engine, KeyRing, OpenError, RefreshToken, ReplaceOutcome, Tokens, Version, key_file,
};

use crate::support::{DAY, Place, device, ended, holder, live, log_in, record, replace};

/// The ring of the store in `place`, and the one that it was rotated to.
fn rotated(place: &Place) -> (KeyRing, KeyRing) {
    let old = key_file::open_or_create(&place.keys()).unwrap();
    let new = old.rotated().unwrap();
    key_file::replace(&place.keys(), &new).unwrap();
    (old, new)
}

/// How many rows are under `key`.
fn under(engine: &Engine, key: KeyId) -> u64 {
    let used = engine.blocking().key_use().unwrap();
    used.iter().filter(|used| used.key == key).map(|used| used.records).sum()
}

#[test]
fn a_ring_is_rotated_resealed_and_retired_while_everybody_stays_logged_in() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    (0..50).for_each(|n| drop(log_in(&engine, n, now)));
    replace(&engine, 7, 1, now);
    engine.blocking().lease(device(8), Version::FIRST, holder(1), now + DAY, now).unwrap();
    let (old, new) = rotated(&place);
    engine.blocking().take_ring(new.clone()).unwrap();
    log_in(&engine, 100, now);
    assert_eq!(under(&engine, new.active()), 1);
    engine.blocking().reseal(|_| true).unwrap();
    assert_eq!(under(&engine, old.active()), 0);
    engine.blocking().retire(old.active()).unwrap();
    key_file::replace(&place.keys(), &new.without(old.active()).unwrap()).unwrap();
    engine.blocking().close().unwrap();
    drop(engine);
    let engine = place.open();
    for n in (0..50).chain([100]) {
        let version = if n == 7 { 2 } else { 1 };
        assert_eq!(live(&engine, n, now).version, Version::from_number(version), "device {n}");
    }
    assert!(live(&engine, 8, now).refresh_intent.is_some(), "an intent goes along");
    assert_eq!(engine.blocking().stats(now).unwrap().unreadable, 0);
}

#[test]
fn resealing_wins_against_no_refresh_and_no_logout() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    (0..DEVICES).for_each(|n| drop(log_in(&engine, n, now)));
    let is_over = AtomicBool::new(false);
    let refreshed: Vec<u64> = std::thread::scope(|scope| {
        let refresh = |n: u8| {
            let mut version = 1;
            while !is_over.load(Ordering::Acquire) {
                let mut renewed = record(n, now);
                let token = format!("canary-{n}-{}", version + 1);
                renewed.refresh_token = RefreshToken::new(token).unwrap();
                let expected = Version::from_number(version);
                let outcome =
                    engine.blocking().replace(expected, renewed, Tokens::Renewed, now).unwrap();
                assert!(matches!(outcome, ReplaceOutcome::Replaced(_)), "{outcome:?}");
                version += 1;
            }
            version
        };
        let refreshers: Vec<_> = (0..4).map(|n| scope.spawn(move || refresh(n))).collect();
        let logout = scope.spawn(|| {
            for n in (10..DEVICES).step_by(2) {
                let reason = tokenkeep::EndReason::Logout;
                engine.blocking().remove(device(n), None, reason, now).unwrap();
            }
        });
        for _ in 0..5 {
            let (old, new) = rotated(&place);
            engine.blocking().take_ring(new).unwrap();
            engine.blocking().reseal(|_| true).unwrap();
            engine.blocking().retire(old.active()).unwrap();
        }
        logout.join().unwrap();
        is_over.store(true, Ordering::Release);
        refreshers.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let look = |engine: &Engine| {
        for (n, version) in (0..4).zip(&refreshed) {
            let record = live(engine, n, now);
            assert_eq!(record.version.number(), *version, "device {n}");
            let token =
                if *version == 1 { "canary-refresh-".into() } else { format!("-{version}") };
            assert!(record.refresh_token.expose().contains(&token), "device {n}");
        }
        for n in 10..DEVICES {
            assert_eq!(ended(engine, n, now), if n % 2 == 0 { "logout" } else { "live" }, "{n}");
        }
    };
    look(&engine);
    engine.blocking().close().unwrap();
    drop(engine);
    look(&place.open());
}

#[test]
fn a_key_that_records_are_under_is_not_retired_and_the_refusal_says_how_many() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    (0..3).for_each(|n| drop(log_in(&engine, n, now)));
    let (old, new) = rotated(&place);
    let refused = engine.blocking().retire(old.active()).unwrap_err();
    assert!(matches!(refused, RingError::Active(_)), "{refused:?}");
    engine.blocking().take_ring(new).unwrap();
    let refused = engine.blocking().retire(old.active()).unwrap_err();
    assert!(refused.to_string().starts_with("3 records"), "{refused}");
    engine.blocking().reseal(|_| true).unwrap();
    engine.blocking().retire(old.active()).unwrap();
}

#[test]
fn resealing_that_was_called_off_goes_on_where_it_was() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    for n in 0..=255 {
        log_in(&engine, n, now);
        (1..4).for_each(|version| replace(&engine, n, version, now));
    }
    let (old, new) = rotated(&place);
    engine.blocking().take_ring(new).unwrap();
    let before = under(&engine, old.active());
    let mut calls = 0;
    let stopped = engine.blocking().reseal(|progress| {
        assert!(progress.done <= progress.total);
        calls += 1;
        calls < 2
    });
    assert!(matches!(stopped, Err(RingError::CalledOff)), "{stopped:?}");
    drop(engine);
    let engine = place.open();
    let left = under(&engine, old.active());
    assert!(left > 0 && left < before, "{left} of {before}");
    engine.blocking().reseal(|_| true).unwrap();
    assert_eq!(under(&engine, old.active()), 0);
    (0..=255).for_each(|n| drop(live(&engine, n, now)));
}

#[test]
fn a_ring_that_lacks_a_key_is_refused_and_the_store_goes_on() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let (old, new) = rotated(&place);
    let alone = new.without(old.active()).unwrap();
    let refused = engine.blocking().take_ring(alone.clone()).unwrap_err();
    assert!(matches!(refused, RingError::Different(_) | RingError::Missing(_)), "{refused:?}");
    engine.blocking().take_ring(new.clone()).unwrap();
    let third = new.rotated().unwrap();
    let without_second = third.without(new.active()).unwrap();
    let refused = engine.blocking().take_ring(without_second.clone()).unwrap_err();
    assert!(matches!(refused, RingError::Missing(key) if key == new.active()), "{refused:?}");
    log_in(&engine, 2, now);
    drop(engine);
    let options = place.options().key_ring(without_second);
    let refused = Engine::open(place.directory.path(), options).unwrap_err();
    assert!(matches!(refused, OpenError::KeyMissing { key } if key == new.active()), "{refused:?}");
    live(&place.open(), 2, now);
}

const DEVICES: u8 = 120;
