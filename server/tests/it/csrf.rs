//! Requests from other sites.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokenkeep_server::settings::ServerSettings;

use crate::world::{World, plain, refused};

#[tokio::test]
async fn unsafe_requests_from_another_site_are_refused() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    for (method, path) in [
        (Method::POST, "/v1/login"),
        (Method::POST, "/v1/register"),
        (Method::POST, "/v1/logout"),
        (Method::POST, "/v1/session/refresh"),
        (Method::DELETE, "/v1/devices"),
        (Method::DELETE, "/v1/devices/0123456789abcdef0123456789abcdef"),
        (Method::PATCH, "/v1/devices/0123456789abcdef0123456789abcdef"),
        (Method::POST, "/v1/admin/users"),
        (Method::PUT, "/v1/admin/devices/"),
    ] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let request = world.ask(method.clone(), path).header("cookie", &cookie);
            let body = json!({"email": "ada@example.org", "password": "right"});
            let answer = request.header(name, value).json(&body).send().await.unwrap();
            assert!(answer.headers().get("set-cookie").is_none());
            refused(answer, 403, "cross_site").await;
        }
    }
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "the session was not touched");
}

#[tokio::test]
async fn this_site_and_configured_origins_are_let_through() {
    let origins = vec!["https://app.example.org".to_owned()];
    let world = World::with(ServerSettings { public_origins: origins, ..plain() }).await;
    let own = format!("http://{}", world.address);
    for headers in [
        vec![("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "none")],
        vec![("origin", own.as_str())],
        vec![("origin", "https://app.example.org"), ("sec-fetch-site", "same-site")],
        vec![],
    ] {
        let mut request = world.post("/v1/logout");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn safe_requests_are_let_through_from_anywhere() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let request = world.get("/v1/session").header("sec-fetch-site", "cross-site");
    let answer = request.header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
