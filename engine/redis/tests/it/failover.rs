//! Servers die, are paused, replaced and emptied under load: nothing acknowledged that they kept is
//! lost, and the store goes on by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokenkeep_core::{
    DeviceId, InsertOutcome, Lookup, Password, ReplaceOutcome, TokenRecord, TokenStore as _,
    Tokens, Version,
};
use tokenkeep_redis::{Fault, RedisStore};

use crate::server::{Cluster, Minded, Server};
use crate::support::{ADA, SHORT, ada, fault, log_in, login, now, open, recovers};

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
    all_are_there(&store, writers).await;
}

type Writers = Vec<tokio::task::JoinHandle<(Acknowledged, String)>>;

/// Everything that was acknowledged is there, and listed.
async fn all_are_there(store: &RedisStore, writers: Writers) {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_dies_or_hangs_is_replaced() {
    for hangs in [false, true] {
        let mut minded = Minded::start().await;
        let store = open(minded.settings().timeouts(SHORT, SHORT)).await;
        let record = log_in(&store, ADA).await;
        minded.replicates(&record.device_id.to_string()).await;
        if hangs {
            minded.master().pause(true);
        } else {
            minded.master().kill();
        }
        let error = store.check_writable().await.unwrap_err();
        let known =
            matches!(fault(&error), Fault::Unreachable(_) | Fault::TimedOut | Fault::NoMaster);
        assert!(known, "{error:?}");
        minded.promotes().await;
        recovers(&store).await;
        assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
        let second = log_in(&store, ADA).await;
        if hangs {
            // It still takes itself for the master, until the sentinel tells it.
            minded.master().pause(false);
        }
        assert!(store.get(second.device_id, now()).await.unwrap().live().is_some());
        assert_eq!(store.devices_of(&ada(), now()).await.unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_have_a_login_of_their_own() {
    let mut minded = Minded::start_with_logins().await;
    let right = minded.settings().password(Password::new("canary-redis"));
    let wrong = Some(Password::new("canary-wrong"));
    for password in [None, wrong] {
        let mut settings = right.clone();
        if let Some(password) = password {
            settings = settings.sentinel_login(Some("minder".to_owned()), password);
        }
        let ring = tokenkeep_core::KeyRing::generate().unwrap();
        let error = RedisStore::open(settings, ring).await.unwrap_err();
        let known = matches!(error, tokenkeep_redis::OpenError::Redis(Fault::Unauthenticated));
        assert!(known && !format!("{error:?}").contains("canary"), "{error:?}");
    }
    let password = Password::new("canary-sentinel");
    let settings = right.sentinel_login(Some("minder".to_owned()), password);
    let store = open(settings.timeouts(SHORT, SHORT)).await;
    let record = log_in(&store, ADA).await;
    minded.replicates(&record.device_id.to_string()).await;
    minded.master().kill();
    minded.promotes().await;
    recovers(&store).await;
    assert!(store.get(record.device_id, now()).await.unwrap().live().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_under_load_and_nothing_is_lost() {
    let cluster = Cluster::start().await;
    let store = open(cluster.settings()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|number| tokio::spawn(write(store.clone(), number, Arc::clone(&stop))))
        .collect();
    let mut moving = cluster.reshard(100).spawn().expect("redis-cli is there");
    let moved = loop {
        if let Some(status) = moving.try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(moved.success(), "{moved:?}");
    stop.store(true, Ordering::Relaxed);
    all_are_there(&store, writers).await;
    store.check_writable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_the_place_of_a_node_that_dies() {
    let mut cluster = Cluster::start_alert().await;
    cluster.add_replica().await;
    let store = open(cluster.settings().timeouts(SHORT, Duration::from_secs(2))).await;
    let mut devices = Vec::new();
    for number in 0..30 {
        devices.push(log_in(&store, &format!("user-{number}@example.org")).await.device_id);
    }
    assert_eq!(cluster.nodes[0].cli(&["WAIT", "1", "20000"]), "1", "the replica has it all");
    cluster.nodes[0].kill();
    let mut writable = store.check_writable().await;
    for _ in 0..500 {
        if writable.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        writable = store.check_writable().await;
    }
    writable.unwrap();
    for device in devices {
        assert!(store.get(device, now()).await.unwrap().live().is_some(), "{device} is lost");
    }
}
