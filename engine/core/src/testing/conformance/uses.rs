//! Claims about notes of use.

use super::records::{assert_same, with_tokens};
use super::*;
use crate::{ImportOutcome, ReplaceOutcome, Tokens};

/// A use is noted, and changes nothing that compare-and-set would see.
pub async fn a_touch_moves_the_last_use_only<F: Fixture>(fixture: F) {
    let before = log_in(&fixture, 1, ADA).await;
    let later = START + seconds(60);
    fixture.store().touch(device(1), later).await.unwrap();
    fixture.store().touch(device(9), later).await.unwrap();
    let touched = live(&fixture, 1).await.unwrap();
    assert_eq!(touched.last_seen_at, later);
    let mut expected = TokenRecord::clone(&before);
    expected.touch(later);
    assert_same(&touched, &expected);
    fixture.store().touch(device(1), START).await.unwrap();
    assert_eq!(live(&fixture, 1).await.unwrap().last_seen_at, later, "time does not go back");
    // A refresh that read the record before the touch does not undo it.
    let renewed = with_tokens(&before, "renewed");
    fixture.store().replace(before.version, renewed, Tokens::Renewed, later).await.unwrap();
    assert_eq!(live(&fixture, 1).await.unwrap().last_seen_at, later);
    // And none counts as a use.
    let current = live(&fixture, 1).await.unwrap();
    let again = with_tokens(&current, "again");
    let much_later = later + seconds(60);
    fixture.store().replace(current.version, again, Tokens::Renewed, much_later).await.unwrap();
    assert_eq!(live(&fixture, 1).await.unwrap().last_seen_at, later);
}

/// With an idle limit, use keeps the session alive, and only use does.
pub async fn a_touch_extends_the_idle_limit<F: Fixture>(fixture: F) {
    let mut insert = login_of(1, ADA, START);
    insert.record.idle_limit = Some(seconds(100));
    fixture.store().insert(insert, START).await.unwrap();
    fixture.clock().advance(seconds(90));
    fixture.store().touch(device(1), now(&fixture)).await.unwrap();
    fixture.clock().advance(seconds(90));
    assert!(live(&fixture, 1).await.is_some());
    assert_eq!(listed(&fixture, ADA).await, [1]);
    fixture.clock().advance(seconds(10));
    assert!(live(&fixture, 1).await.is_none(), "100 s after the last use");
    assert!(listed(&fixture, ADA).await.is_empty());
}

/// A replace turns the last use neither back nor down.
pub async fn a_replace_keeps_the_later_use<F: Fixture>(fixture: F) {
    let first = log_in(&fixture, 1, ADA).await;
    let used = START + seconds(60);
    let mut next = with_tokens(&first, "second");
    next.last_seen_at = used;
    next.previous_visit_at = Some(START);
    let replace = async |record: TokenRecord| {
        let version = record.version;
        match fixture.store().replace(version, record, Tokens::Renewed, START).await.unwrap() {
            ReplaceOutcome::Replaced(stored) => stored,
            other => panic!("not replaced: {other:?}"),
        }
    };
    let second = replace(next).await;
    assert_eq!((second.last_seen_at, second.previous_visit_at), (used, Some(START)));
    let mut earlier = with_tokens(&second, "third");
    earlier.last_seen_at = START;
    earlier.previous_visit_at = None;
    let third = replace(earlier).await;
    assert_eq!((third.last_seen_at, third.previous_visit_at), (used, Some(START)));
    assert_same(&live(&fixture, 1).await.unwrap(), &third);
    let fixture = fixture.reopen().await;
    assert_same(&live(&fixture, 1).await.unwrap(), &third);
}

/// Versions and uses come from wherever they are later.
pub async fn an_import_keeps_the_later_use_of_any_version<F: Fixture>(fixture: F) {
    let import =
        async |record: &TokenRecord| fixture.store().import(record.clone(), START).await.unwrap();
    let first = log_in(&fixture, 1, ADA).await;
    let mut newer = with_tokens(&first, "newer");
    newer.version = first.version.next();
    newer.last_seen_at = START.saturating_sub(seconds(60));
    newer.previous_visit_at = Some(START.saturating_sub(seconds(7_200)));
    assert_eq!(import(&newer).await, ImportOutcome::Imported);
    let mut expected = newer.clone();
    expected.last_seen_at = first.last_seen_at;
    expected.previous_visit_at = first.previous_visit_at;
    assert_same(&live(&fixture, 1).await.unwrap(), &expected);
    let mut older = TokenRecord::clone(&first);
    older.last_seen_at = START + seconds(30);
    older.previous_visit_at = Some(START);
    assert_eq!(import(&older).await, ImportOutcome::Kept);
    expected.last_seen_at = older.last_seen_at;
    expected.previous_visit_at = older.previous_visit_at;
    assert_same(&live(&fixture, 1).await.unwrap(), &expected);
    let fixture = fixture.reopen().await;
    assert_same(&live(&fixture, 1).await.unwrap(), &expected);
}
