//! Servers that share a store change their keys one after the other.

use tokenkeep_core::codec::CodecError;
use tokenkeep_core::keyring::RingError;
use tokenkeep_core::{KeyRing, SealedStore as _, StoreError, TokenStore as _};
use tokenkeep_redis::RedisStore;

use crate::server::Server;
use crate::support::{ADA, log_in, login, now};

async fn open(server: &Server, ring: &KeyRing) -> RedisStore {
    RedisStore::open(server.settings(), ring.clone()).await.unwrap()
}

/// An old ring, and the one that it was rotated to.
fn rings() -> (KeyRing, KeyRing) {
    let old = KeyRing::generate().unwrap();
    let new = old.rotated().unwrap();
    (old, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reads_what_another_seals_with_a_key_that_its_ring_file_has_by_now() {
    let server = Server::start().await;
    let (old, new) = rings();
    let one = open(&server, &old).await;
    let file = new.clone();
    let two = open(&server, &old.rereading(move || Some(file.clone()))).await;
    let without = open(&server, &old).await;
    one.take_ring(new.clone()).await.unwrap();
    let record = log_in(&one, ADA).await;
    let error = without.get(record.device_id, now()).await.unwrap_err();
    let unknown = matches!(error, StoreError::Unreadable { cause: CodecError::UnknownKey, .. });
    assert!(unknown, "{error:?}");
    assert!(two.get(record.device_id, now()).await.unwrap().live().is_some());
    assert_eq!(two.key_ids().first(), Some(&old.active()), "it opens, and seals nothing");
    without.take_ring(new).await.unwrap();
    assert!(without.get(record.device_id, now()).await.unwrap().live().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_server_seals_with_is_not_retired() {
    let server = Server::start().await;
    let (old, new) = rings();
    let (one, two) = (open(&server, &old).await, open(&server, &old).await);
    log_in(&one, ADA).await;
    let record = log_in(&two, ADA).await;
    one.take_ring(new.clone()).await.unwrap();
    one.reseal(|_| true).await.unwrap();
    let refused = one.retire(old.active()).await.unwrap_err();
    assert!(matches!(refused, RingError::SealsElsewhere(key) if key == old.active()));
    two.take_ring(new.clone()).await.unwrap();
    one.retire(old.active()).await.unwrap();
    let alone = open(&server, &new.without(old.active()).unwrap()).await;
    assert!(alone.get(record.device_id, now()).await.unwrap().live().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_closed_does_not_count_and_one_that_was_killed_does_for_a_minute() {
    let server = Server::start().await;
    let (old, new) = rings();
    let (closed, killed) = (open(&server, &old).await, open(&server, &old).await);
    log_in(&closed, ADA).await;
    closed.close().await.unwrap();
    log_in(&killed, ADA).await;
    drop(killed);
    let one = open(&server, &new).await;
    one.reseal(|_| true).await.unwrap();
    let refused = one.retire(old.active()).await.unwrap_err();
    assert!(matches!(refused, RingError::SealsElsewhere(_)), "{refused:?}");
    let meta = server.cli(&["HGETALL", "tokenkeep:meta"]);
    let sealers: Vec<_> = meta.lines().filter(|line| line.starts_with("sealer:")).collect();
    let [killed, ..] = sealers[..] else { panic!("{meta}") };
    let seconds: u64 = server.cli(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let said = |ago| format!("{} {}000000", old.active(), seconds - ago);
    server.cli(&["HSET", "tokenkeep:meta", killed, &said(30)]);
    assert!(matches!(one.retire(old.active()).await, Err(RingError::SealsElsewhere(_))));
    server.cli(&["HSET", "tokenkeep:meta", killed, &said(61)]);
    one.retire(old.active()).await.unwrap();
    assert!(!server.cli(&["HGETALL", "tokenkeep:meta"]).contains(killed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_took_a_ring_while_records_were_counted_may_have_been_overlooked() {
    let server = Server::start().await;
    let (old, new) = rings();
    let one = open(&server, &old).await;
    one.take_ring(new).await.unwrap();
    let left = format!("left:{}", old.active());
    assert_ne!(server.cli(&["HGET", "tokenkeep:meta", &left]), "");
    server.cli(&["HSET", "tokenkeep:meta", &left, "9000000000000000"]);
    let refused = one.retire(old.active()).await.unwrap_err();
    assert!(matches!(refused, RingError::SealsElsewhere(_)), "{refused:?}");
    server.cli(&["HSET", "tokenkeep:meta", &left, "1"]);
    one.retire(old.active()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_key_was_retired_seals_nothing_until_it_has_another_ring() {
    let server = Server::start().await;
    let (old, new) = rings();
    let (one, late) = (open(&server, &old).await, open(&server, &old).await);
    one.take_ring(new.clone()).await.unwrap();
    one.retire(old.active()).await.unwrap();
    let error = late.insert(login(ADA, now()), now()).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("was retired") && why.contains(&old.active().to_string()), "{why}");
    late.take_ring(new).await.unwrap();
    log_in(&late, ADA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_redis_lost_goes_on_under_its_name() {
    let server = Server::start().await;
    let (old, new) = rings();
    let (one, two) = (open(&server, &old).await, open(&server, &old).await);
    server.cli(&["FLUSHALL"]);
    let record = log_in(&one, ADA).await;
    let after = open(&server, &old).await;
    assert_eq!((after.id(), two.id()), (one.id(), one.id()));
    assert!(after.get(record.device_id, now()).await.unwrap().live().is_some());
    server.cli(&["FLUSHALL"]);
    two.take_ring(new.clone()).await.unwrap();
    assert_eq!(open(&server, &new).await.id(), one.id());
}
