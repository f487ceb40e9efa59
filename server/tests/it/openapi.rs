//! The document at `/openapi.json`, held against what the server answers.

mod contract;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokenkeep_server::settings::{LoginLimits, Rate, ServerSettings};

use crate::world::{World, device_of, header, plain};

pub use contract::{Seen, contract};

/// A request for each operation, and its status.
const OPERATIONS: [(&str, &str, u16); 31] = [
    ("POST", "/v1/register", 201),
    ("POST", "/v1/login", 200),
    ("GET", "/v1/session", 200),
    ("POST", "/v1/session/refresh", 200),
    ("GET", "/v1/devices", 200),
    ("PATCH", "/v1/devices/{id}", 200),
    ("GET", "/v1/events", 200),
    ("POST", "/api_v1/auth/register", 201),
    ("POST", "/api_v1/auth/login", 200),
    ("GET", "/authz/nginx", 200),
    ("GET", "/authz/forward", 200),
    ("GET", "/authz/envoy/{path}", 200),
    ("GET", "/oauth2/auth", 202),
    ("GET", "/oauth2/userinfo", 200),
    ("GET", "/oauth2/sign_out", 302),
    ("POST", "/oauth2/sign_out", 302),
    ("POST", "/v1/token", 200),
    ("GET", "/v1/admin/devices?email=ada@example.org", 200),
    ("GET", "/v1/admin/stats", 200),
    ("GET", "/v1/admin/events", 200),
    ("GET", "/livez", 200),
    ("GET", "/readyz", 200),
    ("GET", "/openapi.json", 200),
    ("DELETE", "/v1/devices/{id}", 204),
    ("DELETE", "/v1/devices", 200),
    ("DELETE", "/v1/devices?except=current", 200),
    ("POST", "/v1/logout", 204),
    ("DELETE", "/v1/admin/devices?email=ada@example.org", 200),
    // The store in memory has no upkeep.
    ("POST", "/v1/admin/task", 404),
    ("GET", "/v1/admin/task", 404),
    ("DELETE", "/v1/admin/task", 404),
];

/// What the request of an operation carries as its body.
fn body(path: &str) -> Option<Value> {
    match path {
        "/v1/devices/{id}" => Some(json!({"label": "laptop"})),
        _ if path.ends_with("/login") || path.ends_with("/register") => {
            Some(json!({"email": "ada@example.org", "password": "right"}))
        }
        _ => None,
    }
}

/// Asks, holds the answer against the document, and returns its status.
async fn ask(world: &World, method: &str, path: &str, cookie: &str, more: &[(&str, &str)]) -> u16 {
    let key = match (method, path.starts_with("/v1/admin")) {
        (_, false) => "token-key",
        ("GET", true) if path != "/v1/admin/task" => "read-key",
        _ => "write-key",
    };
    let device = if cookie.is_empty() { "x" } else { device_of(cookie) };
    let asked = path.replace("{id}", device).replace("{path}", "a/b");
    let credential = cookie.split_once('=').map_or("", |(_, credential)| credential);
    let mut request = world.ask(method.parse().unwrap(), &asked).bearer_auth(key);
    request = request.header("cookie", cookie).header("x-device-credential", credential);
    if path == "/oauth2/sign_out" && more.is_empty() {
        request = request.header("sec-fetch-site", "same-origin");
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    if let Some(body) = body(path) {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let mut seen = Seen::of(&answer, &asked);
    if header(&answer, "content-type") != "text/event-stream" {
        seen.body = answer.bytes().await.unwrap().to_vec();
    }
    contract().check(&method.parse().unwrap(), &seen);
    status
}

#[tokio::test]
async fn every_operation_is_answered_as_documented() {
    let world = World::new().await;
    for (method, path, status) in OPERATIONS {
        let cookie = world.login("ada@example.org").await;
        assert_eq!(ask(&world, method, path, &cookie, &[]).await, status, "{method} {path}");
    }
    let named = |(method, path, _): &(&str, &str, u16)| {
        format!("{method} {}", path.split('?').next().unwrap())
    };
    let mut asked: Vec<String> = OPERATIONS.iter().map(named).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, contract().operations(), "every operation was asked for");
}

#[tokio::test]
async fn refusals_are_documented_for_every_operation() {
    let world = World::new().await;
    let cross_site = [("sec-fetch-site", "cross-site")];
    let page = [("accept", "text/html")];
    let twice = [("host", "a"), ("host", "b")];
    for more in [&[][..], &cross_site, &page, &twice] {
        for (method, path, _) in OPERATIONS {
            ask(&world, method, path, "", more).await;
            ask(&world, method, path, "device_id=x.y", more).await;
        }
    }
    world.store.set_failing(true);
    let credential = format!("device_id={}.{}", "0".repeat(32), "A".repeat(43));
    for (method, path, _) in OPERATIONS {
        ask(&world, method, path, &credential, &[]).await;
    }
}

#[tokio::test]
async fn a_limit_that_is_met_is_told_as_documented() {
    let rate = Rate { burst: 1, every: std::time::Duration::from_secs(30) };
    let logins = LoginLimits { per_address: rate, ..LoginLimits::default() };
    let world = World::with(ServerSettings { logins, ..plain() }).await;
    for path in ["/v1/register", "/v1/login", "/api_v1/auth/register", "/api_v1/auth/login"] {
        ask(&world, "POST", path, "", &[]).await;
        assert!([200, 429].contains(&ask(&world, "POST", path, "", &[]).await));
    }
    assert_eq!(ask(&world, "POST", "/v1/register", "", &[]).await, 429);
}

#[tokio::test]
async fn the_document_is_served_at_every_door() {
    let world = World::build(plain(), tokenkeep_core::sessions::Settings::default(), true).await;
    let admin = format!("http://{}/openapi.json", world.admin.unwrap());
    for url in [world.url("/openapi.json"), admin] {
        let answer = world.http.request(Method::GET, url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "content-type"), "application/json");
        assert_eq!(answer.json::<Value>().await.unwrap()["openapi"], "3.1.0");
    }
}
