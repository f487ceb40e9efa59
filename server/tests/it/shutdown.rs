//! The end of a server.

use std::time::Duration;

use reqwest::StatusCode;
use tokenkeep_server::settings::ServerSettings;
use tokio::net::TcpStream;

use crate::world::{PATIENCE, World, plain, refused};

#[tokio::test]
async fn draining_is_told_before_the_listener_closes() {
    let drain_delay = Duration::from_millis(300);
    let world = World::with(ServerSettings { drain_delay, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    world.stop.cancel();
    let answer = loop {
        let answer = world.get("/readyz").send().await.unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
    };
    refused(answer, 503, "shutting_down").await;
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "requests are served meanwhile");
    let stopped = tokio::time::timeout(PATIENCE, world.stopped).await.unwrap().unwrap();
    assert!(stopped.requests_finished && stopped.refreshes_finished);
    assert!(TcpStream::connect(world.address).await.is_err());
}

#[tokio::test]
async fn a_request_and_its_refresh_are_finished_before_the_end() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let waiting = tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send());
    world.issuer.until_running(1).await;
    world.stop.cancel();
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.issuer.open_gate();
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
    let stopped = tokio::time::timeout(PATIENCE, world.stopped).await.unwrap().unwrap();
    assert!(stopped.requests_finished && stopped.refreshes_finished);
}

#[tokio::test]
async fn a_refresh_whose_client_went_away_is_stored_before_the_end() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let waiting = tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send());
    world.issuer.until_running(1).await;
    waiting.abort();
    world.stop.cancel();
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.issuer.open_gate();
    let stopped = tokio::time::timeout(PATIENCE, world.stopped).await.unwrap().unwrap();
    assert!(stopped.refreshes_finished);
    assert_eq!(world.sessions.stats().refreshes_done, 1);
}

#[tokio::test]
async fn streams_and_idle_connections_do_not_hold_the_end_up() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let mut events = world.get("/v1/events").header("cookie", &cookie).send().await.unwrap();
    let _silent = TcpStream::connect(world.address).await.unwrap();
    world.stop.cancel();
    let stopped = tokio::time::timeout(PATIENCE, world.stopped).await.unwrap().unwrap();
    assert!(stopped.requests_finished);
    while events.chunk().await.unwrap().is_some() {}
}

#[tokio::test]
async fn the_limit_bounds_the_end() {
    let shutdown_limit = Duration::from_millis(300);
    let world = World::with(ServerSettings { shutdown_limit, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let waiting = tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send());
    world.issuer.until_running(1).await;
    world.stop.cancel();
    let stopped = tokio::time::timeout(PATIENCE, world.stopped).await.unwrap().unwrap();
    assert!(!stopped.requests_finished && !stopped.refreshes_finished);
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_refresh_has_all_the_time_that_requests_leave() {
    let shutdown_limit = Duration::from_secs(4);
    let world = World::with(ServerSettings { shutdown_limit, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let waiting = tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send());
    world.issuer.until_running(1).await;
    waiting.abort();
    world.stop.cancel();
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(shutdown_limit / 2).await;
    world.issuer.open_gate();
    let stopped = tokio::time::timeout(PATIENCE, world.stopped).await.unwrap().unwrap();
    assert!(stopped.refreshes_finished);
    assert_eq!(world.sessions.stats().refreshes_done, 1);
}
