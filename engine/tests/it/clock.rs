//! A wall clock that leaps makes sessions invisible for a while, and destroys nothing.

use crate::support::{DAY, HOUR, Place, device, ended, live, log_in, login, record};

#[test]
fn a_clock_that_leaps_ahead_destroys_nothing() {
    let place = Place::new();
    let engine = place.open();
    let now = place.now();
    log_in(&engine, 1, now);
    place.clock.advance(HOUR);
    place.clock.leap_to(now + 3650 * DAY);
    assert_eq!(ended(&engine, 1, place.now()), "expired");
    assert_eq!(engine.blocking().purge_expired(10, place.now()).unwrap(), 0);
    engine.blocking().compact().unwrap();
    assert!(engine.figures().clock_disagreement_seconds > 0);
    place.clock.leap_to(now + HOUR);
    live(&engine, 1, place.now());
    engine.blocking().flush().unwrap();
    assert_eq!(engine.figures().clock_disagreement_seconds, 0);
}

#[test]
fn a_clock_that_stays_ahead_is_believed_after_an_hour() {
    let place = Place::new();
    let engine = place.open();
    let now = place.now();
    log_in(&engine, 1, now);
    place.clock.leap_to(now + 3650 * DAY);
    engine.blocking().flush().unwrap();
    live(&engine, 1, now);
    place.clock.advance(HOUR);
    engine.blocking().flush().unwrap();
    assert_eq!(ended(&engine, 1, now), "absent");
}

#[test]
fn nothing_expired_goes_in_the_first_ten_minutes() {
    let place = Place::new();
    log_in(&place.open(), 1, place.now());
    place.clock.advance(365 * DAY);
    let engine = place.open();
    assert_eq!(engine.blocking().purge_expired(10, place.now()).unwrap(), 0);
    engine.blocking().compact().unwrap();
    assert_eq!(ended(&engine, 1, place.now()), "expired");
    place.clock.advance(HOUR / 6);
    engine.blocking().flush().unwrap();
    assert_eq!(ended(&engine, 1, place.now()), "absent");
}

#[test]
fn an_hour_later_it_is_a_new_day_for_a_machine_that_slept() {
    let place = Place::new();
    let engine = place.open();
    let now = place.now();
    log_in(&engine, 1, now);
    // The monotonic clock stands still while a laptop sleeps.
    place.clock.leap_to(now + DAY);
    live(&engine, 1, place.now());
    place.clock.advance(2 * HOUR);
    engine.blocking().flush().unwrap();
    place.clock.advance(30 * DAY);
    engine.blocking().flush().unwrap();
    assert_eq!(ended(&engine, 1, now), "absent");
}

#[test]
fn a_session_that_outlived_its_limit_by_the_steady_clock_is_gone_for_good() {
    let place = Place::new();
    let engine = place.open();
    let now = place.now();
    let mut record = record(1, now);
    record.idle_limit = Some(HOUR);
    engine.blocking().insert(login(record), now).unwrap();
    place.clock.advance(HOUR);
    assert_eq!(engine.blocking().purge_expired(10, place.now()).unwrap(), 1);
    place.clock.leap_to(now + HOUR / 2);
    engine.blocking().touch(device(1), place.now()).unwrap();
    assert_eq!(ended(&engine, 1, place.now()), "absent");
    let stats = engine.blocking().stats(place.now()).unwrap();
    assert_eq!((stats.devices, stats.users), (0, 0));
    tokenkeep::testing::check_counts(&engine);
}
