//! The session of the device that asks.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tokenkeep_core::testing::Fault;
use tokenkeep_core::wire::SessionBody;

use crate::world::{World, clears_cookie, device_of, header, refused};

#[tokio::test]
async fn the_standing_is_told_without_extending_anything() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.clock.advance(Duration::from_secs(100));
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!((answer.status(), header(&answer, "vary")), (StatusCode::OK, "Cookie"));
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let session: SessionBody = answer.json().await.unwrap();
    assert_eq!((session.access_seconds_left, session.session_seconds_left), (20, 140));
    world.clock.advance(Duration::from_secs(100));
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.json::<SessionBody>().await.unwrap().access_seconds_left, 0);
    assert_eq!(world.issuer.refresh_calls(), 0);
}

#[tokio::test]
async fn an_expired_session_says_so_and_takes_its_cookie_away() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.clock.advance(Duration::from_secs(240));
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert!(clears_cookie(&answer));
    let problem = refused(answer, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("expired"));
}

#[tokio::test]
async fn an_unknown_device_and_a_wrong_secret_look_the_same() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let mut looks = Vec::new();
    for device in [device_of(&cookie), "0123456789abcdef0123456789abcdef"] {
        let forged = format!("device_id={device}.{}", "A".repeat(43));
        let answer = world.get("/v1/session").header("cookie", forged).send().await.unwrap();
        assert!(clears_cookie(&answer));
        let mut problem = refused(answer, 401, "not_logged_in").await;
        problem.request_id = None;
        looks.push(problem);
    }
    assert_eq!(looks[0], looks[1]);
}

#[tokio::test]
async fn the_device_id_alone_opens_nothing() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let id = device_of(&cookie);
    for forged in [format!("device_id={id}"), format!("device_id={id}.")] {
        for path in ["/v1/session", "/v1/devices", "/v1/events", "/authz/nginx"] {
            let answer = world.get(path).header("cookie", &forged).send().await.unwrap();
            refused(answer, 401, "not_logged_in").await;
        }
    }
    let answer = world.get(&format!("/v1/session?device_id={id}")).send().await.unwrap();
    refused(answer, 401, "not_logged_in").await;
}

#[tokio::test]
async fn a_refresh_is_idempotent_within_the_cool_down() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let refresh = || world.post("/v1/session/refresh").header("cookie", &cookie).send();
    assert_eq!(refresh().await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.issuer.refresh_calls(), 0, "the login was just now");
    world.clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        let answer = refresh().await.unwrap();
        assert_eq!(answer.json::<SessionBody>().await.unwrap().access_seconds_left, 120);
    }
    assert_eq!(world.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn an_auth_server_that_is_down_logs_nobody_out() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.fail_next([Fault::NotSent]);
    let answer = world.post("/v1/session/refresh").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(header(&answer, "retry-after"), "1");
    assert!(!clears_cookie(&answer));
    refused(answer, 503, "auth_server_unavailable").await;
    let answer = world.post("/v1/session/refresh").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_verdict_of_the_auth_server_ends_the_session() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.fail_next([Fault::Refused]);
    let answer = world.post("/v1/session/refresh").header("cookie", &cookie).send().await.unwrap();
    assert!(clears_cookie(&answer));
    let problem = refused(answer, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("refused"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_with_one_dead_token_cost_one_refresh() {
    let world = Arc::new(World::new().await);
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let asking: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send()))
        .collect();
    world.issuer.until_running(1).await;
    world.issuer.open_gate();
    for answer in asking {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "authorization"), "Bearer access-1-2");
    }
    assert_eq!(world.issuer.refresh_calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_neither_lose_nor_repeat_the_refresh() {
    let world = Arc::new(World::new().await);
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let mut asking: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send()))
        .collect();
    world.issuer.until_running(1).await;
    // The one that started the refresh may well be among those who go.
    for gone in asking.drain(..500) {
        gone.abort();
    }
    world.issuer.open_gate();
    for answer in asking {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(world.issuer.refresh_calls(), 1);
}
