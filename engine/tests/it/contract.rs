//! The promises of [`tokenkeep::TokenStore`], one by one.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokenkeep::{
    Ceiling, CeilingPolicy, EndReason, Insert, InsertOutcome, LeaseOutcome, Lookup, Release,
    RemoveOutcome, ReplaceOutcome, StoreError, TokenStore, Version,
};

use crate::support::{
    DAY, HOUR, Place, device, email, ended, holder, live, log_in, login, record, replace,
};

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

#[test]
fn a_record_is_gone_at_the_instant_of_its_death() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    let dies_at = log_in(&engine, 1, now).dies_at();
    let just_before = dies_at.saturating_sub(std::time::Duration::from_micros(1));
    live(&engine, 1, just_before);
    assert_eq!(
        engine.blocking().devices_of(&email("ada@example.org"), just_before).unwrap().len(),
        1
    );
    assert_eq!(ended(&engine, 1, dies_at), "expired");
    assert!(engine.blocking().devices_of(&email("ada@example.org"), dies_at).unwrap().is_empty());
    let stats = engine.blocking().stats(dies_at).unwrap();
    assert_eq!((stats.devices, stats.users), (0, 0));
    let outcome = engine.blocking().replace(Version::FIRST, record(1, now), None, dies_at).unwrap();
    assert!(matches!(outcome, ReplaceOutcome::Gone(Some(EndReason::Expired))), "{outcome:?}");
    let outcome = engine.blocking().remove(device(1), None, EndReason::Logout, dies_at).unwrap();
    assert!(matches!(outcome, RemoveOutcome::Absent), "{outcome:?}");
}

#[test]
fn replace_compares_and_sets() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    replace(&engine, 1, 1, now);
    let stale = engine.blocking().replace(Version::FIRST, record(1, now), None, now).unwrap();
    let ReplaceOutcome::Conflict(winner) = stale else { panic!("{stale:?}") };
    assert_eq!(winner.version.number(), 2);
    engine.blocking().remove(device(1), None, EndReason::EndedByUser, now).unwrap();
    let gone = engine.blocking().replace(winner.version, record(1, now), None, now).unwrap();
    assert!(matches!(gone, ReplaceOutcome::Gone(Some(EndReason::EndedByUser))), "{gone:?}");
}

#[test]
fn a_replacement_keeps_the_later_last_use_and_the_intent() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    engine.blocking().touch(device(1), now + HOUR).unwrap();
    engine.blocking().lease(device(1), Version::FIRST, holder(1), now + HOUR, now).unwrap();
    replace(&engine, 1, 1, now);
    let found = live(&engine, 1, now);
    assert_eq!(found.last_seen_at, now + HOUR);
    assert_eq!(found.refresh_intent.unwrap().holder, holder(1));
    let released =
        engine.blocking().replace(found.version, record(1, now), Some(holder(1)), now).unwrap();
    let ReplaceOutcome::Replaced(released) = released else { panic!("{released:?}") };
    assert_eq!(released.refresh_intent, None);
    drop(engine);
    assert_eq!(live(&place.open(), 1, now).last_seen_at, now + HOUR);
}

#[test]
fn the_ceiling_rejects_or_evicts_the_least_recently_seen() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    let ceiling = |policy| Some(Ceiling { devices: NonZeroUsize::new(2).unwrap(), policy });
    log_in(&engine, 1, now);
    log_in(&engine, 2, now + HOUR);
    engine.blocking().touch(device(1), now + 2 * HOUR).unwrap();
    let third = |ceiling, replaces| {
        let insert = Insert { record: record(3, now), replaces, ceiling };
        engine.blocking().insert(insert, now + 2 * HOUR).unwrap()
    };
    let rejected = third(ceiling(CeilingPolicy::Reject), None);
    assert!(matches!(rejected, InsertOutcome::CeilingReached), "{rejected:?}");
    let evicting = third(ceiling(CeilingPolicy::EvictLeastRecentlySeen), None);
    let InsertOutcome::Inserted { displaced, .. } = evicting else { panic!("{evicting:?}") };
    assert_eq!(displaced.len(), 1);
    assert_eq!(ended(&engine, 2, now + 2 * HOUR), "evicted");
    let insert = Insert {
        record: record(4, now),
        replaces: Some(device(1)),
        ceiling: ceiling(CeilingPolicy::Reject),
    };
    let replacing = engine.blocking().insert(insert, now + 2 * HOUR).unwrap();
    assert!(matches!(replacing, InsertOutcome::Inserted { .. }), "{replacing:?}");
    assert_eq!(ended(&engine, 1, now + 2 * HOUR), "replaced");
}

#[test]
fn a_session_of_somebody_else_is_not_replaced() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let mut bobs = record(2, now);
    bobs.email = email("bob@example.org");
    let insert = Insert { record: bobs, replaces: Some(device(1)), ceiling: None };
    engine.blocking().insert(insert, now).unwrap();
    live(&engine, 1, now);
}

#[test]
fn parallel_logins_do_not_pass_the_ceiling() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    let ceiling =
        Some(Ceiling { devices: NonZeroUsize::new(3).unwrap(), policy: CeilingPolicy::Reject });
    std::thread::scope(|scope| {
        for n in 0..32 {
            let engine = &engine;
            scope.spawn(move || {
                let insert = Insert { record: record(n, now), replaces: None, ceiling };
                engine.blocking().insert(insert, now).unwrap()
            });
        }
    });
    assert_eq!(engine.blocking().devices_of(&email("ada@example.org"), now).unwrap().len(), 3);
}

#[test]
fn of_many_who_replace_one_version_one_wins() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let wins: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    let new = record(1, now);
                    let outcome = engine.blocking().replace(Version::FIRST, new, None, now);
                    usize::from(matches!(outcome.unwrap(), ReplaceOutcome::Replaced(_)))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn ending_all_spares_the_exception_and_others() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    for n in 1..=4 {
        log_in(&engine, n, now + HOUR * u32::from(n));
    }
    let mut bobs = record(9, now);
    bobs.email = email("bob@example.org");
    engine.blocking().insert(login(bobs), now).unwrap();
    let ada = email("ada@example.org");
    let now = now + 5 * HOUR;
    let gone = engine
        .blocking()
        .remove_all_of(&ada, Some(device(3)), EndReason::EndedByUser, now)
        .unwrap();
    let gone: Vec<_> = gone.iter().map(|record| record.device_id).collect();
    assert_eq!(gone, [device(1), device(2), device(4)]);
    live(&engine, 3, now);
    live(&engine, 9, now);
    assert_eq!(ended(&engine, 1, now), "ended_by_user");
}

#[test]
fn one_holder_at_a_time_has_the_lease() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let lease = |n, at| {
        engine.blocking().lease(device(1), Version::FIRST, holder(n), at + HOUR, at).unwrap()
    };
    let LeaseOutcome::Granted(first) = lease(1, now) else { panic!() };
    assert!(!first.refresh_intent.unwrap().uncertain);
    assert!(matches!(lease(2, now), LeaseOutcome::Held { until } if until == now + HOUR));
    assert!(engine.blocking().open_intents(now).unwrap().is_empty());
    assert_eq!(engine.blocking().open_intents(now + HOUR).unwrap(), [device(1)]);
    let LeaseOutcome::Granted(taken_over) = lease(2, now + HOUR) else { panic!() };
    let intent = taken_over.refresh_intent.unwrap();
    assert_eq!((intent.since, intent.uncertain), (now, true));
    assert!(!engine.blocking().extend_lease(device(1), holder(1), now + DAY, now + HOUR).unwrap());
    assert!(engine.blocking().extend_lease(device(1), holder(2), now + DAY, now + HOUR).unwrap());
    let stale = engine.blocking().lease(device(1), Version::FIRST.next(), holder(3), now, now);
    assert!(matches!(stale.unwrap(), LeaseOutcome::Conflict(_)));
}

#[test]
fn a_lease_given_back_unsent_owes_nothing_but_an_older_uncertainty_stays() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let lease =
        |n| engine.blocking().lease(device(1), Version::FIRST, holder(n), now + HOUR, now).unwrap();
    let give_back = |n, how| engine.blocking().release(device(1), holder(n), how, now).unwrap();
    lease(1);
    give_back(2, Release::NotSent);
    assert!(live(&engine, 1, now).refresh_intent.is_some(), "only its holder gives it back");
    give_back(1, Release::NotSent);
    assert_eq!(live(&engine, 1, now).refresh_intent, None);
    lease(1);
    give_back(1, Release::Uncertain);
    lease(2);
    give_back(2, Release::NotSent);
    let intent = live(&engine, 1, now).refresh_intent.unwrap();
    assert!(intent.uncertain && !intent.is_held(now));
    assert_eq!(engine.blocking().open_intents(now).unwrap(), [device(1)]);
}

#[test]
fn a_walk_sees_every_record_that_lives_through_it() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    for n in 0..50 {
        log_in(&engine, n, now);
    }
    let limit = NonZeroUsize::new(7).unwrap();
    let (mut seen, mut after, mut version) = (Vec::new(), None, 1);
    loop {
        let page = engine.blocking().scan(after.as_ref(), limit, now).unwrap();
        seen.extend(page.records.iter().map(|record| record.device_id));
        let Some(next) = page.next else { break };
        after = Some(next);
        if version < 5 {
            // It moves to the end while the walk is under way.
            replace(&engine, 49, version, now);
            version += 1;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 50);
    assert!(engine.blocking().scan(Some(&tokenkeep::Cursor(Box::new([1]))), limit, now).is_err());
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
