//! Space comes back, and nothing else does.

use tokenkeep::testing::check_counts;
use tokenkeep::{EndReason, Engine, Release, Tokens, Version};

use crate::support::{DAY, HOUR, Place, device, ended, holder, live, log_in, record, replace};

fn open_eager(place: &Place) -> Engine {
    let options = place.options().garbage(1, 1).cache_bytes(0);
    Engine::open(place.directory.path(), options).unwrap()
}

/// Waits until the engine has nothing to reclaim.
#[track_caller]
fn wait_for_no_garbage(engine: &Engine) {
    for _ in 0..10_000 {
        if engine.figures().garbage_rows == 0 {
            check_counts(engine);
            return;
        }
        engine.blocking().flush().unwrap();
        std::thread::yield_now();
    }
    panic!("{:?}", engine.figures());
}

#[test]
fn superseded_rows_go_by_themselves() {
    let place = Place::new();
    let (engine, now) = (open_eager(&place), place.now());
    for n in 0..10 {
        log_in(&engine, n, now);
        for version in 1..10 {
            replace(&engine, n, version, now);
        }
    }
    wait_for_no_garbage(&engine);
    assert_eq!(engine.figures().rows, 10);
    drop(engine);
    let engine = open_eager(&place);
    for n in 0..10 {
        assert_eq!(live(&engine, n, now).version.number(), 10);
    }
}

#[test]
fn a_tombstone_outlives_every_older_row_of_its_device() {
    let place = Place::new();
    let (engine, now) = (open_eager(&place), place.now());
    log_in(&engine, 1, now);
    replace(&engine, 1, 1, now);
    engine.blocking().remove(device(1), None, EndReason::Refused, now).unwrap();
    wait_for_no_garbage(&engine);
    assert_eq!(engine.figures().rows, 1);
    drop(engine);
    let engine = open_eager(&place);
    assert_eq!(ended(&engine, 1, now), "refused");
    place.clock.advance(DAY + HOUR);
    engine.blocking().flush().unwrap();
    wait_for_no_garbage(&engine);
    assert_eq!(engine.figures().rows, 0);
    assert_eq!(ended(&engine, 1, now), "absent", "even at the old time");
}

#[test]
fn intents_and_touches_go_with_what_supersedes_them() {
    let place = Place::new();
    let (engine, now) = (open_eager(&place), place.now());
    log_in(&engine, 1, now);
    for hour in 1..5 {
        engine.blocking().touch(device(1), now + hour * HOUR).unwrap();
        engine.blocking().flush().unwrap();
        let until = now + DAY;
        engine.blocking().lease(device(1), Version::FIRST, holder(1), until, now).unwrap();
        engine.blocking().release(device(1), holder(1), Release::NotSent, now).unwrap();
    }
    engine.blocking().lease(device(1), Version::FIRST, holder(2), now + DAY, now).unwrap();
    wait_for_no_garbage(&engine);
    assert_eq!(engine.figures().rows, 3, "the record, its last touch, its intent");
    drop(engine);
    let engine = open_eager(&place);
    let found = live(&engine, 1, now);
    assert_eq!(found.last_seen_at, now + 4 * HOUR);
    assert_eq!(found.refresh_intent.unwrap().holder, holder(2));
    engine.blocking().replace(Version::FIRST, record(1, now + DAY), Tokens::Renewed, now).unwrap();
    wait_for_no_garbage(&engine);
    assert_eq!(engine.figures().rows, 1);
}

#[test]
fn purging_frees_as_many_as_it_may_and_says_how_many() {
    let place = Place::new();
    let engine = place.open();
    let now = place.now();
    for n in 0..10 {
        let mut record = record(n, now);
        if n < 6 {
            record.refresh_expires_at = now + HOUR;
        }
        engine.blocking().insert(crate::support::login(record), now).unwrap();
    }
    place.clock.advance(HOUR);
    let purge = |limit| engine.blocking().purge_expired(limit, place.now()).unwrap();
    assert_eq!(engine.blocking().stats(place.now()).unwrap().devices, 4);
    assert_eq!((purge(0), purge(4), purge(100), purge(100)), (0, 4, 2, 0));
    let figures = engine.figures();
    assert_eq!((figures.rows, figures.garbage_rows), (10, 6));
    assert_eq!(ended(&engine, 0, place.now()), "absent");
    live(&engine, 9, place.now());
    check_counts(&engine);
}

#[test]
fn reclaiming_goes_on_under_load() {
    let place = Place::new();
    let options = place.options().garbage(20, 50);
    let engine = Engine::open(place.directory.path(), options).unwrap();
    let now = place.now();
    for n in 0..40 {
        log_in(&engine, n, now);
    }
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let engine = &engine;
            scope.spawn(move || {
                for version in 1..100 {
                    for n in (0..5).map(|n| thread * 5 + n) {
                        replace(engine, n, version, now);
                    }
                }
            });
        }
    });
    wait_until_below(&engine, 200);
    for n in 0..40 {
        assert_eq!(live(&engine, n, now).version.number(), 100);
    }
    check_counts(&engine);
}

#[test]
fn readers_see_every_record_at_all_times_and_no_version_twice() {
    let place = Place::new();
    let engine = open_eager(&place);
    let now = place.now();
    for n in 0..4 {
        log_in(&engine, n, now);
    }
    std::thread::scope(|scope| {
        for n in 0..4 {
            let engine = &engine;
            scope.spawn(move || (1..150).for_each(|version| replace(engine, n, version, now)));
            scope.spawn(move || {
                let mut version = 1;
                while version < 150 {
                    let found = live(engine, n, now).version.number();
                    assert!(found >= version, "{found} after {version}");
                    version = found;
                    let ada = crate::support::email("ada@example.org");
                    assert_eq!(engine.blocking().devices_of(&ada, now).unwrap().len(), 4);
                }
            });
        }
    });
    assert_eq!(engine.blocking().stats(now).unwrap().unreadable, 0);
}

#[track_caller]
fn wait_until_below(engine: &Engine, rows: u64) {
    for _ in 0..10_000 {
        if engine.figures().rows < rows {
            return;
        }
        engine.blocking().flush().unwrap();
        std::thread::yield_now();
    }
    panic!("{:?}", engine.figures());
}
