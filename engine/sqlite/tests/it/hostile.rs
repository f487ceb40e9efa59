//! Files that somebody else changed: rows may be lost to it, and nothing else.

use rusqlite::Connection;
use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{
    EndReason, Insert, InsertOutcome, KeyRing, Lookup, RemoveOutcome, StoreError, TokenStore as _,
};
use tokenkeep_sqlite::{OpenError, SqliteStore};

use crate::original::{LOGIN, Login, Original};
use crate::support::{Place, contains, device, live, log_in, record_of};

const ADA: &str = "ada@example.org";

/// Changes the closed store as somebody else would.
fn change(place: &Place, sql: &str) {
    let connection = Connection::open(place.file()).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
}

/// What a shared store set aside in the clear would otherwise stay so.
#[tokio::test]
async fn what_was_set_aside_in_the_clear_is_sealed_with_the_rest() {
    let place = Place::plain();
    let original = Original::create(&place.file());
    original.insert(&Login { device: "no id", ..LOGIN });
    drop(original);
    place.open().close().await.unwrap();
    assert!(contains(&place.bytes(), "canary"));
    let place = Place { sealing: Sealing::On(KeyRing::generate().unwrap()), ..place };
    let options = place.options().seal_what_is_plain(true);
    let store = SqliteStore::open(place.file(), options).unwrap();
    assert_eq!(store.set_aside().await.unwrap(), 1);
    assert!(!contains(&place.bytes(), "canary"), "while the store is open");
    store.close().await.unwrap();
    assert!(!contains(&place.bytes(), "canary"), "when it is closed");
}

/// The largest id was looked for below itself.
#[tokio::test]
async fn a_row_with_an_id_at_the_edge_is_sealed_and_found() {
    for id in [i64::MIN, i64::MAX] {
        let place = Place::sealed();
        let original = Original::create(&place.file());
        original.insert(&LOGIN);
        original.0.execute("UPDATE user_auth_credentials SET id = ?1", [id]).unwrap();
        drop(original);
        let store = place.open();
        assert!(!contains(&place.bytes(), "canary"), "id {id}");
        live(&store, LOGIN.device.parse().unwrap()).await;
        let page = store.scan(None, std::num::NonZeroUsize::MIN, START).await.unwrap();
        assert_eq!(page.records.len(), 1, "id {id}");
        let after = store.scan(page.next, std::num::NonZeroUsize::MIN, START).await.unwrap();
        assert!(after.records.is_empty() && after.next.is_none(), "id {id}");
    }
}

/// A note that made no sense failed every write that met it, and all that shared its commit.
#[tokio::test]
async fn a_note_that_makes_no_sense_keeps_its_device_ended_and_nothing_else() {
    for note in ["reason = 'x'", "reason = 3000", "verifier = 7", "forget_at = 'x'"] {
        let place = Place::sealed();
        let store = place.open();
        log_in(&store, 1, ADA).await;
        store.remove(device(1), None, EndReason::Logout, START).await.unwrap();
        store.close().await.unwrap();
        change(&place, &format!("UPDATE tokenkeep_ended SET {note}"));
        let store = place.open();
        assert!(store.get(device(1), START).await.unwrap().live().is_none(), "{note}");
        let removed = store.remove(device(1), None, EndReason::Logout, START).await.unwrap();
        assert!(matches!(removed, RemoveOutcome::Gone(_)), "{note}: {removed:?}");
        let login = Insert { record: record_of(1, ADA), replaces: None, ceiling: None };
        let taken = store.insert(login, START).await.unwrap();
        assert!(matches!(taken, InsertOutcome::Taken), "{note}: {taken:?}");
    }
}

/// Statements name the indices: without one nothing was settled, and no write was taken for long.
#[tokio::test]
async fn an_index_that_is_gone_is_made_again() {
    for index in ["by_device", "by_email", "by_death", "by_intent", "unsettled", "ended_by_end"] {
        let place = Place::sealed();
        let store = place.open();
        log_in(&store, 1, ADA).await;
        store.close().await.unwrap();
        change(&place, &format!("DROP INDEX tokenkeep_{index}"));
        let store = place.open();
        store.open_intents(START).await.unwrap();
        place.clock.advance(HOUR);
        store.purge_expired(10, START).await.unwrap();
        live(&store, device(1)).await;
        store.close().await.unwrap();
        let count = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'tokenkeep_%' AND \
            type = 'index' AND sql IS NOT NULL";
        let connection = Connection::open(place.file()).unwrap();
        let there: u32 = connection.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(there, 6, "{index}");
    }
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Statements that name an index fail if it does not hold what they look for.
#[tokio::test]
async fn an_index_that_cannot_serve_is_refused() {
    for index in ["by_death", "by_intent", "unsettled"] {
        let place = Place::sealed();
        place.open().close().await.unwrap();
        let name = format!("tokenkeep_{index}");
        let other = format!("{name} ON user_auth_credentials (id) WHERE email = 'nobody'");
        change(&place, &format!("DROP INDEX {name}; CREATE INDEX {other}"));
        let refused = place.try_open();
        assert!(matches!(refused, Err(OpenError::Damaged(_))), "{refused:?}");
    }
}

/// Without its index, a device could have got a second row.
#[tokio::test]
async fn several_rows_of_one_device_are_refused_in_a_clear_sentence() {
    let place = Place::sealed();
    let store = place.open();
    log_in(&store, 1, ADA).await;
    store.close().await.unwrap();
    let columns = "device_id, email, token_type, access_token, access_expiry, refresh_token, \
        refresh_expiry";
    change(
        &place,
        &format!(
            "DROP INDEX tokenkeep_by_device; INSERT INTO user_auth_credentials ({columns})
             SELECT {columns} FROM user_auth_credentials"
        ),
    );
    let refused = place.try_open().expect_err("two rows");
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused:?}");
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("several rows of one device"), "{cause}");
}

/// A trigger could put back what ended.
#[tokio::test]
async fn no_trigger_in_the_file_is_fired() {
    let place = Place::sealed();
    let store = place.open();
    log_in(&store, 1, ADA).await;
    store.close().await.unwrap();
    let columns = "device_id, email, token_type, access_token, access_expiry, refresh_token, \
        refresh_expiry, rest, written, last_seen_at, dies_at";
    let old = format!("old.{}", columns.replace(", ", ", old."));
    change(
        &place,
        &format!(
            "CREATE TRIGGER revive AFTER DELETE ON user_auth_credentials BEGIN
             INSERT INTO user_auth_credentials ({columns}) VALUES ({old}); END"
        ),
    );
    let store = place.open();
    store.remove(device(1), None, EndReason::Logout, START).await.unwrap();
    let found = store.get(device(1), START).await.unwrap();
    assert!(matches!(found, Lookup::Ended(_)), "{found:?}");
}

/// A login left the session before alive that could not be read at that moment.
#[tokio::test]
async fn a_session_that_cannot_be_read_ends_when_it_is_replaced() {
    let place = Place::sealed();
    let store = place.open();
    log_in(&store, 1, ADA).await;
    log_in(&store, 2, "bob@example.org").await;
    store.close().await.unwrap();
    let flip = "UPDATE user_auth_credentials SET token_type = token_type || 'x'";
    change(&place, flip);
    let store = place.open();
    for (n, before) in [(3, 1), (4, 2)] {
        let replaces = Some(device(before));
        let login = Insert { record: record_of(n, ADA), replaces, ceiling: None };
        let outcome = store.insert(login, START).await.unwrap();
        assert!(
            matches!(outcome, InsertOutcome::Inserted { ref displaced, .. } if displaced.is_empty())
        );
    }
    let found = store.get(device(1), START).await.unwrap();
    assert!(matches!(found, Lookup::Ended(e) if e.reason == EndReason::Replaced), "{found:?}");
    let other = store.get(device(2), START).await;
    assert!(matches!(other, Err(StoreError::Unreadable { .. })), "another user's: {other:?}");
}
