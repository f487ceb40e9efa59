//! What happens when the disk or another program is in the way.

use std::error::Error as _;

use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{EndReason, Insert, RemoveOutcome, StoreError, TokenStore as _};
use tokenkeep_sqlite::SqliteStore;

use crate::child::Running;
use crate::support::{Place, contains, device, log_in, record_of};

/// The sentence for the operator.
#[track_caller]
fn sentence(error: &StoreError) -> String {
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let sentence = error.source().unwrap().to_string();
    assert!(sentence.contains("go on"), "it says what is to be expected: {sentence}");
    sentence
}

/// Logs devices in from `n` on until that fails; returns the number that did not get in.
async fn fill(store: &SqliteStore, mut n: u32) -> (u32, StoreError) {
    loop {
        let record = record_of(n, "ada@example.org");
        let login = Insert { record, replaces: None, ceiling: None };
        match store.insert(login, START).await {
            Ok(_) => n += 1,
            Err(error) => return (n, error),
        }
    }
}

#[tokio::test]
async fn a_full_disk_stops_what_needs_space_and_only_while_it_is_full() {
    let place = Place::sealed();
    let options = place.options().size_limit_bytes(300 * 1024);
    let store = SqliteStore::open(place.file(), options).unwrap();
    let (n, error) = fill(&store, 0).await;
    assert!(sentence(&error).contains("the disk is full"), "{error:?}");
    assert!(n > 20, "{n}");
    let error = store.check_writable().await.unwrap_err();
    assert!(sentence(&error).contains("the disk is full"));
    let ada = "ada@example.org".parse().unwrap();
    assert_eq!(store.devices_of(&ada, START).await.unwrap().len(), n as usize);
    assert!(store.get(device(n), START).await.unwrap().live().is_none(), "nothing half");
    for n in 0..n {
        assert!(store.get(device(n), START).await.unwrap().live().is_some(), "device {n}");
    }
    for n in 0..10 {
        let out = store.remove(device(n), None, EndReason::Logout, START).await.unwrap();
        assert!(matches!(out, RemoveOutcome::Removed(_)), "a logout makes space: {out:?}");
    }
    store.check_writable().await.unwrap();
    log_in(&store, n, "ada@example.org").await;
    store.close().await.unwrap();
    assert_eq!(place.open().stats(START).await.unwrap().devices, u64::from(n) - 9);
}

#[tokio::test]
async fn a_failed_commit_is_everybodys_and_changes_nothing() {
    let place = Place::sealed();
    let options = place.options().size_limit_bytes(300 * 1024);
    let store = SqliteStore::open(place.file(), options).unwrap();
    let writes: Vec<_> = (0..1000)
        .map(|n| {
            let store = store.clone();
            let record = record_of(n, "ada@example.org");
            let login = Insert { record, replaces: None, ceiling: None };
            tokio::spawn(async move { store.insert(login, START).await.is_ok() })
        })
        .collect();
    let mut answers = Vec::new();
    for write in writes {
        answers.push(write.await.unwrap());
    }
    assert!(answers.contains(&false), "there was space for all");
    store.close().await.unwrap();
    let store = place.open();
    for (n, stored) in (0..).zip(answers) {
        let found = store.get(device(n), START).await.unwrap().live();
        assert_eq!(found.is_some(), stored, "device {n}");
    }
}

#[tokio::test]
async fn a_file_that_another_program_locks_is_an_error_and_then_none() {
    let place = Place::sealed();
    let store = place.open();
    log_in(&store, 1, "ada@example.org").await;
    let other = rusqlite::Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.touch(device(1), START).await.unwrap_err();
    assert!(sentence(&error).contains("another program"), "{error:?}");
    assert!(store.get(device(1), START).await.unwrap().live().is_some(), "reads go on");
    other.execute_batch("ROLLBACK").unwrap();
    store.touch(device(1), START).await.unwrap();
}

/// A write that the operating system refuses half-way is no full disk: the file is opened anew.
#[cfg(unix)]
#[tokio::test]
async fn an_error_of_the_disk_is_said_and_nothing_is_lost() {
    let place = Place::sealed();
    let mut child = Running::start(&place, "fill", Some(600));
    assert_eq!(child.says().as_deref(), Some("open"));
    let said = child.says().unwrap();
    let (stored, why) = said.split_once(' ').unwrap();
    assert!(why.contains("cannot be used; writes go on as soon as"), "{said}");
    assert_eq!(child.says().as_deref(), Some(stored), "what was acknowledged is read");
    assert_eq!(child.says().as_deref(), Some("true"), "it goes on with a shorter log");
    child.kill();
    let store = place.open();
    let stored: u64 = stored.parse().unwrap();
    let devices = store.stats(START).await.unwrap().devices;
    assert!((stored + 1..=stored + 2).contains(&devices), "{devices} of {stored}");
    log_in(&store, 1_000_000, "ada@example.org").await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let place = Place::sealed();
    let (store, other) = (place.open(), place.file());
    store.clone().close().await.unwrap();
    assert!(matches!(store.get(device(1), START).await, Err(StoreError::Closed)));
    assert!(matches!(store.touch(device(1), START).await, Err(StoreError::Closed)));
    assert!(matches!(store.check_writable().await, Err(StoreError::Closed)));
    assert!(matches!(store.close().await, Err(StoreError::Closed)));
    assert!(!contains(&std::fs::read(other).unwrap(), "canary"));
    place.open();
}
