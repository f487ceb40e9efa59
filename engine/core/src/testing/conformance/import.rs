//! Claims about records that come from another store.

use super::records::{assert_same, with_tokens};
use super::*;
use crate::{HolderId, ImportOutcome, RefreshIntent, Version};

/// A record as another store may have kept it: refreshed, used, with a refresh under way.
fn kept_elsewhere(number: u8) -> TokenRecord {
    let mut record = record(device(number), ADA, START);
    record.version = Version::from_number(7);
    record.created_at = START.saturating_sub(seconds(86_400));
    record.last_seen_at = START.saturating_sub(seconds(60));
    record.previous_visit_at = Some(START.saturating_sub(seconds(7_200)));
    record.label = Some("kitchen".parse().unwrap());
    record.refresh_intent = Some(RefreshIntent {
        holder: HolderId::from_bytes([5; 16]),
        since: START.saturating_sub(seconds(5)),
        leased_until: START + seconds(15),
        uncertain: false,
    });
    record
}

async fn import<F: Fixture>(fixture: &F, record: &TokenRecord) -> ImportOutcome {
    fixture.store().import(record.clone(), now(fixture)).await.unwrap()
}

/// Every field comes back as it went in, the version and the lease included.
pub async fn an_import_keeps_a_record_as_it_is<F: Fixture>(fixture: F) {
    let record = kept_elsewhere(1);
    assert_eq!(import(&fixture, &record).await, ImportOutcome::Imported);
    let here = live(&fixture, 1).await.unwrap();
    assert_same(&here, &record);
    assert_eq!(here.refresh_intent, record.refresh_intent);
    assert_eq!(listed(&fixture, ADA).await, [1]);
    let fixture = fixture.reopen().await;
    let here = live(&fixture, 1).await.unwrap();
    assert_same(&here, &record);
    let intent = here.refresh_intent.unwrap();
    assert_eq!(Some(intent.since), record.refresh_intent.map(|intent| intent.since));
    assert_eq!(listed(&fixture, ADA).await, [1]);
}

/// What is newer here stays; what ended here stays ended; what is dead is not taken.
pub async fn an_import_never_turns_time_back<F: Fixture>(fixture: F) {
    let older = kept_elsewhere(1);
    let mut newer = with_tokens(&older, "newer");
    newer.version = older.version.next();
    newer.refresh_intent = None;
    assert_eq!(import(&fixture, &older).await, ImportOutcome::Imported);
    assert_eq!(import(&fixture, &newer).await, ImportOutcome::Imported);
    assert_eq!(import(&fixture, &older).await, ImportOutcome::Kept);
    let here = live(&fixture, 1).await.unwrap();
    assert_same(&here, &newer);
    assert!(here.refresh_intent.is_none(), "it was of the older version");
    fixture.store().remove(device(1), None, EndReason::Logout, START).await.unwrap();
    assert_eq!(import(&fixture, &newer).await, ImportOutcome::Ended);
    assert_eq!(reason(&fixture, 1).await, Some(EndReason::Logout));
    let dead = kept_elsewhere(2);
    fixture.clock().leap_to(dead.dies_at());
    assert_eq!(import(&fixture, &dead).await, ImportOutcome::Expired);
    let fixture = fixture.reopen().await;
    assert!(listed(&fixture, ADA).await.is_empty());
}

/// Of the same version, the later use and an intent are added, and nothing is taken away.
pub async fn an_import_adds_what_was_noted_elsewhere<F: Fixture>(fixture: F) {
    let noted = kept_elsewhere(1);
    let mut bare = noted.clone();
    bare.last_seen_at = noted.created_at;
    bare.previous_visit_at = None;
    bare.refresh_intent = None;
    assert_eq!(import(&fixture, &bare).await, ImportOutcome::Imported);
    assert_eq!(import(&fixture, &noted).await, ImportOutcome::Kept);
    assert_eq!(import(&fixture, &bare).await, ImportOutcome::Kept);
    let here = live(&fixture, 1).await.unwrap();
    assert_same(&here, &noted);
    assert_eq!(here.refresh_intent, noted.refresh_intent);
    let fixture = fixture.reopen().await;
    assert_same(&live(&fixture, 1).await.unwrap(), &noted);
}
