//! Claims about single records: what is there, what is gone, what survives.

use super::*;
use crate::{AccessToken, Label, RefreshToken, RemoveOutcome, ReplaceOutcome, Tokens, Version};

/// Every field comes back as it went in.
pub async fn what_was_inserted_is_there<F: Fixture>(fixture: F) {
    let mut insert = login_of(1, ADA, START);
    insert.record.label = Some("kitchen".parse().unwrap());
    insert.record.absolute_expires_at = Some(START + seconds(9_000));
    insert.record.idle_limit = Some(seconds(600));
    let expected = insert.record.clone();
    fixture.store().insert(insert, START).await.unwrap();
    assert_same(&live(&fixture, 1).await.unwrap(), &expected);
    let fixture = fixture.reopen().await;
    assert_same(&live(&fixture, 1).await.unwrap(), &expected);
    assert!(live(&fixture, 2).await.is_none());
}

/// Neither a live id nor one that ended is used again.
pub async fn a_taken_id_is_not_inserted_again<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    let again = || fixture.store().insert(login_of(1, BOB, START), START);
    assert!(matches!(again().await.unwrap(), InsertOutcome::Taken));
    assert_eq!(live(&fixture, 1).await.unwrap().email, email(ADA));
    fixture.store().remove(device(1), None, EndReason::Logout, START).await.unwrap();
    assert!(matches!(again().await.unwrap(), InsertOutcome::Taken));
}

/// Compare-and-set: the version counts up, and an old one changes nothing.
pub async fn a_replace_needs_the_current_version<F: Fixture>(fixture: F) {
    let first = log_in(&fixture, 1, ADA).await;
    let replace = |record: TokenRecord| {
        fixture.store().replace(first.version, record, Tokens::Renewed, START)
    };
    let mut next = with_tokens(&first, "second");
    // The version of the stored record follows from what was expected, not from what is said.
    next.version = Version::from_number(77);
    let second = match replace(next).await.unwrap() {
        ReplaceOutcome::Replaced(record) => record,
        other => panic!("not replaced: {other:?}"),
    };
    assert_eq!(second.version, Version::FIRST.next());
    let mut late = with_tokens(&first, "late");
    late.version = second.version;
    match replace(late).await.unwrap() {
        ReplaceOutcome::Conflict(current) => assert_same(&current, &second),
        other => panic!("an old version replaced: {other:?}"),
    }
    let fixture = fixture.reopen().await;
    assert_same(&live(&fixture, 1).await.unwrap(), &second);
}

/// A refresh that ends after a logout does not bring the session back.
pub async fn a_replace_cannot_revive<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    fixture.store().remove(device(1), None, EndReason::Logout, START).await.unwrap();
    let late = with_tokens(&record, "late");
    let outcome =
        fixture.store().replace(record.version, late, Tokens::Renewed, START).await.unwrap();
    assert!(matches!(outcome, ReplaceOutcome::Gone(Some(EndReason::Logout))));
    let never = super::record(device(2), ADA, START);
    let outcome =
        fixture.store().replace(Version::FIRST, never, Tokens::Renewed, START).await.unwrap();
    assert!(matches!(outcome, ReplaceOutcome::Gone(None)));
    assert!(listed(&fixture, ADA).await.is_empty());
    let fixture = fixture.reopen().await;
    assert!(live(&fixture, 1).await.is_none() && live(&fixture, 2).await.is_none());
}

/// A verdict on an old pair does not end a session that has a newer one.
pub async fn a_remove_minds_the_version_it_was_given<F: Fixture>(fixture: F) {
    let first = log_in(&fixture, 1, ADA).await;
    let newer = with_tokens(&first, "second");
    fixture.store().replace(first.version, newer, Tokens::Renewed, START).await.unwrap();
    let refused = EndReason::Refused;
    let remove = |version| fixture.store().remove(device(1), version, refused, START);
    let outcome = remove(Some(first.version)).await.unwrap();
    assert!(matches!(outcome, RemoveOutcome::Conflict(_)));
    assert!(live(&fixture, 1).await.is_some());
    let outcome = remove(Some(first.version.next())).await.unwrap();
    assert!(matches!(outcome, RemoveOutcome::Removed(_)));
    let again = remove(None).await.unwrap();
    assert!(matches!(again, RemoveOutcome::Gone(Some(EndReason::Refused))));
}

/// Every reason stays for a while, and the verifier with it, also over a restart.
pub async fn an_ended_session_says_why<F: Fixture>(mut fixture: F) {
    let reasons = EndReason::ALL;
    for (number, why) in (1..).zip(reasons) {
        log_in(&fixture, number, ADA).await;
        fixture.store().remove(device(number), None, why, START).await.unwrap();
    }
    for _ in 0..2 {
        for (number, why) in (1..).zip(reasons) {
            let lookup = fixture.store().get(device(number), START).await.unwrap();
            let Lookup::Ended(ended) = lookup else { panic!("no reason: {lookup:?}") };
            assert_eq!(ended.reason, why);
            assert!(ended.verifier.matches(&record(device(number), ADA, START).verifier));
        }
        fixture = fixture.reopen().await;
    }
}

/// After a restart everything is as it was when it was acknowledged.
pub async fn what_was_acknowledged_survives_reopening<F: Fixture>(fixture: F) {
    for number in 1..=20 {
        log_in(&fixture, number, if number % 2 == 0 { ADA } else { BOB }).await;
    }
    for number in 1..=5 {
        let current = live(&fixture, number).await.unwrap();
        let next = with_tokens(&current, "renewed");
        fixture.store().replace(current.version, next, Tokens::Renewed, START).await.unwrap();
    }
    for number in 16..=20 {
        fixture.store().remove(device(number), None, EndReason::Logout, START).await.unwrap();
    }
    let fixture = fixture.reopen().await;
    for number in 1..=20 {
        let record = live(&fixture, number).await;
        assert_eq!(record.is_some(), number <= 15, "device {number}");
        let renewed = record.is_some_and(|r| r.access_token.expose().starts_with("renewed"));
        assert_eq!(renewed, number <= 5, "device {number}");
    }
}

pub(super) fn with_tokens(record: &TokenRecord, prefix: &str) -> TokenRecord {
    let mut next = record.clone();
    next.access_token = AccessToken::new(format!("{prefix}-access")).unwrap();
    next.refresh_token = RefreshToken::new(format!("{prefix}-refresh")).unwrap();
    next
}

#[track_caller]
pub(super) fn assert_same(record: &TokenRecord, expected: &TokenRecord) {
    assert_eq!(record.device_id, expected.device_id);
    assert_eq!(record.version, expected.version);
    assert!(record.verifier.matches(&expected.verifier));
    assert_eq!(record.email, expected.email);
    assert_eq!(record.token_type, expected.token_type);
    assert_eq!(record.access_token, expected.access_token);
    assert_eq!(record.access_issued_at, expected.access_issued_at);
    assert_eq!(record.access_expires_at, expected.access_expires_at);
    assert_eq!(record.refresh_token, expected.refresh_token);
    assert_eq!(record.refresh_expires_at, expected.refresh_expires_at);
    assert_eq!(record.created_at, expected.created_at);
    assert_eq!(record.last_seen_at, expected.last_seen_at);
    assert_eq!(record.previous_visit_at, expected.previous_visit_at);
    assert_eq!(record.absolute_expires_at, expected.absolute_expires_at);
    assert_eq!(record.idle_limit, expected.idle_limit);
    assert_eq!(record.client, expected.client);
    assert_eq!(
        record.label.as_ref().map(Label::as_str),
        expected.label.as_ref().map(Label::as_str)
    );
}
