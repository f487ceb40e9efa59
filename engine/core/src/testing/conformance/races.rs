//! Claims about operations that meet.

use std::collections::HashSet;

use super::records::with_tokens;
use super::*;
use crate::{HolderId, LeaseOutcome, RemoveOutcome, ReplaceOutcome, Tokens};

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

/// A verdict on a version and a refresh of it: one of them wins, and the other one is told.
pub async fn of_a_remove_and_a_replace_of_one_version_one_wins<F: Fixture>(fixture: F) {
    for number in 1..=20 {
        let record = log_in(&fixture, number, ADA).await;
        let (version, store) = (record.version, fixture.store().clone());
        let next = with_tokens(&record, "next");
        let refresh = tokio::spawn(async move {
            store.replace(version, next, Tokens::Renewed, START).await.unwrap()
        });
        let store = fixture.store().clone();
        let verdict = tokio::spawn(async move {
            store.remove(device(number), Some(version), EndReason::Refused, START).await.unwrap()
        });
        match (refresh.await.unwrap(), verdict.await.unwrap()) {
            (ReplaceOutcome::Replaced(stored), RemoveOutcome::Conflict(_)) => {
                let here = live(&fixture, number).await.expect("the refresh won");
                assert_eq!(here.version, stored.version);
            }
            (ReplaceOutcome::Gone(Some(EndReason::Refused)), RemoveOutcome::Removed(_)) => {
                assert_eq!(reason(&fixture, number).await, Some(EndReason::Refused));
            }
            both => panic!("device {number}: {both:?}"),
        }
    }
}

/// Of many logins with one id, one is stored.
pub async fn one_of_many_logins_with_one_id_is_stored<F: Fixture>(fixture: F) {
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let store = fixture.store().clone();
            let login = login_of(1, if number % 2 == 0 { ADA } else { BOB }, START);
            tokio::spawn(async move { store.insert(login, START).await.unwrap() })
        })
        .collect();
    let mut stored = Vec::new();
    for task in tasks {
        if let InsertOutcome::Inserted { record, .. } = task.await.unwrap() {
            stored.push(record.email.clone());
        }
    }
    assert_eq!(stored, [live(&fixture, 1).await.unwrap().email.clone()]);
    let both = [listed(&fixture, ADA).await, listed(&fixture, BOB).await].concat();
    assert_eq!(both, [1], "it stands in the list of one user");
}

/// Logins that meet an end of all sessions: what was there before is over, each of the others
/// lives or was ended once, and the list says which.
pub async fn an_end_of_all_and_the_logins_that_meet_it_agree<F: Fixture>(fixture: F) {
    for number in 1..=10 {
        log_in(&fixture, number, ADA).await;
    }
    let logins: Vec<_> = (11..=30)
        .map(|number| {
            let (store, login) = (fixture.store().clone(), login_of(number, ADA, START));
            tokio::spawn(async move { store.insert(login, START).await.unwrap() })
        })
        .collect();
    let ends: Vec<_> = (0..3)
        .map(|_| {
            let (store, ada) = (fixture.store().clone(), email(ADA));
            let why = EndReason::EndedByUser;
            tokio::spawn(async move { store.remove_all_of(&ada, None, why, START).await.unwrap() })
        })
        .collect();
    for login in logins {
        assert!(matches!(login.await.unwrap(), InsertOutcome::Inserted { .. }));
    }
    let mut ended = HashSet::new();
    for end in ends {
        for record in end.await.unwrap() {
            let number = record.device_id.as_bytes()[0];
            assert!(ended.insert(number), "device {number} ended twice");
        }
    }
    assert!((1..=10).all(|number| ended.contains(&number)), "ended: {ended:?}");
    let fixture = fixture.reopen().await;
    let here: HashSet<u8> = listed(&fixture, ADA).await.into_iter().collect();
    for number in 1..=30 {
        let lives = live(&fixture, number).await.is_some();
        assert_eq!(lives, here.contains(&number), "device {number}");
        assert_eq!(lives, !ended.contains(&number), "device {number}");
    }
}
