//! A wall clock that leaps makes sessions invisible for a while, and destroys nothing.

use tokenkeep::{Engine, ReplaceOutcome, Timestamp, TokenRecord, Tokens};

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

/// Everything that destroys what expired.
fn reclaim(engine: &Engine, now: Timestamp) {
    engine.blocking().purge_expired(100, now).unwrap();
    engine.blocking().compact().unwrap();
}

#[test]
fn a_clock_that_is_ahead_at_opening_and_set_in_time_destroys_nothing() {
    let place = Place::new();
    let now = place.now();
    log_in(&place.open(), 1, now);
    place.clock.leap_to(now + 3650 * DAY);
    let engine = place.open();
    assert_eq!(ended(&engine, 1, place.now()), "expired");
    place.clock.advance(HOUR / 10);
    reclaim(&engine, place.now());
    place.clock.leap_to(now + HOUR / 10);
    for _ in 0..48 {
        place.clock.advance(HOUR / 2);
        reclaim(&engine, place.now());
    }
    live(&engine, 1, place.now());
    drop(engine);
    live(&place.open(), 1, place.now());
}

#[test]
fn a_clock_that_is_back_at_opening_and_set_later_is_believed_after_an_hour() {
    let place = Place::new();
    let now = place.now();
    let engine = place.open();
    log_in(&engine, 1, now);
    let mut short = record(2, now);
    short.refresh_expires_at = now + HOUR;
    engine.blocking().insert(login(short), now).unwrap();
    drop(engine);
    place.clock.leap_to(now.saturating_sub(3650 * DAY));
    let engine = place.open();
    reclaim(&engine, place.now());
    live(&engine, 2, place.now());
    place.clock.leap_to(now + 2 * HOUR);
    assert_eq!(ended(&engine, 2, place.now()), "expired");
    place.clock.advance(HOUR / 2);
    engine.blocking().flush().unwrap();
    reclaim(&engine, place.now());
    assert_eq!(engine.figures().rows, 2, "it is not certain yet");
    place.clock.advance(HOUR);
    engine.blocking().flush().unwrap();
    reclaim(&engine, place.now());
    assert_eq!(ended(&engine, 2, place.now()), "absent");
    live(&engine, 1, place.now());
    assert_eq!(engine.figures().rows, 1);
}

#[test]
fn a_clock_that_leaps_about_destroys_nothing_that_lives() {
    let place = Place::new();
    let engine = place.open();
    let start = place.now();
    let step = HOUR / 3;
    let mut records: Vec<TokenRecord> = Vec::new();
    // How far off the clock is, in hours, for twenty minutes each.
    let leaps = [0, 87_600, 0, -43_800, 0, 2, -2, 87_600, -43_800, 720, 0, -1, 0];
    for (n, hours) in (0u8..).zip(leaps) {
        place.clock.advance(step);
        let right = start + step * (u32::from(n) + 1);
        let off = HOUR * i32::unsigned_abs(hours);
        let wall = if hours < 0 { right.saturating_sub(off) } else { right + off };
        place.clock.leap_to(wall);
        log_in(&engine, n, wall);
        records.push(record(n, wall));
        if (-10..=0).contains(&hours) && n > 0 {
            // A refresh of whoever logged in first, by the clock as it is.
            let version = live(&engine, 0, wall).version;
            let replaced =
                engine.blocking().replace(version, record(0, wall), Tokens::Renewed, wall);
            assert!(matches!(replaced.unwrap(), ReplaceOutcome::Replaced(_)));
            records[0] = record(0, wall);
        }
        reclaim(&engine, wall);
        let lives = |record: &&TokenRecord| hours == 0 && !record.is_dead(right);
        for record in records.iter().filter(lives) {
            live(&engine, record.device_id.as_bytes()[0], right);
        }
        tokenkeep::testing::check_counts(&engine);
    }
    let right = place.now();
    drop(engine);
    let engine = place.open();
    let alive: Vec<_> = records.iter().filter(|record| !record.is_dead(right)).collect();
    assert!(alive.len() >= leaps.len() - 2, "{}", alive.len());
    for record in alive {
        live(&engine, record.device_id.as_bytes()[0], right);
    }
}
