//! Claims about the list of an email, the walk over the store, and counts.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use super::*;
use crate::{Cursor, StoreError, Tokens};

/// The list holds the live records of the email, oldest login first, and nothing else.
pub async fn the_list_of_an_email_is_exact<F: Fixture>(fixture: F) {
    for number in [3, 1, 2] {
        log_in(&fixture, number, ADA).await;
        fixture.clock().advance(seconds(1));
    }
    log_in(&fixture, 4, BOB).await;
    assert_eq!(listed(&fixture, ADA).await, [3, 1, 2]);
    assert_eq!(listed(&fixture, BOB).await, [4]);
    assert!(listed(&fixture, "nobody@example.org").await.is_empty());
    fixture.store().remove(device(1), None, EndReason::Logout, now(&fixture)).await.unwrap();
    assert_eq!(listed(&fixture, ADA).await, [3, 2]);
    fixture.clock().leap_to(START + seconds(240));
    assert_eq!(listed(&fixture, ADA).await, [2], "device 3 expired with its refresh token");
}

/// One write ends them all, but the one that is excepted.
pub async fn all_of_an_email_end_at_once<F: Fixture>(fixture: F) {
    for number in 1..=3 {
        log_in(&fixture, number, ADA).await;
    }
    log_in(&fixture, 4, BOB).await;
    let why = EndReason::EndedByService;
    let remove = |except| fixture.store().remove_all_of(&ADA_EMAIL, except, why, START);
    let ended = remove(Some(device(2))).await.unwrap();
    assert_eq!(ended.len(), 2);
    assert_eq!(listed(&fixture, ADA).await, [2]);
    assert_eq!(reason(&fixture, 1).await, Some(why));
    assert_eq!(remove(None).await.unwrap().len(), 1);
    assert!(remove(None).await.unwrap().is_empty());
    let fixture = fixture.reopen().await;
    assert!(listed(&fixture, ADA).await.is_empty());
    assert_eq!(listed(&fixture, BOB).await, [4], "another user's devices stay");
}

/// No order of logins, ends, expiries and restarts leaves one without the other.
pub async fn list_and_records_agree_after_reopening<F: Fixture>(mut fixture: F) {
    for number in 1..=30_u8 {
        log_in(&fixture, number, if number % 3 == 0 { BOB } else { ADA }).await;
        fixture.clock().advance(seconds(10));
        if number % 5 == 0 {
            let gone = device(number - 2);
            let at = now(&fixture);
            fixture.store().remove(gone, None, EndReason::Logout, at).await.unwrap();
        }
        if number % 10 == 0 {
            fixture = fixture.reopen().await;
        }
    }
    let mut from_lists: Vec<u8> = listed(&fixture, ADA).await;
    from_lists.extend(listed(&fixture, BOB).await);
    from_lists.sort_unstable();
    let mut from_records = Vec::new();
    for number in 1..=30 {
        if live(&fixture, number).await.is_some() {
            from_records.push(number);
        }
    }
    assert_eq!(from_lists, from_records);
    assert!(!from_records.is_empty());
}

/// Purging gives space back; what is absent was absent before.
pub async fn purging_changes_no_answer<F: Fixture>(fixture: F) {
    for number in 1..=10 {
        log_in(&fixture, number, ADA).await;
    }
    let mut lasting = login_of(11, ADA, START);
    lasting.record.refresh_expires_at = START + seconds(1_000_000);
    fixture.store().insert(lasting, START).await.unwrap();
    fixture.clock().advance(seconds(25 * 3600));
    assert_eq!(listed(&fixture, ADA).await, [11]);
    while fixture.store().purge_expired(3, now(&fixture)).await.unwrap() > 0 {}
    assert_eq!(listed(&fixture, ADA).await, [11]);
    for number in 1..=10 {
        assert!(live(&fixture, number).await.is_none());
    }
    let fixture = fixture.reopen().await;
    assert_eq!(listed(&fixture, ADA).await, [11]);
    assert!(live(&fixture, 11).await.is_some());
}

/// A walk in pages of any size sees every live record.
pub async fn a_scan_sees_every_record<F: Fixture>(fixture: F) {
    for number in 1..=25 {
        log_in(&fixture, number, ADA).await;
    }
    fixture.store().remove(device(7), None, EndReason::Logout, START).await.unwrap();
    for limit in [1, 4, 25, 1000] {
        let limit = NonZeroUsize::new(limit).unwrap();
        let (mut seen, mut after) = (HashSet::new(), None);
        loop {
            let page = fixture.store().scan(after, limit, START).await.unwrap();
            assert!(page.records.len() <= limit.get());
            seen.extend(page.records.iter().map(|record| record.device_id.as_bytes()[0]));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: HashSet<u8> = (1..=25).filter(|number| *number != 7).collect();
        assert_eq!(seen, expected, "in pages of {limit}");
    }
}

/// Records that live through a walk are seen, whatever happens to others meanwhile.
pub async fn a_scan_goes_on_while_records_change<F: Fixture>(fixture: F) {
    for number in 1..=20 {
        log_in(&fixture, number, ADA).await;
    }
    let (mut seen, mut after) = (HashSet::new(), None);
    for step in 1..=100_u8 {
        let three = NonZeroUsize::new(3).unwrap();
        let page = fixture.store().scan(after, three, START).await.unwrap();
        seen.extend(page.records.iter().map(|record| record.device_id.as_bytes()[0]));
        after = page.next;
        if after.is_none() {
            break;
        }
        // The upper half stays; of the lower half one goes and one is renewed at each step.
        let gone = device(step);
        if step <= 5 {
            fixture.store().remove(gone, None, EndReason::Logout, START).await.unwrap();
        }
        let current = live(&fixture, 6 + step % 5).await.unwrap();
        let next = with_tokens(&current, "next");
        let version = current.version;
        fixture.store().replace(version, next, Tokens::Renewed, START).await.unwrap();
    }
    assert!(after.is_none(), "the walk ends");
    assert!((11..=20).all(|number| seen.contains(&number)), "seen: {seen:?}");
}

/// A walk begins at the beginning or goes on: it never takes one for the other.
pub async fn a_cursor_of_another_store_is_refused<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    for bytes in [&[][..], &[7], &[255; 7], &[0; 9], &[b' '; 200]] {
        let cursor = Some(Cursor(bytes.into()));
        let refused = fixture.store().scan(cursor, NonZeroUsize::MIN, START).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{bytes:?}: {refused:?}");
    }
}

/// Devices and users are counted as the lists show them.
pub async fn stats_count_what_lives<F: Fixture>(fixture: F) {
    for (number, who) in [(1, ADA), (2, ADA), (3, BOB)] {
        log_in(&fixture, number, who).await;
    }
    let counts = async |at| {
        let stats = fixture.store().stats(at).await.unwrap();
        (stats.devices, stats.users)
    };
    assert_eq!(counts(START).await, (3, 2));
    fixture.store().remove(device(3), None, EndReason::Logout, START).await.unwrap();
    assert_eq!(counts(START).await, (2, 1));
    assert_eq!(counts(START + seconds(240)).await, (0, 0), "the dead do not count");
    fixture.store().check_writable().await.unwrap();
}

static ADA_EMAIL: std::sync::LazyLock<Email> = std::sync::LazyLock::new(|| email(ADA));
