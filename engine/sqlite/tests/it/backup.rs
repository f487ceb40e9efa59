//! A copy of a store that works.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenkeep_core::TokenStore as _;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_sqlite::{BackupError, SqliteStore};

use crate::support::{Place, device, log_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_whole_and_private() {
    let place = Place::sealed();
    let store = place.open();
    for n in 0..50 {
        log_in(&store, n, "ada@example.org").await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        async move {
            // Each user has two devices, written one after the other.
            let mut n = 1000;
            while !stop.load(Ordering::SeqCst) {
                log_in(&store, n, "bob@example.org").await;
                n += 1;
            }
            n
        }
    });
    let to = place.path().join("backup.sqlite");
    store.backup(&to).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    let end = load.await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let copy = SqliteStore::open(&to, place.options().verify(true)).unwrap();
    assert_eq!(copy.id(), store.id());
    for n in 0..50 {
        assert!(copy.get(device(n), START).await.unwrap().live().is_some(), "device {n}");
    }
    let mut there = Vec::new();
    for n in 1000..end {
        there.push(copy.get(device(n), START).await.unwrap().live().is_some());
    }
    assert!(there.is_sorted_by(|before, after| before >= after), "a later one without an earlier");
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_leaves_nothing_half_made() {
    let place = Place::sealed();
    let store = place.open();
    let to = place.path().join("backup.sqlite");
    fs::write(&to, "precious").unwrap();
    let refused = store.backup(&to).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists), "{refused:?}");
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    let nowhere = place.path().join("nowhere/backup.sqlite");
    let refused = store.backup(&nowhere).await.unwrap_err();
    assert!(matches!(refused, BackupError::Inaccessible(_)), "{refused:?}");
    store.close().await.unwrap();
    let late = place.path().join("late.sqlite");
    assert!(matches!(store.backup(&late).await.unwrap_err(), BackupError::Store(_)));
    let left = fs::read_dir(place.path()).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("late")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Copies to one name were written to one file: who had it named first named the other's half.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_backups_to_one_name_one_is_whole_and_the_other_is_refused() {
    let place = Place::sealed();
    let store = place.open();
    for n in 0..50 {
        log_in(&store, n, "ada@example.org").await;
    }
    for round in 0..20 {
        let to = place.path().join(format!("backup-{round}"));
        let (one, other) = tokio::join!(
            tokio::spawn({
                let (store, to) = (store.clone(), to.clone());
                async move { store.backup(&to).await }
            }),
            tokio::spawn({
                let (store, to) = (store.clone(), to.clone());
                async move { store.backup(&to).await }
            }),
        );
        let outcomes = [one.unwrap(), other.unwrap()];
        let made = outcomes.iter().filter(|made| made.is_ok()).count();
        let refused = outcomes.iter().filter(|o| matches!(o, Err(BackupError::Exists))).count();
        assert_eq!((made, refused), (1, 1), "{outcomes:?}");
    }
}
