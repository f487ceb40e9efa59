//! Disks that fail, fill up and forget.

use std::sync::Arc;

use tokenkeep::testing::{Disk, DiskError, Fault, Hits, check_counts, open_on};
use tokenkeep::{
    Durability, EndReason, Engine, KeyRing, ManualClock, OpenError, Options, ReplaceOutcome,
    StoreError, Timestamp, Tokens, Version,
};

use crate::support::{
    HOUR, device, email, ended, live, log_in, login, record, wait_until_writable,
};

/// A disk, and the ring and the time that go with it.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) ring: KeyRing,
    pub(crate) now: Timestamp,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        Self { disk: Disk::new(), ring: KeyRing::generate().unwrap(), now }
    }

    pub(crate) fn open(&self, options: Options) -> Engine {
        self.try_open(options).unwrap()
    }

    pub(crate) fn try_open(&self, options: Options) -> Result<Engine, OpenError> {
        let clock = Arc::new(ManualClock::new(self.now));
        open_on(&self.disk, options.clock(clock).key_ring(self.ring.clone()))
    }
}

#[test]
fn an_interval_goes_back_to_an_earlier_state_as_a_whole() {
    for crash_at in 0..30 {
        let machine = Machine::new();
        let options = || Options::new().durability(Durability::Interval(HOUR)).garbage(1, 1);
        let engine = machine.open(options());
        log_in(&engine, 0, machine.now);
        engine.blocking().flush().unwrap();
        machine.disk.crash_after(crash_at);
        let logins = (1..40).map(|n| login(record(n, machine.now)));
        let taken =
            logins.map_while(|login| engine.blocking().insert(login, machine.now).ok()).count();
        let _ = engine.blocking().flush();
        drop(engine);
        machine.disk.restart(crash_at);
        let engine = machine.open(options());
        let devices = engine.blocking().devices_of(&email("ada@example.org"), machine.now).unwrap();
        assert!(devices.len() <= taken + 2, "{taken} taken, {} there", devices.len());
        for n in 0..devices.len() {
            live(&engine, u8::try_from(n).unwrap(), machine.now);
        }
        assert!(!devices.is_empty(), "what was flushed is there");
        check_counts(&engine);
    }
}

#[test]
fn a_failed_sync_fails_the_write_and_the_next_one_works() {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    log_in(&engine, 1, machine.now);
    machine.disk.fail_next_sync(true);
    let failed = engine.blocking().insert(login(record(2, machine.now)), machine.now);
    let error = failed.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    wait_until_writable(&engine);
    live(&engine, 1, machine.now);
    assert_eq!(ended(&engine, 2, machine.now), "absent");
    log_in(&engine, 2, machine.now);
    check_counts(&engine);
}

#[test]
fn a_write_that_failed_and_is_there_all_the_same_is_there_whole() {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    log_in(&engine, 1, machine.now);
    machine.disk.fail_next_sync(false);
    engine.blocking().insert(login(record(2, machine.now)), machine.now).unwrap_err();
    wait_until_writable(&engine);
    // The file decides, and it does so at once: not only when it is opened the next time.
    live(&engine, 2, machine.now);
    check_counts(&engine);
    log_in(&engine, 3, machine.now);
    drop(engine);
    let engine = machine.open(Options::new());
    for n in 1..=3 {
        live(&engine, n, machine.now);
    }
}

#[test]
fn a_failed_sync_and_a_power_loss_lose_nothing_that_was_acknowledged() {
    for seed in 0..10 {
        let machine = Machine::new();
        let engine = machine.open(Options::new());
        (0..5).for_each(|n| drop(log_in(&engine, n, machine.now)));
        machine.disk.fail_next_sync_unseen();
        engine.blocking().insert(login(record(5, machine.now)), machine.now).unwrap_err();
        wait_until_writable(&engine);
        assert_eq!(ended(&engine, 5, machine.now), "absent", "it is not on the disk");
        (6..10).for_each(|n| drop(log_in(&engine, n, machine.now)));
        machine.disk.crash_after(0);
        drop(engine);
        machine.disk.restart(seed);
        let engine = machine.open(Options::new());
        for n in (0..5).chain(6..10) {
            live(&engine, n, machine.now);
        }
        check_counts(&engine);
    }
}

#[test]
fn a_store_that_was_not_closed_does_not_open_with_another_ring() {
    let mut machine = Machine::new();
    let engine = machine.open(Options::new());
    log_in(&engine, 1, machine.now);
    machine.disk.crash_after(0);
    engine.blocking().insert(login(record(2, machine.now)), machine.now).unwrap_err();
    drop(engine);
    machine.disk.restart(0);
    let ring = std::mem::replace(&mut machine.ring, KeyRing::generate().unwrap());
    let options = Options::new().key_ring(machine.ring.clone());
    let refused = open_on(&machine.disk, options).unwrap_err();
    assert!(matches!(refused, OpenError::WrongKeyRing { .. }), "{refused}");
    machine.ring = ring;
    live(&machine.open(Options::new()), 1, machine.now);
}

#[test]
fn a_disk_that_does_not_read_is_no_damaged_file() {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    log_in(&engine, 1, machine.now);
    engine.blocking().close().unwrap();
    machine.disk.fail(Fault { hits: Hits::Reads, after: 0, lasts: true, error: DiskError::Io });
    let error = machine.try_open(Options::new()).unwrap_err();
    assert!(matches!(error, OpenError::Inaccessible { .. }), "{error:?}");
    machine.disk.heal();
    live(&machine.open(Options::new()), 1, machine.now);
}

#[test]
fn a_lease_survives_the_repair_of_its_store() {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    log_in(&engine, 1, machine.now);
    let until = machine.now + HOUR;
    let holder = crate::support::holder(1);
    engine.blocking().lease(device(1), Version::FIRST, holder, until, machine.now).unwrap();
    machine.disk.fail_next_sync(true);
    engine.blocking().insert(login(record(2, machine.now)), machine.now).unwrap_err();
    wait_until_writable(&engine);
    assert!(live(&engine, 1, machine.now).refresh_intent.unwrap().is_held(machine.now));
    let stored = engine.blocking().replace(
        Version::FIRST,
        record(1, machine.now),
        Tokens::Renewed,
        machine.now,
    );
    assert!(matches!(stored.unwrap(), ReplaceOutcome::Replaced(_)));
}

#[test]
fn a_full_disk_stops_writes_only_and_only_while_it_is_full() {
    let machine = Machine::new();
    let engine = machine.open(Options::new().cache_bytes(0));
    log_in(&engine, 1, machine.now);
    engine.blocking().remove(device(1), None, EndReason::Logout, machine.now).unwrap();
    log_in(&engine, 2, machine.now);
    machine.disk.limit_growth(Some(0));
    let mut refused = None;
    for n in 3..250 {
        if let Err(error) = engine.blocking().insert(login(record(n, machine.now)), machine.now) {
            refused = Some((n, error));
            break;
        }
    }
    let (n, error) = refused.expect("the disk is full");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(engine.blocking().check_writable().is_err());
    live(&engine, 2, machine.now);
    assert_eq!(ended(&engine, 1, machine.now), "logout");
    engine.blocking().insert(login(record(n, machine.now)), machine.now).unwrap_err();

    machine.disk.limit_growth(None);
    wait_until_writable(&engine);
    log_in(&engine, n, machine.now);
    for n in 2..=n {
        live(&engine, n, machine.now);
    }
    check_counts(&engine);
}

#[test]
fn a_failed_read_is_over_without_a_write() {
    let machine = Machine::new();
    let engine = machine.open(Options::new().cache_bytes(0).page_cache_bytes(0));
    log_in(&engine, 1, machine.now);
    let fault = Fault { hits: Hits::Reads, after: 0, lasts: false, error: DiskError::Io };
    machine.disk.fail(fault);
    let error = engine.blocking().get(device(1), machine.now).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let is_back = || {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(std::time::Duration::from_millis(100));
        engine.blocking().get(device(1), machine.now).is_ok()
    };
    assert!((0..200).any(|_| is_back()), "nobody opened the file anew");
    live(&engine, 1, machine.now);
}

#[test]
fn a_failed_read_is_over_while_the_disk_does_not_write_too() {
    let machine = Machine::new();
    let engine = machine.open(Options::new().cache_bytes(0).page_cache_bytes(0));
    log_in(&engine, 1, machine.now);
    let fault = Fault { hits: Hits::Changes, after: 0, lasts: true, error: DiskError::Io };
    machine.disk.fail(fault);
    engine.blocking().insert(login(record(2, machine.now)), machine.now).unwrap_err();
    live(&engine, 1, machine.now);
    // The writer, which tries again, may meet the fault first.
    let fails = || {
        machine.disk.fail(Fault { hits: Hits::Reads, lasts: false, ..fault });
        engine.blocking().get(device(1), machine.now).is_err()
    };
    assert!((0..100).any(|_| fails()), "nothing is read from the disk");
    let is_back = || {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(std::time::Duration::from_millis(100));
        engine.blocking().get(device(1), machine.now).is_ok()
    };
    assert!((0..200).any(|_| is_back()), "nobody opened the file anew");
    assert!(engine.blocking().check_writable().is_err());
}
