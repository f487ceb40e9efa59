//! What is refused at opening, and that it is left as it was.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::{Database, ReadableDatabase as _, TableDefinition};
use tokenkeep::core::codec::BLOCK_TAG_LEN;
use tokenkeep::{Engine, HolderId, KeyRing, Lookup, OpenError, StoreId, TokenStore as _};

use crate::support::{Place, device, live, log_in};

const HEADERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("headers");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// Bytes in front of the first row of a block.
const IN_FRONT: usize = BLOCK_TAG_LEN + 4;

/// A closed store with twenty records.
fn closed_store() -> Place {
    let place = Place::new();
    let engine = place.open();
    for n in 0..20 {
        log_in(&engine, n, place.now());
    }
    engine.blocking().close().unwrap();
    place
}

/// Opening fails, says so in a sentence, and changes nothing.
#[track_caller]
fn refused(place: &Place) -> OpenError {
    let before = fs::read(place.file()).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(fs::read(place.file()).unwrap() == before, "the file was changed: {error}");
    if let OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::NewerFormat { .. } =
        error
    {
        assert!(error.to_string().contains(place.file().to_str().unwrap()), "which file: {error}");
    }
    error
}

fn change_row(place: &Place, change: impl FnOnce(&mut Vec<u8>)) {
    let database = Database::open(place.file()).unwrap();
    let mut bytes = {
        let table = database.begin_read().unwrap().open_table(HEADERS).unwrap();
        table.get(7).unwrap().unwrap().value().to_vec()
    };
    change(&mut bytes);
    let transaction = database.begin_write().unwrap();
    transaction.open_table(HEADERS).unwrap().insert(7, bytes.as_slice()).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn an_emptied_file_is_refused() {
    let place = closed_store();
    let length = fs::metadata(place.file()).unwrap().len();
    for bytes in [Vec::new(), vec![0; 1], vec![0; usize::try_from(length).unwrap()]] {
        fs::write(place.file(), bytes).unwrap();
        assert!(matches!(refused(&place), OpenError::Damaged { .. }));
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let place = closed_store();
    let whole = fs::read(place.file()).unwrap();
    let odd = [1, 8, 9, 100, 511, 513, whole.len() / 2 + 1, whole.len() - 1];
    let pages = (PAGE..whole.len()).step_by(PAGE);
    for kept in odd.into_iter().chain(pages.flat_map(|page| [page - 1, page, page + 1])) {
        fs::write(place.file(), &whole[..kept]).unwrap();
        refused(&place);
    }
    fs::write(place.file(), &whole).unwrap();
    live(&place.open(), 3, place.now());
}

#[test]
fn a_flipped_bit_is_refused_and_the_file_left_or_harmless() {
    let place = closed_store();
    let whole = fs::read(place.file()).unwrap();
    let mut refusals = 0;
    // The redb header closely, and a sample of the rest.
    for at in (0..512).step_by(3).chain((512..whole.len()).step_by(whole.len() / 100 + 1)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(place.file(), &bytes).unwrap();
        match place.try_open() {
            Err(error) => {
                assert!(fs::read(place.file()).unwrap() == bytes, "byte {at}: {error}");
                refusals += 1;
            }
            Ok(engine) => {
                for n in 0..20 {
                    let found = engine.blocking().get(device(n), place.now());
                    assert!(
                        matches!(found, Ok(Lookup::Live(_)) | Err(_)),
                        "byte {at}: device {n} was lost: {found:?}"
                    );
                }
                assert_eq!(engine.figures().rows, 20, "byte {at}");
            }
        }
    }
    assert!(refusals > 30, "{refusals}");
}

#[test]
fn a_damaged_header_row_is_refused() {
    let place = closed_store();
    change_row(&place, |bytes| bytes[IN_FRONT + 20] ^= 1);
    assert!(matches!(place.try_open().unwrap_err(), OpenError::Damaged { .. }));
    change_row(&place, |bytes| bytes[IN_FRONT + 20] ^= 1);
    live(&place.open(), 3, place.now());
}

#[test]
fn a_row_of_a_newer_format_is_refused() {
    let place = closed_store();
    change_row(&place, |bytes| bytes[IN_FRONT] = 2);
    let refused = place.try_open().unwrap_err();
    assert!(matches!(refused, OpenError::NewerFormat { format: 2, .. }), "{refused}");
}

#[test]
fn a_file_of_a_newer_format_is_refused() {
    let place = closed_store();
    {
        let database = Database::open(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("store", [9, 9, 9].as_slice()).unwrap();
        transaction.commit().unwrap();
    }
    assert!(matches!(refused(&place), OpenError::NewerFormat { format: 9, .. }));
}

#[test]
fn foreign_files_are_refused() {
    let place = closed_store();
    let random: Vec<_> = (0..300).flat_map(|_| *HolderId::random().unwrap().as_bytes()).collect();
    let mut sqlite = b"SQLite format 3\0".to_vec();
    sqlite.resize(2 * PAGE, 1);
    let list = b"a shopping list, longer than the first bytes of a redb file".to_vec();
    for bytes in [list, sqlite, random] {
        fs::write(place.file(), bytes).unwrap();
        assert!(matches!(refused(&place), OpenError::Foreign { .. }));
    }
    fs::remove_file(place.file()).unwrap();
    {
        let database = Database::create(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("other")).unwrap();
        transaction.commit().unwrap();
    }
    assert!(matches!(refused(&place), OpenError::Foreign { .. }));
}

#[test]
fn a_file_of_a_newer_redb_is_refused() {
    let place = closed_store();
    let mut bytes = fs::read(place.file()).unwrap();
    // Where each of the two commit slots says which format it has.
    for slot in [64, 192] {
        bytes[slot] += 1;
    }
    fs::write(place.file(), bytes).unwrap();
    assert!(matches!(refused(&place), OpenError::Damaged { .. }));
}

#[test]
fn a_directory_in_place_of_the_file_is_refused() {
    let place = Place::new();
    fs::create_dir(place.file()).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Inaccessible { .. }), "{error:?}");
    assert!(place.file().is_dir());
    assert!(!place.keys().exists(), "no ring is made");
}

#[test]
fn a_store_in_use_is_refused() {
    let place = closed_store();
    let engine = place.open();
    assert!(matches!(place.try_open().unwrap_err(), OpenError::InUse));
    live(&engine, 1, place.now());
    drop(engine);
    place.open();
}

#[test]
fn a_store_without_its_key_ring_is_refused() {
    let place = closed_store();
    let ring = fs::read(place.keys()).unwrap();
    fs::remove_file(place.keys()).unwrap();
    assert!(matches!(refused(&place), OpenError::KeyRingMissing { .. }));
    assert!(!place.keys().exists(), "no other ring is made");
    fs::write(place.keys(), KeyRing::generate().unwrap().to_text().as_bytes()).unwrap();
    assert!(matches!(refused(&place), OpenError::WrongKeyRing { .. }));
    fs::write(place.keys(), "no ring").unwrap();
    assert!(matches!(place.try_open().unwrap_err(), OpenError::KeyFile(_)));
    fs::write(place.keys(), ring).unwrap();
    live(&place.open(), 1, place.now());
}

#[test]
fn a_rotated_ring_opens_what_the_old_one_sealed() {
    let place = closed_store();
    let old = tokenkeep::key_file::open_or_create(&place.keys()).unwrap();
    tokenkeep::key_file::replace(&place.keys(), &old.rotated().unwrap()).unwrap();
    let engine = place.open();
    live(&engine, 1, place.now());
    log_in(&engine, 100, place.now());
    drop(engine);
    // A ring without a key that sealed does not fit any more.
    let active = tokenkeep::key_file::open_or_create(&place.keys()).unwrap().active();
    let refused = Engine::open(place.directory.path(), place.options().key_ring(old)).unwrap_err();
    assert!(matches!(refused, OpenError::KeyMissing { key } if key == active), "{refused:?}");
}

#[cfg(unix)]
#[test]
fn directory_and_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("a/b");
    let engine = Engine::open(&directory, tokenkeep::Options::new()).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    drop(engine);
}

#[test]
fn what_a_crash_left_of_a_store_that_was_being_made_is_no_hindrance() {
    let place = Place::new();
    fs::write(place.directory.path().join("tokens.redb.unfinished"), "half a store").unwrap();
    let ring = place.directory.path().join("keys.0123.unfinished");
    fs::write(&ring, "half a ring").unwrap();
    place.open();
    assert!(!place.directory.path().join("tokens.redb.unfinished").exists());
    assert!(ring.exists(), "somebody may be at work on it");
}

#[test]
fn of_many_that_make_one_store_at_once_one_gets_it() {
    for _ in 0..5 {
        let place = Place::new();
        let start = std::sync::Barrier::new(8);
        let open = || {
            start.wait();
            place.try_open()
        };
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refusals = opened.iter().filter_map(|engine| engine.as_ref().err());
        assert_eq!(refusals.filter(|error| matches!(error, OpenError::InUse)).count(), 7);
        let engine = opened.into_iter().find_map(Result::ok).unwrap();
        log_in(&engine, 1, place.now());
        drop(engine);
        live(&place.open(), 1, place.now());
    }
}

#[test]
fn a_closed_store_is_free_whoever_still_has_a_handle() {
    let place = closed_store();
    let engine = place.open();
    engine.blocking().close().unwrap();
    live(&place.open(), 1, place.now());
    drop(engine);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_refused_and_left() {
    for with_keys in [false, true] {
        let place = Place::new();
        if with_keys {
            tokenkeep::key_file::open_or_create(&place.keys()).unwrap();
        }
        let elsewhere = place.directory.path().join("not-mounted/tokens.redb");
        std::os::unix::fs::symlink(&elsewhere, place.file()).unwrap();
        let error = place.try_open().unwrap_err();
        assert!(matches!(error, OpenError::Inaccessible { .. }), "{error:?}");
        assert_eq!(fs::read_link(place.file()).unwrap(), elsewhere);
        assert_eq!(place.keys().exists(), with_keys, "no ring is made");
    }
}

#[cfg(unix)]
#[test]
fn a_store_behind_a_link_is_opened() {
    let place = closed_store();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("data");
    fs::copy(place.file(), &target).unwrap();
    fs::remove_file(place.file()).unwrap();
    std::os::unix::fs::symlink(&target, place.file()).unwrap();
    live(&place.open(), 1, place.now());
}

/// Counts what opening warns of.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        // What is said of modes depends on where the tests run.
        if event.metadata().target() == "tokenkeep::open" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_fresh_store_beside_an_old_key_ring_is_warned_of() {
    let warnings_of_opening = |place: &Place| {
        let warnings = Warnings::default();
        let counted = warnings.clone();
        tracing::subscriber::with_default(counted, || drop(place.open()));
        warnings.0.load(Ordering::Relaxed)
    };
    assert_eq!(warnings_of_opening(&closed_store()), 0);
    assert_eq!(warnings_of_opening(&Place::new()), 0);
    let emptied = closed_store();
    fs::remove_file(emptied.file()).unwrap();
    assert_eq!(warnings_of_opening(&emptied), 1);
}

const PAGE: usize = 4096;

#[test]
fn a_store_that_continues_another_has_its_name() {
    let place = Place::new();
    let (name, other) = (StoreId::from_bytes([7; 16]), StoreId::from_bytes([8; 16]));
    let named = |name| Engine::open(place.directory.path(), place.options().store_id(name));
    let engine = named(name).unwrap();
    assert_eq!(engine.id(), name);
    engine.blocking().close().unwrap();
    drop(engine);
    let before = fs::read(place.file()).unwrap();
    assert!(matches!(named(other), Err(OpenError::OtherStore { .. })));
    assert!(fs::read(place.file()).unwrap() == before, "the file was changed");
    assert_eq!(named(name).unwrap().id(), name);
}

/// The rows behind a block with such a number would have had the numbers of the first ones.
#[test]
fn a_block_with_a_number_that_nobody_gives_is_refused() {
    for number in [u64::MAX, 1 << 60] {
        let place = closed_store();
        let database = Database::open(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(HEADERS).unwrap().insert(number, [].as_slice()).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let refused = place.try_open();
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{number}: {refused:?}");
    }
}
