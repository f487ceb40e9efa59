//! The records of the original application, and ours for it.

use std::time::Duration;

use tokenkeep_core::{
    EndReason, KeyRing, Lookup, RemoveOutcome, ReplaceOutcome, StoreError, TimeText,
    TokenStore as _, Tokens, Version,
};
use tokenkeep_redis::RedisStore;

use crate::server::Server;
use crate::support::{ADA, ada, log_in, now, open};

const DEVICE: &str = "0123456789abcdef0123456789abcdef";

/// Writes a record as the original application does.
fn original_logs_in(server: &Server, device: &str, access: &str, seconds: u64) {
    let later = |seconds| TimeText::WithOffset.write(now() + Duration::from_secs(seconds));
    let (access_expiry, refresh_expiry) = (later(seconds / 2), later(seconds));
    server.cli(&[
        "HSET",
        device,
        "email",
        "Ada@Example.org",
        "token_type",
        "bearer",
        "access_token",
        access,
        "access_expiry",
        &access_expiry,
        "refresh_token",
        "their-refresh-token",
        "refresh_expiry",
        &refresh_expiry,
    ]);
    server.cli(&["EXPIRE", device, &seconds.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_the_original_application_is_read_and_changed() {
    let server = Server::start().await;
    let store = open(server.settings().sealing(false)).await;
    original_logs_in(&server, DEVICE, "their-access-token", 240);
    let device = DEVICE.parse().unwrap();
    let record = store.get(device, now()).await.unwrap().live().expect("it is read");
    assert_eq!(record.email, ada());
    assert_eq!(record.access_token.expose(), "their-access-token");
    assert_eq!(record.version, Version::FIRST);
    assert_eq!(store.stats(now()).await.unwrap().devices, 1);
    let mut labelled = tokenkeep_core::TokenRecord::clone(&record);
    labelled.label = Some("desk".parse().unwrap());
    let outcome = store.replace(record.version, labelled, Tokens::Kept, now()).await.unwrap();
    assert!(matches!(outcome, ReplaceOutcome::Replaced(_)), "{outcome:?}");
    // It refreshes behind our back: what it wrote is what counts.
    original_logs_in(&server, DEVICE, "their-next-token", 480);
    let record = store.get(device, now()).await.unwrap().live().unwrap();
    assert_eq!(record.access_token.expose(), "their-next-token");
    assert_eq!(record.label.as_ref().unwrap().as_str(), "desk");
    assert!(record.dies_at() > now() + Duration::from_secs(400));
    store.touch(device, now() + Duration::from_secs(1)).await.unwrap();
    let ended = store.remove(device, None, EndReason::Logout, now()).await.unwrap();
    assert!(matches!(ended, RemoveOutcome::Removed(_)), "{ended:?}");
    assert_eq!(server.cli(&["EXISTS", DEVICE]), "0", "nothing is left under the device id");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_record_is_valid_for_the_original_application() {
    let server = Server::start().await;
    let store = open(server.settings().sealing(false)).await;
    let record = log_in(&store, ADA).await;
    let key = record.device_id.to_string();
    let field = |name| server.cli(&["HGET", &key, name]);
    assert_eq!(field("email"), ADA);
    assert_eq!(field("token_type"), "bearer");
    assert_eq!(field("access_token"), record.access_token.expose());
    assert_eq!(field("refresh_token"), record.refresh_token.expose());
    for (name, expected) in
        [("access_expiry", record.access_expires_at), ("refresh_expiry", record.refresh_expires_at)]
    {
        let text = field(name);
        assert_eq!(text.len(), "2025-09-06 19:01:45.165131+00:00".len(), "{text}");
        assert_eq!(TimeText::read(&text), Ok(expected));
    }
    let expires_at: i64 = server.cli(&["PEXPIRETIME", &key]).parse().unwrap();
    let death = record.dies_at().as_unix_micros();
    let late = expires_at * 1000 - death;
    assert!((0..1_000_000).contains(&late), "the key goes {late} us after the record's death");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_original_application_wrote_is_listed_after_it_is_taken_over() {
    let server = Server::start().await;
    let store = open(server.settings().sealing(false)).await;
    let other = "f".repeat(32);
    original_logs_in(&server, DEVICE, "their-access-token", 240);
    original_logs_in(&server, &other, "their-access-token", 240);
    server.cli(&["SET", &"e".repeat(32), "no hash"]);
    assert!(store.devices_of(&ada(), now()).await.unwrap().is_empty());
    assert_eq!(store.take_over(now()).await.unwrap(), 2);
    assert_eq!(store.devices_of(&ada(), now()).await.unwrap().len(), 2);
    assert_eq!(store.take_over(now()).await.unwrap(), 0, "once is enough");
    assert_eq!(server.cli(&["HGET", DEVICE, "email"]), "Ada@Example.org", "as it was");
    let why = EndReason::EndedByUser;
    assert_eq!(store.remove_all_of(&ada(), None, why, now()).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sealing_on_nothing_is_trusted_before_it_is_taken_over() {
    let server = Server::start().await;
    let ring = KeyRing::generate().unwrap();
    let store = RedisStore::open(server.settings(), ring).await.unwrap();
    original_logs_in(&server, DEVICE, "their-access-token", 240);
    let device = DEVICE.parse().unwrap();
    let refused = store.get(device, now()).await;
    assert!(matches!(refused, Err(StoreError::Unreadable { .. })), "{refused:?}");
    assert_eq!(store.take_over(now()).await.unwrap(), 1);
    let Lookup::Live(record) = store.get(device, now()).await.unwrap() else { panic!("not live") };
    assert_eq!(record.access_token.expose(), "their-access-token");
    assert_ne!(server.cli(&["HGET", DEVICE, "access_token"]), "their-access-token", "sealed");
    assert_eq!(store.devices_of(&ada(), now()).await.unwrap().len(), 1);
    server.cli(&["HSET", DEVICE, "email", "eve@example.org"]);
    let refused = store.get(device, now()).await;
    assert!(matches!(refused, Err(StoreError::Unreadable { .. })), "{refused:?}");
}
