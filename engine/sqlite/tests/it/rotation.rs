//! The key ring changes while the store is used, beyond what every store promises of it.

use rusqlite::Connection;
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::keyring::RingError;
use tokenkeep_core::{KeyRing, SealedStore as _};

use crate::support::{Place, device, live, log_in};

fn ring(place: &Place) -> KeyRing {
    match &place.sealing {
        Sealing::On(ring) => ring.clone(),
        Sealing::Off => panic!("it is sealed"),
    }
}

#[tokio::test]
async fn what_was_set_aside_goes_along() {
    let place = Place::plain();
    let store = place.open();
    log_in(&store, 1, "ada@example.org").await;
    store.close().await.unwrap();
    let insert = "INSERT INTO user_auth_credentials (device_id, email, access_token, access_expiry,
        refresh_token, refresh_expiry, token_type)
        VALUES ('none', 'x', 'canary-aside', 'y', 'canary-r', 'z', 'bearer')";
    Connection::open(place.file()).unwrap().execute(insert, []).unwrap();
    let old = KeyRing::generate().unwrap();
    let place = Place { sealing: Sealing::On(old.clone()), ..place };
    let options = place.options().seal_what_is_plain(true);
    let store = tokenkeep_sqlite::SqliteStore::open(place.file(), options).unwrap();
    assert_eq!(store.set_aside().await.unwrap(), 1);
    let new = old.rotated().unwrap();
    store.take_ring(new.clone()).await.unwrap();
    let used = store.key_use().await.unwrap();
    assert_eq!(used.iter().map(|used| used.records).sum::<u64>(), 2, "{used:?}");
    store.reseal(|_| true).await.unwrap();
    store.retire(old.active()).await.unwrap();
    store.close().await.unwrap();
    let place = Place { sealing: Sealing::On(new.without(old.active()).unwrap()), ..place };
    let store = place.open();
    live(&store, device(1)).await;
    assert_eq!(store.set_aside().await.unwrap(), 1);
    assert_eq!(store.key_use().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_ring_that_one_store_takes_is_not_taken_elsewhere() {
    let place = Place::sealed();
    let store = place.open();
    let old = ring(&place);
    store.take_ring(old.rotated().unwrap()).await.unwrap();
    assert_eq!(ring(&place).active(), old.active());
    assert_ne!(store.key_ids().first(), Some(&old.active()));
}

#[tokio::test]
async fn a_store_without_sealing_has_no_keys_to_change() {
    let store = Place::plain().open();
    let ring = KeyRing::generate().unwrap();
    assert!(store.key_ids().is_empty());
    for refused in [
        store.take_ring(ring.clone()).await,
        store.reseal(|_| true).await,
        store.retire(ring.active()).await,
    ] {
        assert!(matches!(refused, Err(RingError::NotSealed)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_ring_that_could_not_be_noted_is_not_used() {
    let place = Place::sealed();
    let store = place.open();
    let old = ring(&place);
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("UPDATE tokenkeep_meta SET value = x'01ff' WHERE name = 'store'").unwrap();
    let refused = store.take_ring(old.rotated().unwrap()).await.unwrap_err();
    assert!(matches!(refused, RingError::Store(_)), "{refused:?}");
    assert_eq!(store.key_ids(), [old.active()]);
    log_in(&store, 1, "ada@example.org").await;
}
