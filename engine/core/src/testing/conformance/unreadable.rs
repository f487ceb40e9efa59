//! Claims about records that cannot be read: tampered with, damaged, or sealed with a lost key.

use std::num::NonZeroUsize;

use super::records::with_tokens;
use super::*;
use crate::{Ceiling, CeilingPolicy, HolderId, RemoveOutcome, StoreError, Tokens, Version};

async fn is_unreadable<F: Fixture>(fixture: &F, number: u8) -> bool {
    match fixture.store().get(device(number), now(fixture)).await {
        Err(StoreError::Unreadable { device, .. }) => device == self::device(number),
        _ => false,
    }
}

/// Whoever asks for it is told, it is counted, nothing changes it, and the rest is served.
pub async fn what_cannot_be_read_is_an_error_and_stays<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    let fixture = fixture.spoil().await;
    log_in(&fixture, 2, ADA).await;
    let store = fixture.store();
    assert!(is_unreadable(&fixture, 1).await);
    assert!(store.stats(START).await.unwrap().unreadable > 0);
    let removed = store.remove(device(1), None, EndReason::Logout, START).await;
    assert!(matches!(removed, Err(StoreError::Unreadable { .. })), "{removed:?}");
    let taken = store.insert(login_of(1, ADA, START), START).await.unwrap();
    assert!(matches!(taken, InsertOutcome::Taken), "{taken:?}");
    assert_eq!(listed(&fixture, ADA).await, [2]);
    let page = store.scan(None, NonZeroUsize::new(100).unwrap(), START).await.unwrap();
    assert!(page.records.iter().all(|found| found.device_id == device(2)));
    // The writes that need no key may go through; none of them makes it readable or ends it.
    let next = with_tokens(&record, "next");
    let _ = store.replace(Version::FIRST.next(), next, Tokens::Renewed, START).await;
    let _ = store.touch(device(1), START + seconds(1)).await;
    let _ = store.extend_lease(device(1), HolderId::from_bytes([1; 16]), START, START).await;
    assert!(is_unreadable(&fixture, 1).await);
    let fixture = fixture.reopen().await;
    assert!(is_unreadable(&fixture, 1).await);
    assert_eq!(listed(&fixture, ADA).await, [2]);
}

/// It takes nobody's place: its user logs in as if it were not there, and it is not evicted.
pub async fn what_cannot_be_read_keeps_nobody_out<F: Fixture>(fixture: F) {
    for number in 1..=2 {
        log_in(&fixture, number, ADA).await;
    }
    let fixture = fixture.spoil().await;
    let insert = async |number, policy| {
        let devices = NonZeroUsize::new(2).unwrap();
        let ceiling = Some(Ceiling { devices, policy });
        let login = Insert { ceiling, ..login_of(number, ADA, START) };
        fixture.store().insert(login, START).await.unwrap()
    };
    for number in 3..=4 {
        let stored = insert(number, CeilingPolicy::Reject).await;
        assert!(matches!(stored, InsertOutcome::Inserted { .. }), "device {number}: {stored:?}");
    }
    let full = insert(5, CeilingPolicy::Reject).await;
    assert!(matches!(full, InsertOutcome::CeilingReached), "{full:?}");
    let stored = insert(6, CeilingPolicy::EvictLeastRecentlySeen).await;
    let InsertOutcome::Inserted { displaced, .. } = stored else { panic!("{stored:?}") };
    assert_eq!(displaced.len(), 1, "{displaced:?}");
    assert_eq!(listed(&fixture, ADA).await.len(), 2);
    for number in 1..=2 {
        assert!(is_unreadable(&fixture, number).await, "device {number} was evicted");
    }
}

/// What ends all sessions of a user, or takes the place of one, ends it without reading it.
pub async fn what_cannot_be_read_can_be_ended<F: Fixture>(fixture: F) {
    for (number, email) in [(1, ADA), (2, ADA), (3, BOB)] {
        log_in(&fixture, number, email).await;
    }
    let fixture = fixture.spoil().await;
    let login = Insert { replaces: Some(device(1)), ..login_of(4, ADA, START) };
    let stored = fixture.store().insert(login, START).await.unwrap();
    let InsertOutcome::Inserted { displaced, .. } = stored else { panic!("{stored:?}") };
    assert!(displaced.is_empty(), "{displaced:?}");
    assert_eq!(reason(&fixture, 1).await, Some(EndReason::Replaced));
    let why = EndReason::EndedByService;
    let ended = fixture.store().remove_all_of(&email(ADA), None, why, START).await.unwrap();
    let ended: Vec<_> = ended.iter().map(|record| record.device_id).collect();
    assert_eq!(ended, [device(4)], "what cannot be read is not returned");
    assert_eq!(reason(&fixture, 2).await, Some(why));
    let again = fixture.store().remove(device(2), None, why, START).await.unwrap();
    assert!(matches!(again, RemoveOutcome::Gone(Some(_))), "{again:?}");
    assert!(is_unreadable(&fixture, 3).await, "another user's stays");
    let fixture = fixture.reopen().await;
    assert_eq!(reason(&fixture, 2).await, Some(why));
    assert!(is_unreadable(&fixture, 3).await);
}
