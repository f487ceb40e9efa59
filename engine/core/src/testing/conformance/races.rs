//! Claims about operations that meet.

use super::records::with_tokens;
use super::*;
use crate::{HolderId, LeaseOutcome, ReplaceOutcome, Tokens};

/// Of many replaces that expect one version, one is stored, and it is the one that answered.
pub async fn one_of_many_replaces_wins<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let store = fixture.store().clone();
            let next = with_tokens(&record, &format!("writer-{number}"));
            let version = record.version;
            tokio::spawn(async move {
                store.replace(version, next, Tokens::Renewed, START).await.unwrap()
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        if let ReplaceOutcome::Replaced(record) = task.await.unwrap() {
            winners.push(record);
        }
    }
    assert_eq!(winners.len(), 1);
    let stored = live(&fixture, 1).await.unwrap();
    assert_eq!(stored.access_token, winners[0].access_token);
    let fixture = fixture.reopen().await;
    assert_eq!(live(&fixture, 1).await.unwrap().access_token, winners[0].access_token);
}

/// Of many that want to refresh, one may.
pub async fn one_of_many_leases_is_granted<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let store = fixture.store().clone();
            let (version, holder) = (record.version, HolderId::from_bytes([number; 16]));
            let until = START + seconds(20);
            tokio::spawn(async move {
                store.lease(device(1), version, holder, until, START).await.unwrap()
            })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += usize::from(matches!(task.await.unwrap(), LeaseOutcome::Granted(_)));
    }
    assert_eq!(granted, 1);
}

/// Once a logout is acknowledged, no replace gets through, however many run against it.
pub async fn a_remove_beats_the_replaces_that_follow<F: Fixture>(fixture: F) {
    let mut record = log_in(&fixture, 1, ADA).await;
    let store = fixture.store().clone();
    let refreshing = tokio::spawn(async move {
        loop {
            let next = with_tokens(&record, "next");
            match store.replace(record.version, next, Tokens::Renewed, START).await.unwrap() {
                ReplaceOutcome::Replaced(stored) => record = stored,
                ReplaceOutcome::Gone(reason) => return reason,
                ReplaceOutcome::Conflict(_) => panic!("nobody else replaces"),
            }
        }
    });
    tokio::task::yield_now().await;
    fixture.store().remove(device(1), None, EndReason::Logout, START).await.unwrap();
    assert!(live(&fixture, 1).await.is_none());
    assert_eq!(refreshing.await.unwrap(), Some(EndReason::Logout));
    let fixture = fixture.reopen().await;
    assert!(live(&fixture, 1).await.is_none());
}
