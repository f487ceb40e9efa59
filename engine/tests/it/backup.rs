//! A copy of a store that is in use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenkeep::testing::Disk;
use tokenkeep::{
    BackupError, DeviceId, EndReason, Engine, HolderId, InsertOutcome, LeaseOutcome, Lookup,
    OpenError, Options, StoreError, TokenStore as _, Version,
};

use crate::failures::Machine;
use crate::support::{HOUR, Place, device, ended, live, log_in, login, record};

fn back_up(engine: &Engine, path: &Path) -> Result<(), BackupError> {
    pollster::block_on(engine.backup(path, |_| true))
}

/// A place whose data file is the backup at `path`, with the keys of `of`.
fn place_of(path: &Path, of: &Place) -> Place {
    let place = Place::new();
    std::fs::rename(path, place.file()).unwrap();
    std::fs::copy(of.keys(), place.keys()).unwrap();
    place
}

fn numbered(number: u32) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

#[test]
fn a_backup_of_a_busy_store_is_the_store_at_one_instant() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    let path = place.directory.path().join("backup");
    let done = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) || number < 100 {
                let mut record = record(0, now);
                record.device_id = numbered(number);
                let inserted = engine.blocking().insert(login(record), now).unwrap();
                assert!(matches!(inserted, InsertOutcome::Inserted { .. }));
                number += 1;
            }
            number
        });
        while engine.blocking().stats(now).unwrap().devices < 50 {
            std::thread::yield_now();
        }
        back_up(&engine, &path).unwrap();
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let there = place_of(&path, &place);
    let copy = there.open();
    assert_eq!(copy.id(), engine.id());
    let is_live =
        |number| matches!(copy.blocking().get(numbered(number), now).unwrap(), Lookup::Live(_));
    let kept = (0..written).take_while(|number| is_live(*number)).count();
    assert!(kept >= 50, "{kept} of {written}");
    assert_eq!(copy.blocking().stats(now).unwrap().devices, kept as u64, "no gaps");
}

#[test]
fn a_backup_keeps_what_ended_uses_and_intents() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    for n in 1..=3 {
        log_in(&engine, n, now);
    }
    engine.blocking().remove(device(1), None, EndReason::Logout, now).unwrap();
    place.clock.advance(HOUR);
    let later = place.now();
    engine.blocking().touch(device(2), later).unwrap();
    let holder = HolderId::from_bytes([9; 16]);
    let lease =
        engine.blocking().lease(device(3), Version::FIRST, holder, later + HOUR, later).unwrap();
    assert!(matches!(lease, LeaseOutcome::Granted(_)));
    let path = place.directory.path().join("backup");
    back_up(&engine, &path).unwrap();
    let there = place_of(&path, &place);
    let copy = there.open();
    assert_eq!(ended(&copy, 1, later), "logout");
    assert_eq!(live(&copy, 2, later).last_seen_at, later);
    assert!(live(&copy, 3, later).refresh_intent.is_some_and(|intent| intent.uncertain));
}

#[test]
fn a_backup_takes_nobodys_place_and_leaves_nothing_when_it_is_called_off() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let path = place.directory.path().join("backup");
    let called_off = pollster::block_on(engine.backup(&path, |_| false));
    assert!(matches!(called_off, Err(BackupError::CalledOff)), "{called_off:?}");
    std::fs::write(&path, "mine").unwrap();
    let refused = back_up(&engine, &path);
    assert!(matches!(refused, Err(BackupError::Exists(_))), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let nowhere = back_up(&engine, &place.directory.path().join("no/where"));
    assert!(matches!(nowhere, Err(BackupError::Unwritable { .. })), "{nowhere:?}");
    let names = std::fs::read_dir(place.directory.path()).unwrap();
    let left = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.contains("unfinished")));
}

#[test]
fn a_backup_does_not_open_with_another_ring() {
    let place = Place::new();
    let engine = place.open();
    let path = place.directory.path().join("backup");
    back_up(&engine, &path).unwrap();
    let stranger = Place::new();
    drop(stranger.open());
    let there = place_of(&path, &stranger);
    assert!(matches!(there.try_open(), Err(OpenError::WrongKeyRing { .. })));
}

/// A page that reads as one with fewer rows made a copy without them, which opened: what had
/// ended lived again in it.
#[test]
fn a_backup_of_a_damaged_store_fails_or_is_complete() {
    let machine = Machine::new();
    let engine = machine.open(Options::new());
    for n in 0..60 {
        log_in(&engine, n, machine.now);
    }
    for n in 0..30 {
        engine.blocking().remove(device(n), None, EndReason::Logout, machine.now).unwrap();
    }
    engine.blocking().close().unwrap();
    let whole = machine.disk.bytes();
    let directory = tempfile::tempdir().unwrap();
    let mut failed = 0;
    let pages = whole.chunks(PAGE).enumerate().skip(1);
    let written = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(at, _)| at);
    // How many rows there are on the page.
    for (page, count) in written.flat_map(|page| [(page, 1_u8), (page, 2)]) {
        machine.disk.damage(|bytes| bytes.clone_from(&whole));
        let engine = machine.open(Options::new().page_cache_bytes(0));
        let opened = machine.disk.bytes();
        machine.disk.damage(|bytes| bytes[page * PAGE + 2..][..2].copy_from_slice(&[count, 0]));
        let path = directory.path().join(format!("{page}-{count}"));
        match back_up(&engine, &path) {
            Ok(()) => assert_complete(std::fs::read(&path).unwrap(), &machine, (page, count)),
            Err(error) => {
                assert!(matches!(error, BackupError::Store(_)), "{error:?}");
                failed += 1;
            }
        }
        // redb aborts if it panics over its own bookkeeping while it closes.
        machine.disk.damage(|bytes| *bytes = opened);
    }
    assert!(failed > 0, "some page was one of rows");
}

/// Every record of the copy is there or cannot be read, and what ended has ended.
#[track_caller]
fn assert_complete(copy: Vec<u8>, machine: &Machine, damage: (usize, u8)) {
    let there = Machine { disk: Disk::holding(copy), ring: machine.ring.clone(), ..*machine };
    let engine = there.open(Options::new());
    for n in 0..60 {
        match engine.blocking().get(device(n), machine.now) {
            Ok(Lookup::Live(_)) if n >= 30 => {}
            Ok(Lookup::Ended(_)) if n < 30 => {}
            Err(StoreError::Unreadable { .. }) => {}
            other => panic!("{damage:?}, device {n}: {other:?}"),
        }
    }
}

const PAGE: usize = 4096;

/// What a crash had left of a backup was taken for the backup itself.
#[test]
fn what_is_left_of_a_backup_is_no_hindrance() {
    let place = Place::new();
    let (engine, now) = (place.open(), place.now());
    log_in(&engine, 1, now);
    let path = place.directory.path().join("backup");
    std::fs::write(path.with_file_name("backup.unfinished"), "half a copy").unwrap();
    back_up(&engine, &path).unwrap();
    let there = place_of(&path, &place);
    live(&there.open(), 1, now);
}
