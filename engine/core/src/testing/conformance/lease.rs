//! Claims about the refresh lease and the durable intent.

use super::records::with_tokens;
use super::*;
use crate::{HolderId, LeaseOutcome, Release, ReplaceOutcome, Tokens, Version};

const FIRST: HolderId = HolderId::from_bytes([1; 16]);
const SECOND: HolderId = HolderId::from_bytes([2; 16]);

async fn lease<F: Fixture>(fixture: &F, holder: HolderId) -> LeaseOutcome {
    let (now, version) = (now(fixture), live(fixture, 1).await.unwrap().version);
    fixture.store().lease(device(1), version, holder, now + seconds(20), now).await.unwrap()
}

/// Whether `holder` gets the lease, and whether it comes with an uncertainty.
async fn granted<F: Fixture>(fixture: &F, holder: HolderId) -> Option<bool> {
    match lease(fixture, holder).await {
        LeaseOutcome::Granted(record) => Some(record.refresh_intent.unwrap().uncertain),
        _ => None,
    }
}

async fn release<F: Fixture>(fixture: &F, holder: HolderId, release: Release) {
    fixture.store().release(device(1), holder, release, now(fixture)).await.unwrap();
}

async fn open<F: Fixture>(fixture: &F) -> Vec<DeviceId> {
    fixture.store().open_intents(now(fixture)).await.unwrap()
}

/// While one holds it, nobody else gets it.
pub async fn a_lease_is_held_by_one<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    match lease(&fixture, SECOND).await {
        LeaseOutcome::Held { until } => assert_eq!(until, START + seconds(20)),
        other => panic!("held twice: {other:?}"),
    }
    assert!(open(&fixture).await.is_empty(), "a lease that is held is not open");
}

/// Who read the record before it changed gets no lease.
pub async fn a_lease_needs_the_current_version<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    let next = with_tokens(&record, "next");
    fixture.store().replace(record.version, next, Tokens::Renewed, START).await.unwrap();
    let until = START + seconds(20);
    let try_lease = |number, version: Version| {
        fixture.store().lease(device(number), version, FIRST, until, START)
    };
    assert!(matches!(try_lease(1, record.version).await.unwrap(), LeaseOutcome::Conflict(_)));
    assert!(matches!(try_lease(2, Version::FIRST).await.unwrap(), LeaseOutcome::Gone(None)));
}

/// Nothing was sent: nothing is owed.
pub async fn a_lease_that_was_given_back_leaves_no_trace<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    release(&fixture, FIRST, Release::NotSent).await;
    assert!(live(&fixture, 1).await.unwrap().refresh_intent.is_none());
    assert!(open(&fixture).await.is_empty());
    assert_eq!(granted(&fixture, SECOND).await, Some(false));
    release(&fixture, SECOND, Release::NotSent).await;
    let fixture = fixture.reopen().await;
    assert!(open(&fixture).await.is_empty());
}

/// The refresh token may be spent: whoever comes next knows, also after a restart.
pub async fn an_uncertain_outcome_is_remembered<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    release(&fixture, FIRST, Release::Uncertain).await;
    assert_eq!(open(&fixture).await, [device(1)]);
    let fixture = fixture.reopen().await;
    assert_eq!(open(&fixture).await, [device(1)]);
    fixture.clock().advance(seconds(30));
    assert_eq!(granted(&fixture, SECOND).await, Some(true));
    release(&fixture, SECOND, Release::NotSent).await;
    let intent = live(&fixture, 1).await.unwrap().refresh_intent.unwrap();
    assert!(intent.uncertain, "an older uncertainty stays");
    assert_eq!(intent.since, START, "and keeps its beginning");
}

/// A holder that went away does not block the device for ever.
pub async fn a_lease_that_ran_out_is_taken_over_as_uncertain<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    fixture.clock().advance(seconds(20));
    assert_eq!(open(&fixture).await, [device(1)]);
    assert_eq!(granted(&fixture, SECOND).await, Some(true));
}

/// Neither a stranger nor a holder whose lease was taken over touches it.
pub async fn only_the_holder_extends_and_releases<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    let extend = async |holder, until: u64| {
        let until = START + seconds(until);
        fixture.store().extend_lease(device(1), holder, until, now(&fixture)).await.unwrap()
    };
    assert!(extend(FIRST, 40).await);
    assert!(!extend(SECOND, 60).await);
    release(&fixture, SECOND, Release::NotSent).await;
    fixture.clock().advance(seconds(30));
    assert_eq!(granted(&fixture, SECOND).await, None, "extended to 40 s");
    fixture.clock().advance(seconds(10));
    assert_eq!(granted(&fixture, SECOND).await, Some(true));
    assert!(!extend(FIRST, 100).await, "taken over");
    release(&fixture, FIRST, Release::NotSent).await;
    assert!(live(&fixture, 1).await.unwrap().refresh_intent.unwrap().is_held(now(&fixture)));
}

/// An intent speaks of the tokens that were there: new ones end it, though another holder has
/// taken it over meanwhile.
pub async fn new_tokens_drop_whoever_holds_the_lease<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    fixture.clock().advance(seconds(20));
    assert_eq!(granted(&fixture, SECOND).await, Some(true));
    let (late, now) = (with_tokens(&record, "late"), now(&fixture));
    let store = fixture.store();
    let stored = store.replace(record.version, late, Tokens::Renewed, now).await.unwrap();
    assert!(matches!(stored, ReplaceOutcome::Replaced(r) if r.refresh_intent.is_none()));
    release(&fixture, SECOND, Release::Uncertain).await;
    let fixture = fixture.reopen().await;
    assert!(live(&fixture, 1).await.unwrap().refresh_intent.is_none());
    assert!(open(&fixture).await.is_empty());
}

/// The new pair and the end of the lease are one write.
pub async fn storing_the_new_pair_releases_the_lease<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    let next = with_tokens(&record, "next");
    let stored =
        fixture.store().replace(record.version, next, Tokens::Renewed, START).await.unwrap();
    assert!(matches!(stored, ReplaceOutcome::Replaced(r) if r.refresh_intent.is_none()));
    assert_eq!(granted(&fixture, SECOND).await, Some(false));
    release(&fixture, SECOND, Release::NotSent).await;
    let fixture = fixture.reopen().await;
    assert!(open(&fixture).await.is_empty());
}

/// A label that is set during a refresh leaves the lease with its holder.
pub async fn a_label_keeps_the_lease<F: Fixture>(fixture: F) {
    let record = log_in(&fixture, 1, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    let mut labelled = TokenRecord::clone(&record);
    labelled.label = Some("desk".parse().unwrap());
    fixture.store().replace(record.version, labelled, Tokens::Kept, START).await.unwrap();
    assert_eq!(granted(&fixture, SECOND).await, None);
    let fixture = fixture.reopen().await;
    if F::SHARED {
        fixture.clock().advance(seconds(20));
    }
    assert_eq!(open(&fixture).await, [device(1)], "the intent outlives the new version");
}

/// A crash in the middle of a refresh is found at opening.
pub async fn an_intent_survives_reopening<F: Fixture>(fixture: F) {
    log_in(&fixture, 1, ADA).await;
    log_in(&fixture, 2, ADA).await;
    assert_eq!(granted(&fixture, FIRST).await, Some(false));
    let fixture = fixture.reopen().await;
    if F::SHARED {
        // Another process may hold it: it has to run out.
        fixture.clock().advance(seconds(20));
    }
    assert_eq!(open(&fixture).await, [device(1)]);
    assert_eq!(granted(&fixture, SECOND).await, Some(true));
}
