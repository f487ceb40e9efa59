//! Redis fails in every way that it knows: one clear sentence each, and the store recovers.

use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{
    DeviceId, HolderId, LeaseOutcome, Password, StoreError, TokenStore as _, Version,
};
use tokenkeep_redis::{Fault, RedisStore};

use crate::server::{Cluster, Server};
use crate::support::{ADA, SHORT, fault, log_in, login, now, open, recovers};

/// The fault of a write.
async fn write_fails(store: &RedisStore) -> StoreError {
    store.insert(login(ADA, now()), now()).await.expect_err("the write fails")
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
    let settings = server.settings().user("tk").password(Password::new("pw"));
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

/// Cuts all connections of the store, so that it has to make another one.
fn cut(server: &Server) {
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loads_is_named_and_used_when_it_is_through() {
    let slow =
        ["--enable-debug-command", "local", "--loading-process-events-interval-bytes", "1024"];
    let server = Arc::new(Server::start_with(&slow).await);
    let store = open(server.settings()).await;
    let record = log_in(&store, ADA).await;
    server.cli(&["DEBUG", "POPULATE", "1000", "filler", "100"]);
    server.cli(&["CONFIG", "SET", "key-load-delay", "50000"]);
    let reloading = Arc::clone(&server);
    let reload = tokio::task::spawn_blocking(move || reloading.cli(&["DEBUG", "RELOAD"]));
    let error = loop {
        if let Err(error) = store.check_writable().await {
            break error;
        }
    };
    assert!(matches!(fault(&error), Fault::Loading), "{error:?}");
    server.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    assert_eq!(reload.await.unwrap(), "OK");
    recovers(&store).await;
    assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_save_is_named() {
    let server = Server::start_with(&["--save", "36000 1000000"]).await;
    let store = open(server.settings()).await;
    // Where the file should be, there is a directory.
    let file = server.directory().join("dump.rdb");
    std::fs::create_dir(&file).unwrap();
    let said = |what: &str| server.cli(&["INFO", "persistence"]).contains(what);
    server.cli(&["BGSAVE"]);
    while !said("rdb_last_bgsave_status:err") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = write_fails(&store).await;
    assert!(matches!(fault(&error), Fault::CannotSave), "{error:?}");
    std::fs::remove_dir(&file).unwrap();
    server.cli(&["BGSAVE"]);
    recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_its_replicas_is_named() {
    let server = Server::start().await;
    let store = open(server.settings()).await;
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = write_fails(&store).await;
    assert!(matches!(fault(&error), Fault::NoReplicas), "{error:?}");
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_answer_without_its_master_is_named() {
    let server = Server::start_with(&["--replica-serve-stale-data", "no"]).await;
    let store = open(server.settings()).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.get(DeviceId::random().unwrap(), now()).await.unwrap_err();
    assert!(matches!(fault(&error), Fault::ReadOnly), "{error:?}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    recovers(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_is_named_and_never_shown() {
    let server = Server::start().await;
    server.cli(&["ACL", "SETUSER", "tk", "on", ">canary-old", "~*", "+@all"]);
    let settings = server.settings().user("tk").password(Password::new("canary-old"));
    let (store, nobody) = (open(settings).await, open(server.settings().prefix("x:")).await);
    for (acl, store) in [
        (["ACL", "SETUSER", "tk", "resetpass", ">canary-new"], &store),
        (["ACL", "SETUSER", "default", "resetpass", ">canary-new"], &nobody),
    ] {
        server.cli(&acl[..3]);
        let words: Vec<&str> = acl.to_vec();
        server.cli(&words);
        cut(&server);
        let error = write_fails(store).await;
        assert!(matches!(fault(&error), Fault::Unauthenticated), "{error:?}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        if acl[2] == "tk" {
            server.cli(&["ACL", "SETUSER", "tk", "resetpass", ">canary-old"]);
            recovers(store).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_a_hole_is_named() {
    let cluster = Cluster::start().await;
    let store = open(cluster.settings().timeouts(SHORT, Duration::from_secs(2))).await;
    let has_first = |line: &str| line.contains("myself") && line.contains(" 0-");
    let is_owner = |node: &&Server| node.cli(&["CLUSTER", "NODES"]).lines().any(has_first);
    let owner = cluster.nodes.iter().find(is_owner).expect("one has the first slot");
    for node in &cluster.nodes {
        node.cli(&["CLUSTER", "DELSLOTS", "0"]);
    }
    let error = store.check_writable().await.unwrap_err();
    assert!(matches!(fault(&error), Fault::ClusterDown), "{error:?}");
    owner.cli(&["CLUSTER", "ADDSLOTS", "0"]);
    recovers(&store).await;
}
