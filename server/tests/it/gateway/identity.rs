//! Who the upstream hears it is, and nobody else.

use reqwest::StatusCode;
use serde_json::Value;
use tokenkeep_server::settings::ServerSettings;

use super::{proxy, world_before};
use crate::api::{Api, seen};
use crate::world::{World, cookie_of, header, refused};

#[tokio::test]
async fn a_request_goes_on_with_the_token_and_without_the_cookie() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let request =
        world.post("/api/things?x=1&y=%20").header("cookie", format!("a=b; {cookie}; c=d"));
    let answer = request.body("hello").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((header(&answer, "vary"), header(&answer, "cache-control")), ("Cookie", "no-store"));
    assert_eq!(cookie_of(&answer), None, "an upstream plants no device cookie");
    assert_eq!(header(&answer, "set-cookie"), "theme=dark");
    assert_eq!(header(&answer, "x-internal"), "<absent>");
    let got: Value = answer.json().await.unwrap();
    assert_eq!((&got["method"], &got["body"]), (&"POST".into(), &"hello".into()));
    assert_eq!(got["path"], "/api/things?x=1&y=%20");
    assert_eq!(seen(&got, "authorization"), ["Bearer access-1-1"]);
    assert_eq!(seen(&got, "cookie"), ["a=b; c=d"]);
    assert_eq!(seen(&got, "content-length"), ["5"]);
    assert_eq!(seen(&got, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&got, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&got, "x-forwarded-host"), [world.address.to_string()]);
    assert_eq!(seen(&got, "host"), [api.address.to_string()]);
}

#[tokio::test]
async fn a_client_smuggles_no_identity() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let forged = [
        ("authorization", "Bearer forged"),
        ("x-auth-request-email", "root@example.org"),
        ("x_auth_request_email", "root@example.org"),
        ("x-auth_request-user", "root"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-access-token", "forged"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-real_ip", "6.6.6.6"),
        ("x_user_id", "root"),
        ("x-original-url", "/root"),
        ("x_rewrite_url", "/root"),
        ("x-http-method-override", "root"),
        ("content_length", "root"),
        ("transfer_encoding", "root"),
        ("remote-user", "root"),
        ("x-remote-user", "root"),
        ("x-device-credential", "forged"),
        ("proxy-authorization", "Basic forged"),
        ("te", "trailers"),
        ("x-mine", "1"),
    ];
    let request =
        world.get("/api/x").header("cookie", &cookie).header("connection", "x-mine, close");
    let request =
        forged.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let got: Value = request.header("x-kept", "yes").send().await.unwrap().json().await.unwrap();
    let text = got.to_string();
    for forged in ["forged", "root", "6.6.6.6", "evil.example", "x-mine", "trailers"] {
        assert!(!text.contains(forged), "{forged} came through: {text}");
    }
    assert_eq!(seen(&got, "x-kept"), ["yes"]);
    assert_eq!(seen(&got, "cookie"), Vec::<&str>::new());
}

#[tokio::test]
async fn an_unsafe_request_from_another_site_does_not_go_on() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let request =
        world.post("/api/x").header("cookie", &cookie).header("sec-fetch-site", "cross-site");
    refused(request.send().await.unwrap(), 403, "cross_site").await;
    assert_eq!(api.times_asked(), 0);
}

#[tokio::test]
async fn an_upstream_hears_of_https_where_the_cookie_needs_it() {
    let api = Api::start().await;
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, ..ServerSettings::default() }).await;
    let cookie = world.login("ada@example.org").await;
    let request = world.get("/api/x").header("cookie", &cookie).header("x-forwarded-proto", "http");
    let got: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen(&got, "x-forwarded-proto"), ["https"]);
}
