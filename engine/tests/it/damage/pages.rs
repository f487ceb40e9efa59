//! Pages that are damaged under an open store, and records that do not open.

use tokenkeep::{EndReason, OpenError, Options, StoreError};

use crate::failures::Machine;
use crate::support::{device, email, live, log_in};

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
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("page {page}: {error:?}"),
        }
    }
    assert!(refused > 0, "some page was one of headers");
}

const PAGE: usize = 4096;
