//! What the tests of this crate share.

use std::time::Duration;

use tokenkeep_core::testing::record;
use tokenkeep_core::{
    Clock as _, DeviceId, Email, Insert, InsertOutcome, KeyRing, StoreError, SystemClock,
    Timestamp, TokenRecord, TokenStore as _,
};
use tokenkeep_redis::{Fault, RedisStore, Settings};

pub(crate) const ADA: &str = "ada@example.org";

pub(crate) fn ada() -> Email {
    ADA.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

/// A fresh store at `settings`.
pub(crate) async fn open(settings: Settings) -> RedisStore {
    RedisStore::open(settings, KeyRing::generate().unwrap()).await.unwrap()
}

/// A login of a fresh device of `email` that lives for an hour.
pub(crate) fn login(email: &str, now: Timestamp) -> Insert {
    let mut record = record(DeviceId::random().unwrap(), email, now);
    record.refresh_expires_at = now + Duration::from_secs(3600);
    Insert { record, replaces: None, ceiling: None }
}

pub(crate) async fn log_in(store: &RedisStore, email: &str) -> TokenRecord {
    let insert = login(email, now());
    let record = insert.record.clone();
    let outcome = store.insert(insert, now()).await.unwrap();
    assert!(matches!(outcome, InsertOutcome::Inserted { .. }), "{outcome:?}");
    record
}

/// What is wrong with Redis, as `error` says it.
#[track_caller]
pub(crate) fn fault(error: &StoreError) -> &Fault {
    match error {
        StoreError::Unavailable(cause) => cause.downcast_ref().expect("a fault of redis"),
        other => panic!("not a fault of redis: {other:?}"),
    }
}

/// Logs in as soon as the store takes it.
pub(crate) async fn recovers(store: &RedisStore) {
    let mut last = None;
    for _ in 0..500 {
        match store.insert(login("bob@example.org", now()), now()).await {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store does not recover: {last:?}");
}

/// How long to wait for a server that may be paused.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
