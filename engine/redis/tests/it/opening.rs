//! Opening: what is refused, with which sentence, and what is kept.

use tokenkeep_core::{KeyRing, Password, StoreId, TokenStore as _};
use tokenkeep_redis::{Fault, OpenError, RedisStore, Settings};

use crate::server::Server;
use crate::support::{ADA, log_in, now, open};

async fn refused(settings: Settings, ring: KeyRing) -> OpenError {
    RedisStore::open(settings, ring).await.expect_err("the store is refused")
}

fn ring() -> KeyRing {
    KeyRing::generate().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_and_who_is_not_there_are_told_apart() {
    for bad in ["", "localhost", "http://localhost", "redis//x"] {
        let error = refused(Settings::single(bad), ring()).await;
        assert!(matches!(error, OpenError::Address), "{bad}: {error:?}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", nobody.local_addr().unwrap());
    drop(nobody);
    for settings in [
        Settings::single(url.clone()),
        Settings::cluster([url.clone()]),
        Settings::sentinel([url], "mymaster"),
    ] {
        let error = refused(settings, ring()).await;
        let known = matches!(error, OpenError::Redis(Fault::Unreachable(_) | Fault::NoMaster));
        assert!(known, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_never_shown() {
    let server = Server::start_with(&["--requirepass", "canary-right"]).await;
    let wrong = server.settings().password(Password::new("canary-wrong"));
    for settings in [server.settings(), wrong] {
        let error = refused(settings, ring()).await;
        let known = matches!(error, OpenError::Redis(Fault::Unauthenticated));
        assert!(known && !format!("{error:?}").contains("canary"), "{error:?}");
    }
    let right = server.settings().password(Password::new("canary-right"));
    let store = open(right).await;
    log_in(&store, ADA).await;
    assert!(!format!("{store:?}").contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_keeps_its_name_and_its_keys() {
    let server = Server::start().await;
    let (settings, keys) = (server.settings(), ring());
    let name = StoreId::from_bytes([7; 16]);
    let fresh = settings.clone().store_id(name);
    let store = RedisStore::open(fresh, keys.clone()).await.unwrap();
    assert_eq!(store.id(), name);
    let record = log_in(&store, ADA).await;
    let error = refused(settings.clone(), ring()).await;
    assert!(matches!(error, OpenError::WrongKeyRing { .. }), "{error:?}");
    let error = refused(settings.clone().sealing(false), keys.clone()).await;
    assert!(matches!(error, OpenError::Sealed), "{error:?}");
    let rotated = keys.rotated().unwrap();
    let again = RedisStore::open(settings.clone(), rotated).await.unwrap();
    assert_eq!(again.id(), name);
    assert!(again.get(record.device_id, now()).await.unwrap().live().is_some());
    let error = refused(settings, keys).await;
    assert!(matches!(error, OpenError::KeyMissing { .. }), "a key was left out: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_and_a_damaged_name_are_refused() {
    let server = Server::start().await;
    let (settings, keys) = (server.settings(), ring());
    RedisStore::open(settings.clone(), keys.clone()).await.unwrap();
    server.cli(&["HSET", "tokenkeep:meta", "format", "2"]);
    let error = refused(settings.clone(), keys.clone()).await;
    assert!(matches!(error, OpenError::NewerFormat { format: 2 }), "{error:?}");
    server.cli(&["HSET", "tokenkeep:meta", "format", "1", "store", "xyz"]);
    let error = refused(settings, keys).await;
    assert!(matches!(error, OpenError::Damaged), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_that_open_a_fresh_store_agree_on_its_name() {
    let server = Server::start().await;
    let keys = ring();
    let opens: Vec<_> =
        (0..8).map(|_| tokio::spawn(RedisStore::open(server.settings(), keys.clone()))).collect();
    let mut names = Vec::new();
    for open in opens {
        names.push(open.await.unwrap().unwrap().id());
    }
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_with_different_prefixes_do_not_meet() {
    let server = Server::start().await;
    let error = refused(server.settings().prefix("{x}"), ring()).await;
    assert!(matches!(error, OpenError::Prefix), "{error:?}");
    let (one, other) =
        (open(server.settings().prefix("one:")).await, open(server.settings().prefix("o*:")).await);
    let record = log_in(&one, ADA).await;
    assert!(other.get(record.device_id, now()).await.unwrap().live().is_none());
    assert_eq!(other.stats(now()).await.unwrap().devices, 0);
    assert_eq!(one.stats(now()).await.unwrap().devices, 1);
}
