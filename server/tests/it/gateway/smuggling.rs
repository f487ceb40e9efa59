//! Requests that two servers could read differently.

use reqwest::Method;

use super::{world_before, world_with};
use crate::api::Api;
use crate::world::{header, refused};

#[tokio::test]
async fn two_lengths_are_no_request() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    for lengths in ["content-length: 1\r\ncontent-length: 2", "content-length: 1x", "host: y"] {
        let head =
            format!("POST /api/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}\r\n");
        let answer = world.raw(format!("{head}{lengths}\r\n\r\nab")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lengths}: {answer}");
    }
    assert_eq!(api.times_asked(), 0);
}

/// hyper would let a length pass beside `Transfer-Encoding`, and lines that end with LF alone.
#[tokio::test]
async fn what_can_be_read_in_two_ways_goes_nowhere() {
    let api = Api::start().await;
    let world = world_with("/api", api.address).await;
    let cookie = world.login("ada@example.org").await;
    let head = format!("host: x\r\nconnection: close\r\ncookie: {cookie}\r\n");
    let (chunked, length) = ("transfer-encoding: chunked\r\n", "content-length: 3\r\n");
    let both = |lengths: [&str; 2]| {
        let lengths = lengths.concat();
        format!("POST /api/x HTTP/1.1\r\n{head}{lengths}\r\n5\r\nhello\r\n0\r\n\r\n")
    };
    let bare = format!("POST /api/x HTTP/1.1\n{head}content-length: 5\n\nhello");
    for bytes in [both([chunked, length]), both([length, chunked]), bare] {
        let answer = world.raw(bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn what_would_mirror_or_tunnel_a_token_does_not_go_on() {
    let api = Api::start().await;
    let world = world_with("/", api.address).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.ask(Method::TRACE, "/x").header("cookie", &cookie).send().await.unwrap();
    assert!(header(&answer, "allow").contains("DELETE"));
    refused(answer, 405, "method_not_allowed").await;
    let head = "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\nconnection: close\r\n";
    let answer = world.raw(format!("{head}cookie: {cookie}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(api.times_asked(), 0);
}
