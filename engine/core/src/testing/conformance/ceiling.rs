//! Claims about the device ceiling and about the session that a login replaces.

use std::num::NonZeroUsize;

use super::*;
use crate::{Ceiling, CeilingPolicy};

/// With `Reject`, one device too many is refused and changes nothing.
pub async fn a_login_over_the_ceiling_is_refused<F: Fixture>(fixture: F) {
    for number in 1..=2 {
        assert!(insert(&fixture, number, reject(2), None).await);
    }
    assert!(!insert(&fixture, 3, reject(2), None).await);
    assert_eq!(listed(&fixture, ADA).await, [1, 2]);
    assert!(insert(&fixture, 3, None, None).await, "without a ceiling it is stored");
}

/// With eviction, the device that was not seen for the longest time makes place.
pub async fn a_login_over_the_ceiling_evicts_the_least_recently_seen<F: Fixture>(fixture: F) {
    for number in 1..=3 {
        assert!(insert(&fixture, number, evict(3), None).await);
        fixture.clock().advance(seconds(1));
    }
    fixture.store().touch(device(1), now(&fixture)).await.unwrap();
    assert!(insert(&fixture, 4, evict(3), None).await);
    assert_eq!(listed(&fixture, ADA).await, [1, 3, 4]);
    assert_eq!(reason(&fixture, 2).await, Some(EndReason::Evicted));
}

/// What expired has made its place already.
pub async fn the_dead_do_not_count_towards_the_ceiling<F: Fixture>(fixture: F) {
    for number in 1..=2 {
        assert!(insert(&fixture, number, reject(2), None).await);
    }
    fixture.clock().advance(seconds(240));
    assert!(insert(&fixture, 3, reject(2), None).await);
    assert_eq!(listed(&fixture, ADA).await, [3]);
}

/// Whoever logs in can tell the others why they ended.
pub async fn what_was_displaced_is_returned<F: Fixture>(fixture: F) {
    for number in 1..=4 {
        assert!(insert(&fixture, number, None, None).await);
        fixture.clock().advance(seconds(1));
    }
    let at = now(&fixture);
    let ceiling = evict(2);
    let login = Insert { ceiling, replaces: Some(device(4)), ..login_of(5, ADA, at) };
    let outcome = fixture.store().insert(login, at).await.unwrap();
    let InsertOutcome::Inserted { displaced, .. } = outcome else { panic!("{outcome:?}") };
    let mut displaced: Vec<_> =
        displaced.iter().map(|d| (d.record.device_id.as_bytes()[0], d.reason)).collect();
    displaced.sort_by_key(|(number, _)| *number);
    let evicted = EndReason::Evicted;
    assert_eq!(displaced, [(1, evicted), (2, evicted), (4, EndReason::Replaced)]);
    assert_eq!(listed(&fixture, ADA).await, [3, 5]);
}

/// The session that the same browser had before ends in the same write.
pub async fn a_replaced_session_ends_and_does_not_count<F: Fixture>(fixture: F) {
    assert!(insert(&fixture, 1, reject(1), None).await);
    assert!(insert(&fixture, 2, reject(1), Some(1)).await);
    assert_eq!(listed(&fixture, ADA).await, [2]);
    assert_eq!(reason(&fixture, 1).await, Some(EndReason::Replaced));
}

/// A device id in a login does not end a stranger's session.
pub async fn nobody_replaces_the_session_of_another_user<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, BOB).await;
    assert!(insert(&fixture, 2, None, Some(1)).await);
    assert_eq!(listed(&fixture, BOB).await, [1]);
}

/// The ceiling of one user is not filled by another, and takes nothing from another.
pub async fn nobody_counts_or_evicts_the_devices_of_another_user<F: Fixture>(fixture: F) {
    for number in 1..=3 {
        log_in(&fixture, number, BOB).await;
    }
    assert!(insert(&fixture, 4, reject(1), None).await);
    assert!(!insert(&fixture, 5, reject(1), None).await);
    assert!(insert(&fixture, 6, evict(1), None).await);
    assert_eq!(listed(&fixture, ADA).await, [6]);
    assert_eq!(listed(&fixture, BOB).await, [1, 2, 3]);
}

/// A hundred logins at once leave as many devices as the ceiling says.
pub async fn the_ceiling_holds_under_parallel_logins<F: Fixture>(fixture: F) {
    let tasks: Vec<_> = (1..=100_u8)
        .map(|number| {
            let store = fixture.store().clone();
            let mut login = login_of(number, ADA, START);
            login.ceiling = evict(5);
            tokio::spawn(async move { store.insert(login, START).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), InsertOutcome::Inserted { .. }));
    }
    assert_eq!(listed(&fixture, ADA).await.len(), 5);
    let fixture = fixture.reopen().await;
    assert_eq!(listed(&fixture, ADA).await.len(), 5);
}

/// Of many refused logins at once, no more are stored than the ceiling says.
pub async fn parallel_logins_are_refused_over_the_ceiling<F: Fixture>(fixture: F) {
    let tasks: Vec<_> = (1..=30_u8)
        .map(|number| {
            let (store, mut login) = (fixture.store().clone(), login_of(number, ADA, START));
            login.ceiling = reject(5);
            tokio::spawn(async move { store.insert(login, START).await.unwrap() })
        })
        .collect();
    let mut stored = Vec::new();
    for task in tasks {
        if let InsertOutcome::Inserted { record, displaced } = task.await.unwrap() {
            assert!(displaced.is_empty(), "{displaced:?}");
            stored.push(record.device_id.as_bytes()[0]);
        }
    }
    stored.sort_unstable();
    assert_eq!(stored.len(), 5);
    assert_eq!(listed(&fixture, ADA).await, stored);
}

/// Of devices that were seen at the same time, the one that logged in first makes place.
pub async fn of_devices_seen_at_once_the_oldest_login_is_evicted<F: Fixture>(fixture: F) {
    for number in 1..=3 {
        let mut login = login_of(number, ADA, START);
        login.record.created_at = START.saturating_sub(seconds(number.into()));
        fixture.store().insert(login, START).await.unwrap();
    }
    assert!(insert(&fixture, 4, evict(3), None).await);
    assert_eq!(reason(&fixture, 3).await, Some(EndReason::Evicted));
    assert_eq!(listed(&fixture, ADA).await, [2, 1, 4]);
}

/// Whether the login of device `number` of Ada was stored.
async fn insert<F: Fixture>(
    fixture: &F,
    number: u8,
    ceiling: Option<Ceiling>,
    replaces: Option<u8>,
) -> bool {
    let now = now(fixture);
    let login = Insert { ceiling, replaces: replaces.map(device), ..login_of(number, ADA, now) };
    matches!(fixture.store().insert(login, now).await.unwrap(), InsertOutcome::Inserted { .. })
}

fn reject(devices: usize) -> Option<Ceiling> {
    Some(Ceiling { devices: NonZeroUsize::new(devices).unwrap(), policy: CeilingPolicy::Reject })
}

fn evict(devices: usize) -> Option<Ceiling> {
    let policy = CeilingPolicy::EvictLeastRecentlySeen;
    Some(Ceiling { devices: NonZeroUsize::new(devices).unwrap(), policy })
}
