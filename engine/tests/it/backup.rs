//! A copy of a store that is in use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenkeep::{
    BackupError, DeviceId, Engine, HolderId, InsertOutcome, LeaseOutcome, Lookup, OpenError,
    TokenStore as _, Version,
};

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
    engine.blocking().remove(device(1), None, tokenkeep::EndReason::Logout, now).unwrap();
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
