//! With sealing off, the original application goes on working on the same table.

use std::time::Duration;

use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::testing::record;
use tokenkeep_core::{
    DeviceId, HolderId, Insert, LeaseOutcome, ReplaceOutcome, TokenRecord, TokenStore as _, Tokens,
    Version,
};

use crate::original::{LOGIN, Login, Original};
use crate::support::{Place, live};

fn device() -> DeviceId {
    LOGIN.device.parse().unwrap()
}

/// What a refresh of the original application brings a minute later.
const RENEWED: Login<'static> = Login {
    access_token: "renewed-access",
    access_expiry: "2027-01-15 08:03:00.000007",
    refresh_token: "renewed-refresh",
    refresh_expiry: "2027-01-15 08:05:00.000007",
    ..LOGIN
};

#[tokio::test]
async fn what_it_inserts_is_found_at_once() {
    let place = Place::plain();
    let store = place.open();
    let original = Original::connect(&place.file());
    let dashed = "01234567-89AB-cdef-0123-456789abcdef";
    original.insert(&Login { device: dashed, email: "Ada@Example.org", ..LOGIN });
    let record = live(&store, device()).await;
    assert_eq!(record.version, Version::FIRST);
    assert_eq!(store.devices_of(&record.email, START).await.unwrap().len(), 1);
    assert_eq!(store.stats(START).await.unwrap().devices, 1);
    let seen = START + Duration::from_secs(60);
    store.touch(device(), seen).await.unwrap();
    assert_eq!(live(&store, device()).await.last_seen_at, seen);
    assert_eq!(
        original.find(dashed).unwrap(),
        [LOGIN.access_token, LOGIN.access_expiry, LOGIN.refresh_expiry, "Ada@Example.org"],
        "its columns stay as it wrote them"
    );
    let ended = store.remove_all_of(&record.email, None, tokenkeep_core::EndReason::Logout, START);
    assert_eq!(ended.await.unwrap().len(), 1);
    assert!(original.find(dashed).is_none());
}

#[tokio::test]
async fn what_it_updates_wins_and_lives_as_long_as_it_says() {
    let place = Place::plain();
    let store = place.open();
    let original = Original::connect(&place.file());
    original.insert(&LOGIN);
    store.stats(START).await.unwrap();
    original.refresh(&Login { refresh_expiry: "2027-01-15 09:30:00.000007", ..RENEWED });
    let record = live(&store, device()).await;
    assert_eq!(record.access_token.expose(), "renewed-access");
    assert_eq!(record.dies_at().to_string(), "2027-01-15T09:30:00.000007Z");
    // Freed by its old expiry it would be lost.
    place.clock.advance(HOUR);
    assert_eq!(store.purge_expired(10, START + HOUR).await.unwrap(), 0);
    assert!(store.get(device(), START + HOUR).await.unwrap().live().is_some());
    assert_eq!(store.stats(START + HOUR).await.unwrap().devices, 1);
    place.clock.advance(HOUR);
    store.purge_expired(10, START + 2 * HOUR).await.unwrap();
    assert!(original.find(LOGIN.device).is_none());
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn who_read_before_it_updated_overwrites_nothing() {
    let place = Place::plain();
    let store = place.open();
    let original = Original::connect(&place.file());
    original.insert(&LOGIN);
    let before = live(&store, device()).await;
    let holder = HolderId::from_bytes([1; 16]);
    let until = START + Duration::from_secs(20);
    let leased = store.lease(device(), before.version, holder, until, START).await.unwrap();
    assert!(matches!(leased, LeaseOutcome::Granted(_)));
    original.refresh(&RENEWED);
    let read = live(&store, device()).await;
    assert_eq!(read.version, before.version.next());
    assert!(read.refresh_intent.is_none(), "it spoke of other tokens");
    let late = TokenRecord::clone(&before);
    let outcome = store.replace(before.version, late, Tokens::Renewed, START).await.unwrap();
    assert!(matches!(outcome, ReplaceOutcome::Conflict(_)), "{outcome:?}");
    let record = live(&store, device()).await;
    assert_eq!((record.version, record.access_token.expose()), (read.version, "renewed-access"));
    let next = TokenRecord::clone(&record);
    let outcome = store.replace(record.version, next, Tokens::Renewed, START).await.unwrap();
    assert!(matches!(outcome, ReplaceOutcome::Replaced(_)), "{outcome:?}");
    assert_eq!(live(&store, device()).await.version, read.version.next());
}

#[tokio::test]
async fn what_the_store_writes_is_valid_for_it() {
    let place = Place::plain();
    let store = place.open();
    let original = Original::connect(&place.file());
    let login =
        Insert { record: record(device(), LOGIN.email, START), replaces: None, ceiling: None };
    store.insert(login, START).await.unwrap();
    let found = original.find(LOGIN.device).unwrap();
    let expected = [
        &format!("access-of-{}", LOGIN.device),
        "2027-01-15 08:02:00.000000",
        "2027-01-15 08:04:00.000000",
        LOGIN.email,
    ];
    assert_eq!(found, expected);
    original.refresh(&RENEWED);
    assert_eq!(live(&store, device()).await.refresh_token.expose(), "renewed-refresh");
}

#[tokio::test]
async fn what_it_writes_is_taken_over_in_idle_moments() {
    let place = Place::plain();
    let store = place.open();
    let original = Original::connect(&place.file());
    original.insert(&LOGIN);
    original.insert(&Login { device: "no id", ..LOGIN });
    let is_taken_over = || {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(50));
        let left = "SELECT count(*) FROM user_auth_credentials WHERE written IS NULL";
        original.0.query_row(left, [], |row| row.get::<_, u32>(0)).unwrap() == 0
    };
    assert!((0..200).any(|_| is_taken_over()), "nobody looked");
    assert_eq!(store.set_aside().await.unwrap(), 1);
    live(&store, device()).await;
}
