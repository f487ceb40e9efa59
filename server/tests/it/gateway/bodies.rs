//! Request bodies: bounded in size and in time.

use reqwest::StatusCode;
use tokenkeep_server::settings::{GatewayLimits, ServerSettings};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::proxy;
use crate::api::Api;
use crate::world::{PATIENCE, World, plain, read_to_end, refused};

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_declared_or_not() {
    let api = Api::start().await;
    let gateway = GatewayLimits { body_bytes: 1000, kept_bytes: 100, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let post = || world.post("/api/x").header("cookie", &cookie);
    refused(post().body(vec![b'x'; 1001]).send().await.unwrap(), 413, "body_too_large").await;
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100]));
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    refused(post().body(chunked).send().await.unwrap(), 413, "body_too_large").await;
    let answer = post().body(vec![b'x'; 1000]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_stands_still_is_cut_off() {
    let api = Api::start().await;
    let body_stall = std::time::Duration::from_millis(100);
    let gateway = GatewayLimits { body_stall, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /api/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked";
    stream
        .write_all(format!("{head}\r\ncookie: {cookie}\r\n\r\n3\r\nabc\r\n").as_bytes())
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_dribbles_is_cut_off() {
    let api = Api::start().await;
    let body_stall = std::time::Duration::from_millis(200);
    let gateway = GatewayLimits { body_stall, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let dribble = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>("x"), ()))
    });
    let request = world.post("/api/x").header("cookie", &cookie);
    let sent = request.body(reqwest::Body::wrap_stream(dribble)).send();
    let answer = tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap();
    refused(answer, 408, "request_timeout").await;
}
