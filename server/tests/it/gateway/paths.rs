//! Which paths go on, and how they are written then.

use reqwest::StatusCode;
use serde_json::Value;
use tokenkeep_core::sessions::Settings;
use tokenkeep_server::settings::ServerSettings;

use super::{parrot, proxy, world_before, world_with};
use crate::api::Api;
use crate::world::{World, plain, refused};

#[tokio::test]
async fn a_prefix_can_be_taken_off() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    for (path, seen) in [
        ("/stripped/api/x?y", "/base/x?y"),
        ("/stripped/api", "/base/"),
        ("/%73tripped/api/a%20b/", "/base/a%20b/"),
    ] {
        let answer = world.get(path).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["path"], seen);
    }
}

#[tokio::test]
async fn ambiguous_paths_reach_no_upstream() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    for path in [
        "/x/../api/y",
        "/api/../v1/session",
        "/api/%2e%2e/y",
        "/api/.%2e/y",
        "/api%2fy",
        "/api/y%5c..",
        "/api\\y",
        "//api/y",
        "/api//y",
        "/api/..;/y",
        "/api/%252e%252e/y",
        "/api/%00",
        "/api/%",
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n"
        );
        let answer = world.raw(head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    assert_eq!(api.times_asked(), 0);
    let answer = world.get("/apix").header("cookie", &cookie).send().await.unwrap();
    refused(answer, 404, "not_found").await;
}

#[tokio::test]
async fn our_own_paths_never_go_to_an_upstream() {
    let api = Api::start().await;
    let proxies = vec![proxy("/", format!("http://{}", api.address))];
    let world =
        World::build(ServerSettings { proxies, ..plain() }, Settings::default(), true).await;
    let cookie = world.login("ada@example.org").await;
    for path in [
        "/v1",
        "/v1/x",
        "/v1/admin/users",
        "/%761/x",
        "/authz",
        "/authz/x",
        "/livez/x",
        "/readyz/",
        "/metrics",
        "/metrics/x",
        "/openapi.json/x",
        "/oauth2/x",
        "/api_v1/x",
        "/%6cive%7a",
    ] {
        let answer = world.get(path).header("cookie", &cookie).send().await.unwrap();
        refused(answer, 404, "not_found").await;
        let post =
            world.post(path).header("cookie", &cookie).header("sec-fetch-site", "cross-site");
        let status = post.send().await.unwrap().status().as_u16();
        assert!([401, 403, 404].contains(&status), "{path}: {status}");
    }
    let admin = format!("http://{}/x", world.admin.unwrap());
    let answer = world.http.get(admin).header("cookie", &cookie).send().await.unwrap();
    refused(answer, 404, "not_found").await;
    assert_eq!(api.times_asked(), 0);
    let answer = world.get("/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "all others do");
}

#[tokio::test]
async fn a_query_goes_on_as_it_came_and_nothing_is_added() {
    let (address, mut heard) = parrot("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    let world = world_with("/api", address).await;
    let cookie = world.login("ada@example.org").await;
    let target = "/api/it's?q='x'&r=a|b&%e2%82=~[]";
    let head = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let answer = world.raw(format!("{head}cookie: flag; {cookie}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let came = heard.recv().await.unwrap().to_ascii_lowercase();
    let names: Vec<&str> =
        came.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(came.starts_with(&format!("get {target} http/1.1\r\n")), "{came}");
    assert!(came.contains("\r\ncookie: flag\r\n"), "{came}");
    let mut expected = [
        "authorization",
        "cookie",
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    let mut names = names;
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}
