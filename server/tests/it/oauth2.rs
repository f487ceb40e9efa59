//! The endpoints of oauth2-proxy.

use reqwest::{Response, StatusCode};
use tokenkeep_server::settings::ServerSettings;

use crate::world::{World, clears_cookie, device_of, header, plain, refused};

const SIGN_OUT: &str = "/oauth2/sign_out";

async fn sign_out(world: &World, cookie: &str, site: Option<&str>, path: &str) -> Response {
    let request = world.get(path).header("cookie", cookie);
    let request = match site {
        Some(site) => request.header("sec-fetch-site", site),
        None => request,
    };
    request.send().await.unwrap()
}

async fn is_logged_in(world: &World, cookie: &str) -> bool {
    let answer = world.get("/v1/session").header("cookie", cookie).send().await.unwrap();
    answer.status() == StatusCode::OK
}

#[tokio::test]
async fn a_proxy_is_told_who_it_is_as_oauth2_proxy_tells_it() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let smuggled = world.get("/oauth2/auth").header("x-auth-request-groups", "admins");
    let answer = smuggled.header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    for (name, value) in [
        ("authorization", "Bearer access-1-1"),
        ("x-auth-request-access-token", "access-1-1"),
        ("x-auth-request-user", "ada@example.org"),
        ("x-auth-request-email", "ada@example.org"),
        ("x-auth-request-device", device_of(&cookie)),
        ("x-auth-request-groups", ""),
        ("x-auth-request-preferred-username", ""),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(header(&answer, name), value, "{name}");
    }
}

#[tokio::test]
async fn a_refusal_has_every_header_of_an_identity_and_nothing_in_them() {
    let world = World::new().await;
    let answer = world.get("/oauth2/auth").header("cookie", "device_id=x").send().await.unwrap();
    for name in ["authorization", "access-token", "user", "email", "device", "groups"] {
        let name = match name {
            "authorization" => name.to_owned(),
            name => format!("x-auth-request-{name}"),
        };
        assert_eq!(answer.headers().get(&name).unwrap(), "", "{name}");
    }
    refused(answer, 401, "not_logged_in").await;
}

#[tokio::test]
async fn a_restriction_that_is_not_known_opens_nothing() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    for query in ["allowed_groups=admins", "allowed_emails=bob@example.org", "x"] {
        let asked = world.get(&format!("/oauth2/auth?{query}")).header("cookie", &cookie);
        refused(asked.send().await.unwrap(), 400, "bad_request").await;
    }
}

#[tokio::test]
async fn a_page_is_told_who_is_logged_in() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let asked = world.get("/oauth2/userinfo").header("cookie", &cookie);
    let body: serde_json::Value = asked.send().await.unwrap().json().await.unwrap();
    let expected = serde_json::json!({"user": "ada@example.org", "email": "ada@example.org"});
    assert_eq!(body, expected);
    refused(world.get("/oauth2/userinfo").send().await.unwrap(), 401, "not_logged_in").await;
}

#[tokio::test]
async fn a_link_on_this_site_logs_out_and_one_elsewhere_does_not() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    for site in [None, Some("cross-site"), Some("same-site"), Some("")] {
        refused(sign_out(&world, &cookie, site, SIGN_OUT).await, 403, "cross_site").await;
        let posted = world.post(SIGN_OUT).header("cookie", &cookie);
        let posted = posted.header("sec-fetch-site", site.unwrap_or("cross-site"));
        refused(posted.send().await.unwrap(), 403, "cross_site").await;
    }
    let headed = world.ask(reqwest::Method::HEAD, SIGN_OUT).header("cookie", &cookie);
    let headed = headed.header("sec-fetch-site", "none").send().await.unwrap();
    assert_eq!(headed.status(), StatusCode::METHOD_NOT_ALLOWED, "it would change something");
    assert!(is_logged_in(&world, &cookie).await);
    let answer = sign_out(&world, &cookie, Some("same-origin"), SIGN_OUT).await;
    assert_eq!((answer.status(), header(&answer, "location")), (StatusCode::FOUND, "/"));
    assert!(clears_cookie(&answer));
    assert!(!is_logged_in(&world, &cookie).await);
}

#[tokio::test]
async fn the_way_on_leads_to_configured_origins_only() {
    let settings = ServerSettings {
        public_origins: vec!["https://app.example.org".into()],
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..plain()
    };
    let world = World::with(settings).await;
    for (rd, location) in [
        ("/bye?a=b", "/bye?a=b"),
        ("https://app.example.org", "https://app.example.org"),
        ("https://app.example.org/bye", "https://app.example.org/bye"),
        ("https://app.example.org.evil.example/", "/"),
        ("https://app.example.org@evil.example/", "/"),
        ("https://app.example.org//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("", "/"),
    ] {
        let query = serde_urlencoded::to_string([("rd", rd)]).unwrap();
        let answer = sign_out(&world, "", Some("none"), &format!("{SIGN_OUT}?{query}")).await;
        assert_eq!(header(&answer, "location"), location, "{rd:?}");
    }
    let said = world.get(SIGN_OUT).header("sec-fetch-site", "none");
    let answer = said.header("x-auth-request-redirect", "/bye").send().await.unwrap();
    assert_eq!(header(&answer, "location"), "/bye", "a proxy may say it");
}

#[tokio::test]
async fn nothing_is_there_unless_it_is_asked_for() {
    let world = World::with(ServerSettings { oauth2_paths: false, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    for path in ["/oauth2/auth", "/oauth2/userinfo", SIGN_OUT, "/oauth2/x"] {
        refused(sign_out(&world, &cookie, Some("none"), path).await, 404, "not_found").await;
    }
    assert!(is_logged_in(&world, &cookie).await);
}
