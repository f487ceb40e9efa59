//! Upstreams that are down, late, broken or loose with caches.

use reqwest::StatusCode;
use tokenkeep_server::settings::{GatewayLimits, ServerSettings};
use tokio::net::TcpListener;

use super::{parrot, proxy, world_before, world_with};
use crate::api::Api;
use crate::world::{World, clears_cookie, header, plain, refused};

#[tokio::test]
async fn an_upstream_that_is_down_is_a_problem_and_no_logout() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxies = vec![proxy("/", format!("http://{}", gone.local_addr().unwrap()))];
    drop(gone);
    let world = World::with(ServerSettings { proxies, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/x").header("cookie", &cookie).send().await.unwrap();
    assert!(!clears_cookie(&answer));
    refused(answer, 502, "upstream_unavailable").await;
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "our own paths are not the upstream's");
}

#[tokio::test]
async fn a_redirect_of_the_upstream_is_the_clients_to_follow() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/api/moved").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(header(&answer, "location"), "http://elsewhere.example/");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_may_have_done_what_was_asked() {
    let interim = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    for answer in ["", "rubbish\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-le", interim] {
        let (address, mut heard) = parrot(answer).await;
        let world = world_with("/api", address).await;
        let cookie = world.login("ada@example.org").await;
        let answer = world.post("/api/x").header("cookie", &cookie).send().await.unwrap();
        assert_eq!(header(&answer, "retry-after"), "<absent>");
        let problem = refused(answer, 502, "upstream_unavailable").await;
        assert!(problem.detail.contains("broke off"), "{problem:?}");
        assert!(heard.recv().await.unwrap().starts_with("POST "));
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answer = std::time::Duration::from_millis(100);
    let gateway = GatewayLimits { answer, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", silent.local_addr().unwrap()))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    refused(answer, 504, "upstream_unavailable").await;
}

#[tokio::test]
async fn an_upstream_does_not_loosen_the_caches() {
    let public = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 0\r\n\r\n";
    let (address, _heard) = parrot(public).await;
    let world = world_with("/api", address).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!((header(&answer, "vary"), header(&answer, "cache-control")), ("Cookie", "no-store"));
}
