//! Claims about records that die by the clock.

use super::records::with_tokens;
use super::*;
use crate::{HolderId, LeaseOutcome, Release, RemoveOutcome, ReplaceOutcome, Tokens};

/// `now == dies_at` is expired, for every operation.
pub async fn expired_means_absent_at_the_very_instant<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    fixture.clock().leap_to(record.dies_at().saturating_sub(Duration::from_micros(1)));
    assert!(live(&fixture, 1).await.is_some(), "alive until the very instant");
    let now = record.dies_at();
    fixture.clock().leap_to(now);
    let store = fixture.store();
    assert_eq!(reason(&fixture, 1).await, Some(EndReason::Expired));
    assert!(listed(&fixture, ADA).await.is_empty());
    let changed = TokenRecord::clone(&record);
    let replaced = store.replace(record.version, changed, Tokens::Renewed, now).await.unwrap();
    assert!(matches!(replaced, ReplaceOutcome::Gone(Some(EndReason::Expired))));
    let removed = store.remove(device(1), None, EndReason::Logout, now).await.unwrap();
    assert!(matches!(removed, RemoveOutcome::Gone(Some(EndReason::Expired))));
    let holder = HolderId::from_bytes([1; 16]);
    let leased = store.lease(device(1), record.version, holder, now + seconds(20), now).await;
    assert!(matches!(leased.unwrap(), LeaseOutcome::Gone(Some(EndReason::Expired))));
    let ended = store.remove_all_of(&email(ADA), None, EndReason::Logout, now).await.unwrap();
    assert!(ended.is_empty());
    let lasting = now + seconds(1000);
    store.touch(device(1), now).await.unwrap();
    assert!(!store.extend_lease(device(1), holder, lasting, now).await.unwrap());
    store.release(device(1), holder, Release::Uncertain, now).await.unwrap();
    assert!(store.open_intents(now).await.unwrap().is_empty());
    assert_eq!(reason(&fixture, 1).await, Some(EndReason::Expired), "nothing revives it");
    let page = store.scan(None, std::num::NonZeroUsize::MIN, now).await.unwrap();
    assert!(page.records.is_empty());
    assert_eq!(store.stats(now).await.unwrap().devices, 0);
}

/// A logout counts even if the clock is wrong and says that there is nothing to log out of.
pub async fn what_was_ended_while_dead_stays_dead<F: Fixture>(fixture: F) {
    let replacing = Insert { replaces: Some(device(3)), ..login_of(9, BOB, START) };
    for (number, email) in [(1, BOB), (2, ADA), (3, BOB)] {
        log_in(&fixture, number, email).await;
    }
    let (store, wrong) = (fixture.store(), START + seconds(10 * 86_400));
    fixture.clock().leap_to(wrong);
    let removed = store.remove(device(1), None, EndReason::Logout, wrong).await.unwrap();
    assert!(matches!(removed, RemoveOutcome::Gone(Some(EndReason::Expired))), "{removed:?}");
    let ended = store.remove_all_of(&email(ADA), None, EndReason::Logout, wrong).await.unwrap();
    assert!(ended.is_empty(), "{ended:?}");
    let InsertOutcome::Inserted { displaced, .. } = store.insert(replacing, wrong).await.unwrap()
    else {
        panic!("the login was not stored");
    };
    assert!(displaced.is_empty(), "{displaced:?}");
    fixture.clock().leap_to(START + seconds(1));
    let fixture = fixture.reopen().await;
    for number in 1..=3 {
        assert!(live(&fixture, number).await.is_none(), "device {number} is back");
    }
    assert!(listed(&fixture, ADA).await.is_empty());
}

/// What ends the dead sessions of one user leaves those of another, should the clock be wrong.
pub async fn no_end_reaches_the_dead_of_another_user<F: Fixture>(fixture: F) {
    for number in 1..=2 {
        log_in(&fixture, number, BOB).await;
    }
    let (store, wrong) = (fixture.store(), START + seconds(86_400));
    fixture.clock().leap_to(wrong);
    store.remove_all_of(&email(ADA), None, EndReason::Logout, wrong).await.unwrap();
    let replacing = Insert { replaces: Some(device(1)), ..login_of(3, ADA, START) };
    store.insert(replacing, wrong).await.unwrap();
    fixture.clock().leap_to(START + seconds(1));
    assert_eq!(listed(&fixture, BOB).await, [1, 2]);
}

/// A record that was renewed outlives its first expiry: in reads, lists, purges and restarts.
pub async fn a_renewed_expiry_counts_everywhere<F: Fixture>(fixture: F) {
    let first = log_in(&fixture, 1, ADA).await;
    let mut renewed = with_tokens(&first, "renewed");
    renewed.refresh_expires_at = START + seconds(1_000_000);
    fixture.store().replace(first.version, renewed, Tokens::Renewed, START).await.unwrap();
    fixture.clock().advance(seconds(25 * 3600));
    while fixture.store().purge_expired(10, now(&fixture)).await.unwrap() > 0 {}
    assert_eq!(listed(&fixture, ADA).await, [1]);
    let fixture = fixture.reopen().await;
    assert!(live(&fixture, 1).await.is_some());
    assert_eq!(listed(&fixture, ADA).await, [1]);
}

/// Whichever limit comes first, the record lives until it, and not at it.
pub async fn every_limit_ends_a_session_at_the_very_instant<F: Fixture>(fixture: F) {
    let end = START + seconds(100);
    for number in 1..=3 {
        let mut login = login_of(number, ADA, START);
        match number {
            1 => login.record.refresh_expires_at = end,
            2 => login.record.absolute_expires_at = Some(end),
            _ => login.record.idle_limit = Some(seconds(100)),
        }
        fixture.store().insert(login, START).await.unwrap();
    }
    fixture.clock().leap_to(end.saturating_sub(Duration::from_micros(1)));
    assert_eq!(listed(&fixture, ADA).await.len(), 3);
    fixture.clock().leap_to(end);
    assert!(listed(&fixture, ADA).await.is_empty());
    for number in 1..=3 {
        assert_eq!(reason(&fixture, number).await, Some(EndReason::Expired), "device {number}");
    }
}
