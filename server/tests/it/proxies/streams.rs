//! Streams through the proxy: events, WebSockets, and protocols that must not pass.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Site;
use super::front::BOTH;
use crate::world::{PATIENCE, raw};

#[tokio::test]
async fn a_stream_arrives_as_it_is_sent() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let mut answer = site.get("/stream").header("cookie", &cookie).send().await.unwrap();
        for word in ["one", "two"] {
            site.api.voice.send(word.into()).await.unwrap();
            let chunk = tokio::time::timeout(PATIENCE, answer.chunk()).await;
            assert_eq!(chunk.expect("it is not held back").unwrap().unwrap(), word, "{kind:?}");
        }
        let events = site.get("/v1/events").header("cookie", &cookie).send().await.unwrap();
        assert_eq!(events.headers()["content-type"], "text/event-stream", "{kind:?}");
        site.login("ada@example.org").await;
        let heard = async {
            let (mut events, mut text) = (events, String::new());
            while !text.contains("logged_in") {
                text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("the login is told");
    }
}

#[tokio::test]
async fn a_websocket_passes_with_the_token_and_not_without_a_session() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        let host = site.front.address;
        let head = format!(
            "GET /socket HTTP/1.1\r\nhost: {host}\r\nconnection: keep-alive, Upgrade, \
             authorization\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let closing = head.replace("keep-alive", "close");
        let answer = raw(host, format!("{closing}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{kind:?}: {answer}");
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(format!("{head}cookie: {cookie}\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.ends_with("Bearer access-1-1|") {
            let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("a socket");
            text.push(char::from(byte.unwrap_or_else(|_| panic!("{kind:?}: {text}"))));
        }
        assert!(text.starts_with("HTTP/1.1 101 "), "{kind:?}: {text}");
        stream.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(&echo, b"hello", "{kind:?}");
    }
}

#[tokio::test]
async fn nothing_but_a_websocket_leaves_http() {
    for kind in BOTH {
        let site = Site::new(kind).await;
        let cookie = site.login("ada@example.org").await;
        for upgrade in ["h2c", "websocket, h2c", "h2c, websocket", "tls/1.0", "websocket\t,h2c"] {
            let lines = format!(
                "connection: close, upgrade, http2-settings\r\nupgrade: {upgrade}\r\n\
                 http2-settings: AAMAAABkAAQAAP__\r\ncookie: {cookie}\r\n"
            );
            for path in ["/socket", "/public/socket"] {
                let got = site.seen_of(path, &lines).await;
                assert!(crate::api::seen(&got, "upgrade").is_empty(), "{kind:?}: {got}");
            }
        }
    }
}
