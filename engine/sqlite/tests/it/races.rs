//! Many threads at once: records, lists and counts stay one.

use std::num::NonZeroUsize;

use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{
    Ceiling, CeilingPolicy, EndReason, HolderId, Insert, LeaseOutcome, Lookup, Release,
    ReplaceOutcome, TokenStore as _, Tokens,
};
use tokenkeep_sqlite::SqliteStore;

use crate::support::{Place, device, log_in, record_of, renewed};

const CEILING: usize = 5;
const USERS: [&str; 3] = ["ada@example.org", "bob@example.org", "eve@example.org"];

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn record_and_list_agree_after_any_race() {
    let place = Place::sealed();
    let store = place.open();
    let tasks: Vec<_> = (0..16_u32).map(|n| tokio::spawn(work(store.clone(), n))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    // Whatever ended last, something is left to compare.
    for (n, user) in (1_000_000..).zip(USERS) {
        log_in(&store, n, user).await;
    }
    check_agreement(&store).await;
    store.close().await.unwrap();
    check_agreement(&place.open()).await;
}

/// Logs in, refreshes under a lease, logs out and ends everything, over few devices.
async fn work(store: SqliteStore, task: u32) {
    let holder = HolderId::from_bytes([u8::try_from(task).unwrap(); 16]);
    for step in 0..60 {
        let dice = (task * 7919 + step * 104_729) % 97;
        let n = dice % 24;
        let email = USERS[n as usize % USERS.len()];
        match dice % 8 {
            0..=3 => {
                let policy = CeilingPolicy::EvictLeastRecentlySeen;
                let ceiling = Ceiling { devices: NonZeroUsize::new(CEILING).unwrap(), policy };
                let record = record_of(n + 100 * step, email);
                let login = Insert { record, replaces: Some(device(n)), ceiling: Some(ceiling) };
                store.insert(login, START).await.unwrap();
            }
            4 | 5 => refresh(&store, n + 100 * (step / 2), holder).await,
            6 => drop(store.remove(device(n), None, EndReason::Logout, START).await.unwrap()),
            _ => {
                let email = email.parse().unwrap();
                let reason = EndReason::EndedByService;
                store.remove_all_of(&email, None, reason, START).await.unwrap();
                store.touch(device(n + 100 * step), START).await.unwrap();
            }
        }
    }
}

/// Between the grant of a lease and its end, nobody else replaces.
async fn refresh(store: &SqliteStore, n: u32, holder: HolderId) {
    let Some(record) = store.get(device(n), START).await.unwrap().live() else { return };
    let until = START + std::time::Duration::from_secs(20);
    let leased = store.lease(device(n), record.version, holder, until, START).await.unwrap();
    let LeaseOutcome::Granted(record) = leased else { return };
    if n.is_multiple_of(2) {
        return store.release(device(n), holder, Release::NotSent, START).await.unwrap();
    }
    let next = renewed(&record, "renewed");
    match store.replace(record.version, next, Tokens::Renewed, START).await.unwrap() {
        ReplaceOutcome::Replaced(stored) => assert_eq!(stored.version, record.version.next()),
        ReplaceOutcome::Gone(_) => {}
        ReplaceOutcome::Conflict(other) => panic!("another replaced under the lease: {other:?}"),
    }
}

async fn check_agreement(store: &SqliteStore) {
    let mut listed = Vec::new();
    for user in USERS {
        let records = store.devices_of(&user.parse().unwrap(), START).await.unwrap();
        assert!((1..=CEILING + 1).contains(&records.len()), "{user} has {} devices", records.len());
        for record in &records {
            assert_eq!(record.email.as_str(), user);
            let found = store.get(record.device_id, START).await.unwrap();
            assert!(matches!(found, Lookup::Live(_)), "listed, and then {found:?}");
        }
        listed.extend(records.iter().map(|record| record.device_id));
    }
    let page = store.scan(None, NonZeroUsize::new(10_000).unwrap(), START).await.unwrap();
    let mut scanned: Vec<_> = page.records.iter().map(|record| record.device_id).collect();
    listed.sort_unstable();
    scanned.sort_unstable();
    assert_eq!(listed, scanned);
    assert_eq!(store.stats(START).await.unwrap().devices, listed.len() as u64);
}
