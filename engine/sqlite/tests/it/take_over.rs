//! A file of the original application becomes a store, in place.

use tokenkeep_core::codec::{Columns, Sealing};
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{DeviceId, EndReason, KeyRing, Lookup, TokenStore as _, Verifier, Version};
use tokenkeep_sqlite::{OpenError, SqliteStore};

use crate::original::{LOGIN, Login, Original};
use crate::support::{Place, contains, live};

fn device(text: &str) -> DeviceId {
    text.replace('-', "").to_lowercase().parse().unwrap()
}

#[tokio::test]
async fn rows_of_the_original_application_become_records() {
    let dashed = "00000000-1111-4222-8333-44444444ABCD";
    for place in [Place::sealed(), Place::plain()] {
        let original = Original::create(&place.file());
        original.insert(&LOGIN);
        let whole = "2027-01-15 08:02:00";
        let other = Login { device: dashed, email: "Ada@Example.org", ..LOGIN };
        original.insert(&Login { access_expiry: whole, ..other });
        drop(original);
        let mut store = place.open();
        for _ in 0..2 {
            let record = live(&store, device(LOGIN.device)).await;
            assert_eq!(record.version, Version::FIRST);
            assert!(!record.verifier.matches(&record.verifier), "it is nobody's");
            assert_eq!(record.verifier.as_bytes(), Verifier::NOBODY.as_bytes());
            assert_eq!(record.access_token.expose(), "canary-access");
            assert_eq!(record.refresh_token.expose(), "canary-refresh");
            assert_eq!(record.dies_at().to_string(), "2027-01-15T08:04:00.165131Z");
            let other = live(&store, device(dashed)).await;
            assert_eq!(other.access_expires_at.to_string(), "2027-01-15T08:02:00Z");
            let listed = store.devices_of(&record.email, START).await.unwrap();
            assert_eq!(listed.len(), 2);
            let stats = store.stats(START).await.unwrap();
            assert_eq!((stats.devices, stats.users), (2, 1));
            let dead = store.get(device(dashed), record.dies_at()).await.unwrap();
            assert!(matches!(dead, Lookup::Ended(e) if e.reason == EndReason::Expired));
            store.close().await.unwrap();
            store = place.open();
        }
        assert_eq!(store.set_aside().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn no_plain_token_stays_in_any_file() {
    let place = Place::sealed();
    let original = Original::create(&place.file());
    original.0.execute_batch("PRAGMA journal_mode = persist").unwrap();
    for n in 0..200 {
        let (device, token) = (format!("{n:032x}"), format!("canary-{n}-{}", "x".repeat(900)));
        original.insert(&Login { device: &device, access_token: &token, ..LOGIN });
    }
    // What the original application deleted lies in free pages.
    original.0.execute("DELETE FROM user_auth_credentials WHERE id % 3 = 0", []).unwrap();
    original.insert(&Login { device: "no id", ..LOGIN });
    drop(original);
    assert!(contains(&place.bytes(), "canary"));
    let store = place.open();
    assert!(!contains(&place.bytes(), "canary"), "while the store is open");
    live(&store, device(&format!("{:032x}", 0))).await;
    assert_eq!(store.set_aside().await.unwrap(), 1);
    store.close().await.unwrap();
    assert!(!contains(&place.bytes(), "canary"), "when it is closed");
}

#[tokio::test]
async fn what_makes_no_sense_is_kept_aside_and_counted() {
    let place = Place::sealed();
    let original = Original::create(&place.file());
    let older = Login { access_token: "canary-older", ..LOGIN };
    let newest = Login { access_token: "canary-newest", ..LOGIN };
    let dashed = "01234567-89ab-cdef-0123-456789abcdef";
    original.insert(&older);
    original.insert(&Login { device: dashed, ..newest });
    // What makes no sense does not hide what does.
    original.insert(&Login { refresh_expiry: "soon", ..LOGIN });
    original.insert(&Login { device: "../../etc/passwd", ..LOGIN });
    original.insert(&Login { device: &"1".repeat(32), email: "nobody", ..LOGIN });
    original.insert(&Login { device: &"2".repeat(32), access_token: "", ..LOGIN });
    let blob = "INSERT INTO user_auth_credentials (device_id, email) VALUES (x'ff00', NULL)";
    original.0.execute(blob, []).unwrap();
    drop(original);
    let store = place.open();
    assert_eq!(store.set_aside().await.unwrap(), 6);
    let record = live(&store, device(LOGIN.device)).await;
    assert_eq!(record.access_token.expose(), "canary-newest");
    assert_eq!(store.stats(START).await.unwrap().devices, 1);
    let id = store.id();
    store.close().await.unwrap();
    let kept = sealed_aside(&place, 1);
    let nobody = DeviceId::from_bytes(1_u128.to_be_bytes());
    let kept = kept.decode(nobody, &place.sealing, &id, START).unwrap();
    assert_eq!(kept.access_token.expose(), "canary-older");
    assert_eq!(place.open().set_aside().await.unwrap(), 6, "they are counted once");
}

/// The tokens of the row with this id, as they were set aside.
fn sealed_aside(place: &Place, id: i64) -> Columns {
    let connection = rusqlite::Connection::open(place.file()).unwrap();
    let query = "SELECT access_token, refresh_token, rest FROM tokenkeep_set_aside WHERE id = ?1";
    let (access, refresh, rest): (String, String, Vec<u8>) = connection
        .query_row(query, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    Columns {
        email: "set-aside@localhost".into(),
        token_type: "bearer".into(),
        access_token: access.into(),
        access_expiry: "1970-01-01 00:00:00.000000".into(),
        refresh_token: refresh.into(),
        refresh_expiry: "1970-01-01 00:00:00.000000".into(),
        rest: Some(rest),
    }
}

#[tokio::test]
async fn what_the_original_application_deletes_is_gone() {
    let place = Place::plain();
    let original = Original::create(&place.file());
    original.insert(&LOGIN);
    let store = place.open();
    live(&store, device(LOGIN.device)).await;
    original.0.execute("DELETE FROM user_auth_credentials", []).unwrap();
    assert!(matches!(store.get(device(LOGIN.device), START).await.unwrap(), Lookup::Absent));
}

#[tokio::test]
async fn a_row_that_somebody_slips_into_a_sealed_store_is_not_trusted() {
    let place = Place::sealed();
    let store = place.open();
    Original::connect(&place.file()).insert(&LOGIN);
    let error = store.get(device(LOGIN.device), START).await.unwrap_err();
    assert!(matches!(error, tokenkeep_core::StoreError::Unreadable { .. }), "{error:?}");
    let ada = LOGIN.email.parse().unwrap();
    assert!(store.devices_of(&ada, START).await.unwrap().is_empty());
    store.close().await.unwrap();
    let store = place.open();
    assert!(store.get(device(LOGIN.device), START).await.is_err(), "nor at the next opening");
}

#[tokio::test]
async fn a_plain_store_is_sealed_when_it_is_asked_for() {
    let place = Place::plain();
    let original = Original::create(&place.file());
    original.insert(&LOGIN);
    drop(original);
    let store = place.open();
    store.touch(device(LOGIN.device), START).await.unwrap();
    let id = store.id();
    store.close().await.unwrap();
    let sealing = Sealing::On(KeyRing::generate().unwrap());
    let place = Place { sealing, ..place };
    assert!(matches!(place.try_open().unwrap_err(), OpenError::NotSealed));
    assert!(contains(&place.bytes(), "canary"));
    let options = place.options().seal_what_is_plain(true);
    let store = SqliteStore::open(place.file(), options).unwrap();
    assert_eq!(store.id(), id, "nobody is logged out");
    let record = live(&store, device(LOGIN.device)).await;
    assert_eq!((record.version, record.last_seen_at), (Version::FIRST, START));
    assert!(!contains(&place.bytes(), "canary"));
    store.close().await.unwrap();
    let place = Place { sealing: Sealing::Off, ..place };
    assert!(matches!(place.try_open().unwrap_err(), OpenError::Sealed));
}
