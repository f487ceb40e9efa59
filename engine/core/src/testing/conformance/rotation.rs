//! Claims about the keys of a store that seals: they change while it is used.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::records::with_tokens;
use super::*;
use crate::keyring::{KeyId, RingError};
use crate::{HolderId, LeaseOutcome, ReplaceOutcome, StoreError, Tokens, Version};

/// How much is under `key`.
async fn under<F: SealedFixture>(fixture: &F, key: KeyId) -> u64 {
    let used = fixture.store().key_use().await.unwrap();
    used.iter().filter(|used| used.key == key).map(|used| used.records).sum()
}

/// Stores what a refresh of device `number` brings, which has `version` so far.
async fn renew<S: TokenStore>(store: &S, number: u8, version: u64) {
    let renewed = with_tokens(&record(device(number), ADA, START), &format!("renewed-{version}"));
    let expected = Version::from_number(version);
    let replaced = store.replace(expected, renewed, Tokens::Renewed, START).await.unwrap();
    assert!(matches!(replaced, ReplaceOutcome::Replaced(_)), "{replaced:?}");
}

/// Does the same for each of `numbers`, at the same time.
async fn for_each<F, W>(
    fixture: &F,
    numbers: impl Iterator<Item = u8>,
    work: impl Fn(F::Store, u8) -> W,
) where
    F: Fixture,
    W: Future<Output = ()> + Send + 'static,
{
    let tasks = numbers.map(|number| tokio::spawn(work(fixture.store().clone(), number)));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn insert<S: TokenStore>(store: S, number: u8) {
    let inserted = store.insert(login_of(number, ADA, START), START).await.unwrap();
    assert!(matches!(inserted, InsertOutcome::Inserted { .. }), "{inserted:?}");
}

/// A ring is taken up, everything is resealed, the old key is let go of: every record is as it
/// was, with its version, its tokens and its intent, and opens without the old key.
pub async fn keys_change_and_nobody_is_logged_out<F: SealedFixture>(fixture: F) {
    let old = fixture.ring();
    for_each(&fixture, 1..=40, insert).await;
    renew(fixture.store(), 7, 1).await;
    let (holder, until) = (HolderId::from_bytes([1; 16]), START + seconds(100));
    let lease = fixture.store().lease(device(8), Version::FIRST, holder, until, START).await;
    assert!(matches!(lease.unwrap(), LeaseOutcome::Granted(_)));
    fixture.store().touch(device(9), START + seconds(1)).await.unwrap();

    let new = old.rotated().unwrap();
    fixture.store().take_ring(new.clone()).await.unwrap();
    assert_eq!(fixture.store().key_ids(), new.ids().collect::<Vec<_>>());
    log_in(&fixture, 41, BOB).await;
    assert!(under(&fixture, new.active()).await > 0);
    let mut before = Vec::new();
    for number in 1..=41 {
        before.push(live(&fixture, number).await);
    }
    fixture.store().reseal(|_| true).await.unwrap();
    assert_eq!(under(&fixture, old.active()).await, 0);
    fixture.store().retire(old.active()).await.unwrap();
    let alone = new.without(old.active()).unwrap();
    let fixture = fixture.reopen_with(alone).await.unwrap();
    for (number, before) in (1..).zip(before) {
        let (after, before) = (live(&fixture, number).await.unwrap(), before.unwrap());
        assert_eq!(after.version, before.version, "device {number}");
        assert_eq!(after.verifier.as_bytes(), before.verifier.as_bytes());
        assert_eq!(after.refresh_token.expose(), before.refresh_token.expose());
        assert_eq!(after.access_token.expose(), before.access_token.expose());
        assert_eq!(after.dies_at(), before.dies_at(), "device {number}");
        assert_eq!(after.last_seen_at, before.last_seen_at, "device {number}");
        let holder = after.refresh_intent.map(|intent| intent.holder);
        assert_eq!(holder, before.refresh_intent.map(|intent| intent.holder));
    }
    assert!(live(&fixture, 8).await.unwrap().refresh_intent.is_some());
    assert_eq!(fixture.store().stats(START).await.unwrap().unreadable, 0);
}

/// The refusal says how many there are.
pub async fn a_key_that_records_are_under_is_not_retired<F: SealedFixture>(fixture: F) {
    let old = fixture.ring();
    for number in 1..=3 {
        log_in(&fixture, number, ADA).await;
    }
    let refused = fixture.store().retire(old.active()).await.unwrap_err();
    assert!(matches!(refused, RingError::Active(_)), "{refused:?}");
    fixture.store().take_ring(old.rotated().unwrap()).await.unwrap();
    let refused = fixture.store().retire(old.active()).await.unwrap_err();
    assert!(refused.to_string().starts_with("3 records"), "{refused}");
    assert!(live(&fixture, 1).await.is_some());
}

/// While it is used, and when it is opened.
pub async fn a_ring_without_a_needed_key_is_refused<F: SealedFixture>(fixture: F) {
    let old = fixture.ring();
    log_in(&fixture, 1, ADA).await;
    let new = old.rotated().unwrap();
    let refused = fixture.store().take_ring(new.without(old.active()).unwrap()).await.unwrap_err();
    assert!(matches!(refused, RingError::Different(_) | RingError::Missing(_)), "{refused:?}");
    fixture.store().take_ring(new.clone()).await.unwrap();
    let third = new.rotated().unwrap().without(old.active()).unwrap();
    let refused = fixture.store().take_ring(third.clone()).await.unwrap_err();
    assert!(matches!(refused, RingError::Missing(key) if key == old.active()), "{refused:?}");
    log_in(&fixture, 2, ADA).await;
    assert!(under(&fixture, new.active()).await > 0);
    let refused = fixture.reopen_with(third).await.err().unwrap();
    assert!(refused.contains(&old.active().to_string()), "{refused}");
    assert!(refused.contains("missing"), "{refused}");
}

/// A key that goes by the name of one of the store's.
pub async fn a_key_of_another_ring_is_refused<F: SealedFixture>(fixture: F) {
    let (ring, other) = (fixture.ring(), KeyRing::generate().unwrap());
    log_in(&fixture, 1, ADA).await;
    let (name, its) = (ring.active().to_string(), other.active().to_string());
    let forged = KeyRing::parse(&other.to_text().replace(&its, &name)).unwrap();
    for forged in [forged.rotated().unwrap(), forged] {
        let refused = fixture.store().take_ring(forged).await.unwrap_err();
        assert!(matches!(refused, RingError::Different(key) if key == ring.active()));
    }
    log_in(&fixture, 2, ADA).await;
    let fixture = fixture.reopen().await;
    assert_eq!(listed(&fixture, ADA).await, [1, 2]);
}

/// What was resealed stays so.
pub async fn resealing_that_was_called_off_goes_on<F: SealedFixture>(fixture: F) {
    let old = fixture.ring();
    for_each(&fixture, 0..=255, async |store, number| {
        insert(store.clone(), number).await;
        for version in 1..4 {
            renew(&store, number, version).await;
        }
    })
    .await;
    let new = old.rotated().unwrap();
    fixture.store().take_ring(new.clone()).await.unwrap();
    let (before, mut calls) = (under(&fixture, old.active()).await, 0);
    let stopped = fixture.store().reseal(|progress| {
        assert!(progress.done <= progress.total, "{progress:?}");
        calls += 1;
        calls < 2
    });
    let stopped = stopped.await;
    assert!(matches!(stopped, Err(RingError::CalledOff)), "{stopped:?}");
    let fixture = fixture.reopen_with(new).await.unwrap();
    let left = under(&fixture, old.active()).await;
    assert!(left > 0 && left < before, "{left} of {before}");
    fixture.store().reseal(|_| true).await.unwrap();
    assert_eq!(under(&fixture, old.active()).await, 0);
    for number in 0..=255 {
        let version = live(&fixture, number).await.unwrap().version;
        assert_eq!(version, Version::from_number(4), "device {number}");
    }
}

/// Whatever happens to a record meanwhile is what counts.
pub async fn resealing_beats_no_refresh_and_no_logout<F: SealedFixture>(fixture: F) {
    let is_over = Arc::new(AtomicBool::new(false));
    for_each(&fixture, 0..DEVICES, insert).await;
    let refreshers = (0..4).map(|number| {
        let (store, is_over) = (fixture.store().clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut version = 1;
            while !is_over.load(Ordering::Acquire) {
                renew(&store, number, version).await;
                version += 1;
            }
            version
        })
    });
    let refreshers: Vec<_> = refreshers.collect();
    let mut ring = fixture.ring();
    for round in 0..3_u8 {
        let new = ring.rotated().unwrap();
        fixture.store().take_ring(new.clone()).await.unwrap();
        // Of each pair of devices one logs out in some round, and the other is refreshed in each.
        let store = fixture.store().clone();
        let meanwhile = tokio::spawn(async move {
            for number in (10..DEVICES).rev() {
                if number % 2 == 1 {
                    renew(&store, number, u64::from(round) + 1).await;
                } else if number % 6 == 2 * round {
                    let reason = EndReason::Logout;
                    store.remove(device(number), None, reason, START).await.unwrap();
                }
            }
        });
        let (resealed, met) = tokio::join!(fixture.store().reseal(|_| true), meanwhile);
        resealed.unwrap();
        met.unwrap();
        fixture.store().retire(ring.active()).await.unwrap();
        ring = new.without(ring.active()).unwrap();
    }
    is_over.store(true, Ordering::Release);
    let mut versions = Vec::new();
    for refresher in refreshers {
        versions.push(refresher.await.unwrap());
    }
    let fixture = fixture.reopen_with(ring).await.unwrap();
    for (number, version) in (0..).zip(versions) {
        let record = live(&fixture, number).await.unwrap();
        assert_eq!(record.version.number(), version, "device {number}");
        let renewed = format!("renewed-{}-refresh", version - 1);
        assert!(version == 1 || record.refresh_token.expose() == renewed, "device {number}");
    }
    for number in 10..DEVICES {
        let version = live(&fixture, number).await.map(|record| record.version.number());
        assert_eq!(version, (number % 2 == 1).then_some(4), "device {number}");
    }
}

/// It stays under its old key, which stays needed, and the rest is resealed.
pub async fn what_cannot_be_read_is_not_resealed<F: SealedFixture>(fixture: F) {
    let old = fixture.ring();
    log_in(&fixture, 1, ADA).await;
    let fixture = fixture.spoil().await;
    log_in(&fixture, 2, ADA).await;
    let new = old.rotated().unwrap();
    fixture.store().take_ring(new).await.unwrap();
    let told = fixture.store().reseal(|_| true).await.unwrap_err();
    assert!(matches!(told, RingError::Unreadable(1)), "{told:?}");
    let refused = fixture.store().retire(old.active()).await.unwrap_err();
    assert!(matches!(refused, RingError::StillNeeded(used) if used.records == 1), "{refused:?}");
    let unreadable = fixture.store().get(device(1), START).await.unwrap_err();
    assert!(matches!(unreadable, StoreError::Unreadable { .. }), "{unreadable:?}");
    assert!(live(&fixture, 2).await.is_some());
}

const DEVICES: u8 = 120;
