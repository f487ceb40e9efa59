//! Redis fails in every way that it knows: one clear sentence each, and the store recovers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokenkeep_core::{
    DeviceId, HolderId, InsertOutcome, LeaseOutcome, Lookup, ReplaceOutcome, StoreError,
    TokenRecord, TokenStore as _, Tokens, Version,
};
use tokenkeep_redis::{Fault, RedisStore};

use crate::server::{Cluster, Minded, Server};
use crate::support::{ADA, ada, fault, log_in, login, now, open};

const SHORT: Duration = Duration::from_millis(300);

/// The fault of a write.
async fn write_fails(store: &RedisStore) -> StoreError {
    store.insert(login(ADA, now()), now()).await.expect_err("the write fails")
}

/// Logs in as soon as the store takes it.
async fn recovers(store: &RedisStore) {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_is_named_and_reads_go_on() {
    let server = Server::start().await;
    let store = open(server.settings()).await;
    let record = log_in(&store, ADA).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = write_fails(&store).await;
    assert!(matches!(fault(&error), Fault::OutOfMemory), "{error:?}");
    assert!(matches!(fault(&store.check_writable().await.unwrap_err()), Fault::OutOfMemory));
    assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_named_and_left_when_it_is_master_again() {
    let server = Server::start().await;
    let store = open(server.settings()).await;
    let record = log_in(&store, ADA).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = write_fails(&store).await;
    assert!(matches!(fault(&error), Fault::ReadOnly), "{error:?}");
    assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_permission_is_told() {
    let server = Server::start().await;
    server.cli(&["ACL", "SETUSER", "tk", "on", ">pw", "~*", "+@all"]);
    let settings = server.settings().user("tk").password(tokenkeep_core::Password::new("pw"));
    let store = open(settings).await;
    log_in(&store, ADA).await;
    server.cli(&["ACL", "SETUSER", "tk", "-set"]);
    let error = store.check_writable().await.unwrap_err();
    assert!(matches!(fault(&error), Fault::NotPermitted), "{error:?}");
    server.cli(&["ACL", "SETUSER", "tk", "+set"]);
    store.check_writable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_not_granted_by_a_redis_that_is_paused() {
    let server = Server::start().await;
    let store = open(server.settings().timeouts(SHORT, SHORT)).await;
    let record = log_in(&store, ADA).await;
    let (one, other) = (HolderId::from_bytes([1; 16]), HolderId::from_bytes([2; 16]));
    let (at, until) = (now(), now() + Duration::from_secs(60));
    server.pause(true);
    let error = store.lease(record.device_id, Version::FIRST, one, until, at).await.unwrap_err();
    assert!(matches!(fault(&error), Fault::TimedOut), "{error:?}");
    server.pause(false);
    recovers(&store).await;
    // The call may have been carried out after the pause: then its owner has it, nobody else.
    let lease = |holder| store.lease(record.device_id, Version::FIRST, holder, until, at);
    let LeaseOutcome::Granted(granted) = lease(one).await.unwrap() else { panic!("not granted") };
    assert!(!granted.refresh_intent.unwrap().uncertain, "it was asked for in vain at most");
    let LeaseOutcome::Granted(again) = lease(one).await.unwrap() else { panic!("not granted") };
    assert!(!again.refresh_intent.unwrap().uncertain, "the same lease, asked for twice");
    assert!(matches!(lease(other).await.unwrap(), LeaseOutcome::Held { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_holds_writes_back_times_out_and_recovers() {
    let server = Server::start().await;
    let store = open(server.settings().timeouts(SHORT, SHORT)).await;
    server.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let error = write_fails(&store).await;
    assert!(matches!(fault(&error), Fault::TimedOut), "{error:?}");
    server.cli(&["CLIENT", "UNPAUSE"]);
    recovers(&store).await;
}

/// What was acknowledged of each device: its version.
type Acknowledged = HashMap<DeviceId, Version>;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_when_redis_is_killed_under_load() {
    let mut server = Server::start().await;
    let store = open(server.settings().timeouts(SHORT, Duration::from_secs(2))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|number| tokio::spawn(write(store.clone(), number, Arc::clone(&stop))))
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill();
        let error = store.get(DeviceId::random().unwrap(), now()).await.unwrap_err();
        assert!(matches!(fault(&error), Fault::Unreachable(_)), "{error:?}");
        server.start_again().await;
        recovers(&store).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let (acknowledged, email) = writer.await.unwrap();
        assert!(!acknowledged.is_empty());
        let listed = store.devices_of(&email.parse().unwrap(), now()).await.unwrap();
        for (device, version) in acknowledged {
            let lookup = store.get(device, now()).await.unwrap();
            let Lookup::Live(record) = lookup else { panic!("{device} is lost: {lookup:?}") };
            assert!(record.version >= version, "a refresh of {device} is lost");
            assert!(listed.iter().any(|record| record.device_id == device), "not listed");
        }
    }
}

/// Logs in and refreshes until it is told to stop; returns what was acknowledged.
async fn write(store: RedisStore, number: u8, stop: Arc<AtomicBool>) -> (Acknowledged, String) {
    let email = format!("user-{number}@example.org");
    let mut acknowledged = Acknowledged::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(InsertOutcome::Inserted { record, .. }) =
            store.insert(login(&email, now()), now()).await
        else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        acknowledged.insert(record.device_id, record.version);
        let next = TokenRecord::clone(&record);
        let replaced = store.replace(record.version, next, Tokens::Renewed, now()).await;
        if let Ok(ReplaceOutcome::Replaced(record)) = replaced {
            acknowledged.insert(record.device_id, record.version);
        }
    }
    (acknowledged, email)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_sentinels_are_asked_again() {
    let minded = Minded::start().await;
    let store = open(minded.settings()).await;
    let record = log_in(&store, ADA).await;
    minded.replicates(&record.device_id.to_string()).await;
    minded.fail_over().await;
    recovers(&store).await;
    assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
    log_in(&store, ADA).await;
    let listed = store.devices_of(&ada(), now()).await.unwrap();
    assert_eq!(listed.len(), 2, "the index was replicated before the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_one_of_its_nodes_fails_and_recovers() {
    let mut cluster = Cluster::start().await;
    let store = open(cluster.settings().timeouts(SHORT, Duration::from_secs(1))).await;
    let record = log_in(&store, ADA).await;
    cluster.nodes[0].kill();
    let mut failures = 0;
    for _ in 0..16 {
        if let Err(error) = store.get(DeviceId::random().unwrap(), now()).await {
            failures += 1;
            let fault = fault(&error);
            let known =
                matches!(fault, Fault::Unreachable(_) | Fault::ClusterDown | Fault::TimedOut);
            assert!(known, "{fault:?}");
        }
    }
    assert!(failures > 0, "a third of the slots is gone");
    cluster.nodes[0].start_again().await;
    recovers(&store).await;
    for _ in 0..500 {
        if let Ok(records) = store.devices_of(&ada(), now()).await {
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].device_id, record.device_id);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the cluster does not recover");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_writable_if_all_of_its_masters_are() {
    let cluster = Cluster::start().await;
    let store = open(cluster.settings()).await;
    store.check_writable().await.unwrap();
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = store.check_writable().await.expect_err("one of them is full");
        assert!(matches!(fault(&error), Fault::OutOfMemory), "{error:?}");
        node.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        store.check_writable().await.unwrap();
    }
}
