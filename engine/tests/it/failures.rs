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

struct Machine {
    disk: Disk,
    ring: KeyRing,
    now: Timestamp,
}

impl Machine {
    fn new() -> Self {
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        Self { disk: Disk::new(), ring: KeyRing::generate().unwrap(), now }
    }

    fn open(&self, options: Options) -> Engine {
        self.try_open(options).unwrap()
    }

    fn try_open(&self, options: Options) -> Result<Engine, OpenError> {
        let clock = Arc::new(ManualClock::new(self.now));
        open_on(&self.disk, options.clock(clock).key_ring(self.ring.clone()))
    }
}

#[test]
fn power_loss_at_any_write_loses_nothing_that_was_acknowledged() {
    for crash_at in 0..60 {
        let machine = Machine::new();
        let engine = machine.open(Options::new().garbage(1, 1));
        log_in(&engine, 0, machine.now);
        machine.disk.crash_after(crash_at);
        let mut acknowledged = vec![0];
        for n in 1..20 {
            if engine.blocking().insert(login(record(n, machine.now)), machine.now).is_err() {
                break;
            }
            acknowledged.push(n);
        }
        drop(engine);
        machine.disk.restart(crash_at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let engine = machine.open(Options::new());
        let devices = engine.blocking().devices_of(&email("ada@example.org"), machine.now).unwrap();
        assert!(
            (acknowledged.len()..=acknowledged.len() + 1).contains(&devices.len()),
            "crash at {crash_at}: {} acknowledged, {} there",
            acknowledged.len(),
            devices.len()
        );
        for n in acknowledged {
            live(&engine, n, machine.now);
        }
        check_counts(&engine);
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
fn a_record_that_does_not_open_is_reported_and_kept_aside() {
    let place = crate::support::Place::new();
    let engine = place.open();
    let now = place.now();
    for n in 1..=3 {
        log_in(&engine, n, now);
    }
    engine.blocking().close().unwrap();
    drop(engine);
    swap_bodies(&place.file(), 1, 2);

    let engine = place.open();
    for n in [1, 2] {
        let error = engine.blocking().get(device(n), now).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
        let error = engine.blocking().remove(device(n), None, EndReason::Logout, now).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
    }
    live(&engine, 3, now);
    let ada = email("ada@example.org");
    assert_eq!(engine.blocking().devices_of(&ada, now).unwrap().len(), 1);
    assert!(engine.blocking().stats(now).unwrap().unreadable >= 2);
    assert_eq!(engine.figures().rows, 3, "nothing was deleted");
    // Whoever ends everything means those, too.
    let ended = engine.blocking().remove_all_of(&ada, None, EndReason::EndedByUser, now).unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(crate::support::ended(&engine, 1, now), "ended_by_user");
}

fn swap_bodies(path: &std::path::Path, one: u64, other: u64) {
    const BODIES: redb::TableDefinition<'static, u64, &[u8]> = redb::TableDefinition::new("bodies");
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(BODIES).unwrap();
        let first = table.remove(one).unwrap().unwrap().value().to_vec();
        let second = table.remove(other).unwrap().unwrap().value().to_vec();
        table.insert(one, second.as_slice()).unwrap();
        table.insert(other, first.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// A closed store of sixty records, and where the pages are on which something is written.
fn machine_with_pages() -> (Machine, Vec<usize>) {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    (0..60).for_each(|n| drop(log_in(&engine, n, machine.now)));
    engine.blocking().close().unwrap();
    let bytes = machine.disk.bytes();
    let pages = bytes.chunks(PAGE).enumerate().skip(1);
    let written = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(at, _)| at);
    let written = written.collect::<Vec<_>>();
    (machine, written)
}

fn overwrite(machine: &Machine, page: usize, filling: u8) {
    machine.disk.damage(|bytes| bytes[page * PAGE..][..64].fill(filling));
}

#[test]
fn a_damaged_page_fails_who_needs_it_and_nobody_else() {
    let (machine, pages) = machine_with_pages();
    let whole = machine.disk.bytes();
    let mut unreadable = 0;
    for (page, filling) in pages.into_iter().flat_map(|page| [(page, 0xff), (page, 1)]) {
        machine.disk.damage(|bytes| bytes.clone_from(&whole));
        let engine = machine.open(Options::new().cache_bytes(0).page_cache_bytes(0));
        let opened = machine.disk.bytes();
        overwrite(&machine, page, filling);
        let mut damaged = Vec::new();
        for n in 0..60 {
            match engine.blocking().get(device(n), machine.now) {
                Err(StoreError::Unreadable { .. }) => damaged.push(n),
                Ok(tokenkeep::Lookup::Live(_)) | Err(StoreError::Unavailable(_)) => {}
                other => panic!("page {page}, device {n}: {other:?}"),
            }
        }
        let _ = engine.blocking().scan(None, 100.try_into().unwrap(), machine.now);
        for n in &damaged {
            let now = machine.now;
            let error = engine.blocking().remove(device(*n), None, EndReason::Logout, now);
            let error = error.unwrap_err();
            assert!(matches!(error, StoreError::Unreadable { .. }), "page {page}: {error:?}");
        }
        engine.blocking().check_writable().unwrap();
        unreadable += damaged.len();
        // redb aborts if it panics over its own bookkeeping while it closes.
        machine.disk.damage(|bytes| *bytes = opened);
    }
    assert!(unreadable > 0, "some page was one of bodies");
}

#[test]
fn a_damaged_page_is_an_error_of_opening_never_a_panic() {
    let (machine, pages) = machine_with_pages();
    let whole = machine.disk.bytes();
    let mut refused = 0;
    for (page, filling) in pages.into_iter().flat_map(|page| [(page, 0xff), (page, 1)]) {
        machine.disk.damage(|bytes| bytes.clone_from(&whole));
        overwrite(&machine, page, filling);
        match machine.try_open(Options::new()) {
            Ok(engine) => drop(engine),
            Err(OpenError::Damaged(_)) => refused += 1,
            Err(error) => panic!("page {page}: {error:?}"),
        }
    }
    assert!(refused > 0, "some page was one of headers");
}

const PAGE: usize = 4096;
