//! Logout.

use reqwest::StatusCode;

use crate::world::{World, clears_cookie, header, refused};

#[tokio::test]
async fn a_logout_ends_the_session_at_once() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.post("/v1/logout").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert!(clears_cookie(&answer));
    assert_eq!(header(&answer, "clear-site-data"), r#""cache", "storage""#);
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    let problem = refused(answer, 401, "session_ended").await;
    assert_eq!(problem.reason.as_deref(), Some("logout"));
}

#[tokio::test]
async fn a_logout_works_without_a_session_and_with_a_broken_cookie() {
    let world = World::new().await;
    let unknown = format!("device_id={}.{}", "ab".repeat(16), "A".repeat(43));
    for cookie in ["", "device_id=", "device_id=rubbish", "device_id=a; device_id=b", &unknown] {
        let answer = world.post("/v1/logout").header("cookie", cookie).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{cookie:?}");
        assert!(clears_cookie(&answer));
    }
    let answer = world.post("/v1/logout").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn only_a_session_that_ends_counts_as_a_logout() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let credential = |cookie: &str| cookie.split_once('=').unwrap().1.parse().unwrap();
    let forged = format!("{}.{}", cookie.split_once('.').unwrap().0, "A".repeat(43));
    for (cookie, ended) in [(&forged, false), (&cookie, true), (&cookie, false)] {
        assert_eq!(world.sessions.logout(&credential(cookie)).await.unwrap(), ended);
    }
}

#[tokio::test]
async fn a_logout_that_is_not_durable_is_not_answered_as_one() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.store.set_failing(true);
    let answer = world.post("/v1/logout").header("cookie", &cookie).send().await.unwrap();
    assert!(!clears_cookie(&answer));
    refused(answer, 503, "store_unavailable").await;
    world.store.set_failing(false);
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_logout_tells_the_auth_server() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    world.post("/v1/logout").header("cookie", &cookie).send().await.unwrap();
    world.sessions.shutdown().await;
    assert_eq!(world.issuer.revoked(), ["refresh-1-1"]);
}
