//! The dialects of reverse proxies.

use reqwest::{Method, Response, StatusCode};
use tokenkeep_core::testing::Fault;
use tokenkeep_server::settings::ServerSettings;

use crate::world::{World, clears_cookie, device_of, header, plain, refused};

async fn behind_a_proxy() -> World {
    World::with(ServerSettings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        login_page: Some("https://id.example.org/login".into()),
        public_origins: vec!["https://app.example.org".into()],
        ..plain()
    })
    .await
}

#[track_caller]
fn check_identity(answer: &Response, cookie: Option<&str>) {
    let device = cookie.map_or("", device_of);
    let (token, email) = match cookie {
        Some(_) => ("Bearer access-1-1", "ada@example.org"),
        None => ("", ""),
    };
    assert_eq!(header(answer, "authorization"), token);
    assert_eq!(header(answer, "x-auth-request-email"), email);
    assert_eq!(header(answer, "x-auth-request-device"), device);
    assert_eq!(header(answer, "cache-control"), "no-store");
}

const DIALECTS: [&str; 4] =
    ["/authz/nginx", "/authz/forward", "/authz/envoy/", "/authz/envoy/a/b?c"];

#[tokio::test]
async fn every_dialect_says_who_it_is() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    for path in DIALECTS {
        let smuggled = world.get(path).header("x-auth-request-email", "root@example.org");
        let answer = smuggled.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        check_identity(&answer, Some(&cookie));
        assert!(answer.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_refusal_carries_every_identity_header_empty() {
    let world = World::new().await;
    for path in DIALECTS {
        let answer = world.get(path).header("cookie", "device_id=x").send().await.unwrap();
        check_identity(&answer, None);
        assert!(clears_cookie(&answer));
        refused(answer, 401, "not_logged_in").await;
    }
}

#[tokio::test]
async fn nginx_gets_no_redirect_but_the_address_of_the_login_page() {
    let world = behind_a_proxy().await;
    let browser = || world.get("/authz/nginx").header("accept", "text/html");
    let answer = browser().header("x-original-uri", "/a?b=c").send().await.unwrap();
    assert_eq!(header(&answer, "location"), "https://id.example.org/login?rd=%2Fa%3Fb%3Dc");
    check_identity(&answer, None);
    refused(answer, 401, "not_logged_in").await;
    let answer = browser().header("x-original-uri", "//evil.example").send().await.unwrap();
    assert_eq!(header(&answer, "location"), "https://id.example.org/login");
}

#[tokio::test]
async fn forward_sends_browsers_to_the_login_page_and_programs_a_401() {
    let world = behind_a_proxy().await;
    let ask = |headers: &[(&'static str, &'static str)]| {
        let request = world.get("/authz/forward").header("x-forwarded-uri", "/a");
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send()
    };
    let html = ("accept", "text/html,*/*;q=0.8");
    let answer = ask(&[html]).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(header(&answer, "location"), "https://id.example.org/login?rd=%2Fa");
    check_identity(&answer, None);
    for program in [
        vec![],
        vec![("accept", "application/json")],
        vec![html, ("x-requested-with", "XMLHttpRequest")],
        vec![html, ("x-forwarded-method", "POST")],
    ] {
        refused(ask(&program).await.unwrap(), 401, "not_logged_in").await;
    }
}

#[tokio::test]
async fn the_way_back_leads_to_configured_origins_only() {
    let world = behind_a_proxy().await;
    for (host, uri, rd) in [
        ("app.example.org", "/a", "?rd=https%3A%2F%2Fapp.example.org%2Fa"),
        ("evil.example", "/a", "?rd=%2Fa"),
        ("app.example.org", "//evil.example", ""),
        ("app.example.org", "/\\evil.example", ""),
        ("app.example.org@evil.example", "/a", "?rd=%2Fa"),
    ] {
        let request = world.get("/authz/forward").header("accept", "text/html");
        let request = request.header("x-forwarded-proto", "https").header("x-forwarded-host", host);
        let answer = request.header("x-forwarded-uri", uri).send().await.unwrap();
        assert_eq!(header(&answer, "location"), format!("https://id.example.org/login{rd}"));
    }
}

#[tokio::test]
async fn what_the_client_has_said_to_the_proxy_counts_for_nothing() {
    let world = behind_a_proxy().await;
    let page = "https://id.example.org/login";
    let ask = |headers: &[(&'static str, &'static str)]| {
        let request = world.get("/authz/forward").header("accept", "text/html");
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send()
    };
    let host = "x-forwarded-host";
    for (headers, rd) in [
        (vec![(host, "app.example.org, evil.example")], "?rd=%2Fa%2Cb"),
        (
            vec![(host, "evil.example, app.example.org")],
            "?rd=https%3A%2F%2Fapp.example.org%2Fa%2Cb",
        ),
        (vec![(host, "app.example.org"), (host, "evil.example")], "?rd=%2Fa%2Cb"),
        (vec![("x-forwarded-uri", "/forged")], ""),
    ] {
        let uri = ("x-forwarded-uri", "/a,b");
        let all = [vec![("x-forwarded-proto", "http, https")], headers.clone(), vec![uri]].concat();
        let answer = ask(&all).await.unwrap();
        assert_eq!(header(&answer, "location"), format!("{page}{rd}"), "{headers:?}");
    }
    let answer =
        world.get("/authz/nginx").header("x-original-uri", "/a?b=c,d").send().await.unwrap();
    assert_eq!(header(&answer, "location"), format!("{page}?rd=%2Fa%3Fb%3Dc%2Cd"));
}

#[tokio::test]
async fn a_stranger_cannot_say_what_was_forwarded() {
    let world = World::with(ServerSettings { login_page: Some("/login".into()), ..plain() }).await;
    let request = world.get("/authz/forward").header("accept", "text/html");
    let answer = request.header("x-forwarded-uri", "/a").send().await.unwrap();
    assert_eq!(header(&answer, "location"), "/login");
    let answer = world.get("/authz/nginx").header("x-original-uri", "/a").send().await.unwrap();
    assert_eq!(header(&answer, "location"), "/login");
}

#[tokio::test]
async fn envoy_asks_with_any_method_and_path() {
    let world = behind_a_proxy().await;
    let cookie = world.login("ada@example.org").await;
    for method in ["GET", "POST", "DELETE", "OPTIONS", "PROPFIND"] {
        let method: Method = method.parse().unwrap();
        let path = "/authz/envoy/a/..%2f/b//c?d=e";
        let request = world.ask(method, path).header("origin", "https://evil.example");
        let answer = request.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let browser = world.get("/authz/envoy/a/b?c=d").header("accept", "text/html");
    let answer = browser.send().await.unwrap();
    assert_eq!(header(&answer, "location"), "https://id.example.org/login?rd=%2Fa%2Fb%3Fc%3Dd");
    let browser = world.get("/authz/envoy//evil.example").header("accept", "text/html");
    assert_eq!(header(&browser.send().await.unwrap(), "location"), "https://id.example.org/login");
    refused(world.get("/authz/envoyer").send().await.unwrap(), 404, "not_found").await;
}

#[tokio::test]
async fn what_cannot_be_told_is_no_refusal() {
    let world = behind_a_proxy().await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    for path in DIALECTS {
        world.issuer.fail_next([Fault::NotSent]);
        let request = world.get(path).header("accept", "text/html").header("cookie", &cookie);
        let answer = request.send().await.unwrap();
        assert_eq!(header(&answer, "retry-after"), "1");
        assert!(!clears_cookie(&answer));
        check_identity(&answer, None);
        refused(answer, 503, "auth_server_unavailable").await;
    }
}
