//! What is refused at opening, and that it is left as it was.

use std::fs;

use rusqlite::Connection;
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{KeyRing, StoreId, TokenStore as _};
use tokenkeep_sqlite::{OpenError, SqliteStore};

use crate::child::Running;
use crate::original::{LOGIN, Original};
use crate::support::{Place, device, log_in};

/// A closed store with twenty records.
async fn closed_store() -> Place {
    let place = Place::sealed();
    let store = place.open();
    for n in 0..20 {
        log_in(&store, n, "ada@example.org").await;
    }
    store.close().await.unwrap();
    place
}

/// Opening fails, says so in a sentence, and changes nothing.
#[track_caller]
fn refused(place: &Place) -> OpenError {
    let before = fs::read(place.file()).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(fs::read(place.file()).unwrap() == before, "the file was changed: {error}");
    for beside in ["tokens.sqlite-wal", "tokens.sqlite-shm"] {
        assert!(!place.path().join(beside).exists(), "{beside} was left: {error}");
    }
    assert!(error.to_string().contains(": "), "it says what to do: {error}");
    error
}

#[tokio::test]
async fn an_emptied_file_is_refused() {
    let place = closed_store().await;
    let length = fs::metadata(place.file()).unwrap().len();
    for bytes in [Vec::new(), vec![0; 1], vec![0; usize::try_from(length).unwrap()]] {
        fs::write(place.file(), bytes).unwrap();
        assert!(matches!(refused(&place), OpenError::Damaged(_)));
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let place = closed_store().await;
    let whole = fs::read(place.file()).unwrap();
    let pages = (4096..whole.len()).step_by(4096);
    let odd = [16, 17, 18, 100, 511, whole.len() / 2 + 1, whole.len() - 1];
    for kept in odd.into_iter().chain(pages) {
        fs::write(place.file(), &whole[..kept]).unwrap();
        assert!(matches!(refused(&place), OpenError::Damaged(_)), "{kept} bytes");
    }
    fs::write(place.file(), &whole).unwrap();
    assert!(place.open().get(device(3), START).await.unwrap().live().is_some());
}

#[tokio::test]
async fn damaged_pages_are_refused() {
    let place = closed_store().await;
    let whole = fs::read(place.file()).unwrap();
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..page * 4096 + 64].fill(0xa5);
        fs::write(place.file(), &bytes).unwrap();
        assert!(matches!(refused(&place), OpenError::Damaged(_)), "page {page}");
    }
}

#[tokio::test]
async fn foreign_files_are_refused() {
    let place = closed_store().await;
    for bytes in [b"a shopping list, and a long one".to_vec(), b"redb\x1a\x0a\xa9\x0d".repeat(99)] {
        fs::write(place.file(), bytes).unwrap();
        assert!(matches!(refused(&place), OpenError::Foreign));
    }
    for table in ["notes (text)", "tokenkeep_meta (name, value)"] {
        fs::remove_file(place.file()).unwrap();
        let other = Connection::open(place.file()).unwrap();
        other.execute_batch(&format!("CREATE TABLE {table}")).unwrap();
        drop(other);
        assert!(matches!(refused(&place), OpenError::Foreign), "{table}");
    }
    fs::remove_file(place.file()).unwrap();
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("CREATE TABLE user_auth_credentials (id, device_id, email)").unwrap();
    drop(other);
    let error = refused(&place);
    assert!(matches!(error, OpenError::MissingColumn { column: "access_token" }), "{error:?}");
}

#[tokio::test]
async fn a_file_with_a_part_missing_is_refused() {
    for sql in [
        "DROP TABLE tokenkeep_meta",
        "DELETE FROM tokenkeep_meta",
        "UPDATE tokenkeep_meta SET value = x'01ff'",
        "UPDATE tokenkeep_meta SET value = x''",
        "ALTER TABLE user_auth_credentials DROP COLUMN rest",
    ] {
        let place = closed_store().await;
        change(&place, sql);
        assert!(matches!(refused(&place), OpenError::Damaged(_)), "{sql}");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused() {
    let place = closed_store().await;
    change(&place, "UPDATE tokenkeep_meta SET value = x'090909'");
    assert!(matches!(refused(&place), OpenError::NewerFormat { format: 9 }));
}

/// Changes the closed store as somebody else would.
fn change(place: &Place, sql: &str) {
    let connection = Connection::open(place.file()).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
}

#[tokio::test]
async fn another_ring_and_another_store_are_refused() {
    let place = closed_store().await;
    let other = KeyRing::generate().unwrap();
    let Sealing::On(ring) = place.sealing.clone() else { panic!("it is sealed") };
    let place = Place { sealing: Sealing::On(other), ..place };
    assert!(matches!(refused(&place), OpenError::WrongKeyRing { .. }));
    let place = Place { sealing: Sealing::Off, ..place };
    assert!(matches!(refused(&place), OpenError::Sealed));
    let rotated = ring.rotated().unwrap();
    let place = Place { sealing: Sealing::On(rotated), ..place };
    let meant = StoreId::from_bytes([7; 16]);
    let error = SqliteStore::open(place.file(), place.options().store_id(meant)).unwrap_err();
    assert!(matches!(error, OpenError::OtherStore { expected, .. } if expected == meant));
    let store = place.open();
    assert!(store.get(device(1), START).await.unwrap().live().is_some(), "sealed by the old key");
    store.close().await.unwrap();
    let place = Place { sealing: Sealing::On(ring), ..place };
    assert!(matches!(refused(&place), OpenError::KeyMissing { .. }), "the newest key is missing");
}

#[tokio::test]
async fn a_store_continues_another_one_under_its_name() {
    let place = Place::sealed();
    let meant = StoreId::from_bytes([7; 16]);
    let open = || SqliteStore::open(place.file(), place.options().store_id(meant)).unwrap();
    assert_eq!(open().id(), meant);
    assert_eq!(place.open().id(), meant);
    let taken = Place::sealed();
    Original::create(&taken.file()).insert(&LOGIN);
    let store = SqliteStore::open(taken.file(), taken.options().store_id(meant)).unwrap();
    assert_eq!(store.id(), meant);
}

#[tokio::test]
async fn a_store_in_use_is_refused() {
    let place = closed_store().await;
    let store = place.open();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::InUse), "{error:?}");
    assert!(store.get(device(1), START).await.unwrap().live().is_some());
    drop(store);
    let mut child = Running::start(&place, "wait", None);
    assert_eq!(child.says().as_deref(), Some("open"));
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::InUse), "by another process: {error:?}");
    child.kill();
    place.open();
}

#[cfg(unix)]
#[tokio::test]
async fn directory_and_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::sealed();
    let directory = place.path().join("a/b");
    let store = SqliteStore::open(directory.join("tokens.sqlite"), place.options()).unwrap();
    log_in(&store, 1, "ada@example.org").await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "data, log, its index and the lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_refused_and_left() {
    let place = Place::sealed();
    let elsewhere = place.path().join("not-mounted/tokens.sqlite");
    std::os::unix::fs::symlink(&elsewhere, place.file()).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Inaccessible { .. }), "{error:?}");
    assert!(!elsewhere.exists() && place.file().is_symlink());
}

#[tokio::test]
async fn what_a_crash_left_of_a_store_that_was_being_made_is_no_hindrance() {
    let place = Place::sealed();
    for suffix in ["", "-wal", "-shm"] {
        let left = place.path().join(format!("tokens.sqlite.unfinished{suffix}"));
        fs::write(left, "half a store").unwrap();
    }
    log_in(&place.open(), 1, "ada@example.org").await;
    assert!(!place.path().join("tokens.sqlite.unfinished").exists());
}
