//! Answers that stream, and clients that do not take them.

use std::net::SocketAddr;

use reqwest::StatusCode;
use tokenkeep_server::settings::{ConnectionLimits, RequestLimits, ServerSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{proxy, world_before};
use crate::api::Api;
use crate::frames;
use crate::world::{PATIENCE, World, plain};

#[tokio::test]
async fn an_answer_streams_as_it_comes() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let mut answer = world.get("/api/stream").header("cookie", &cookie).send().await.unwrap();
    for word in ["one", "two"] {
        api.voice.send(word.into()).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), word, "before the next is said");
    }
}

/// An upstream whose answer has no end; it tells when an answer was cut off.
async fn endless() -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, cuts) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let cut = cut.clone();
            tokio::spawn(async move {
                let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                let chunk = [b"8000\r\n".as_slice(), &[b'x'; 0x8000], b"\r\n"].concat();
                let mut sent = stream.write_all(head).await;
                while sent.is_ok() {
                    sent = stream.write_all(&chunk).await;
                }
                let _ = cut.send(());
            });
        }
    });
    (address, cuts)
}

#[tokio::test]
async fn downloads_that_nobody_reads_hold_up_nobody_and_are_cut_off() {
    let (address, mut cuts) = endless().await;
    let stall = std::time::Duration::from_millis(300);
    let proxies = vec![proxy("/api", format!("http://{address}"))];
    let world = World::with(ServerSettings {
        proxies,
        connections: ConnectionLimits { stall, ..ConnectionLimits::default() },
        requests: RequestLimits { in_flight: 1, gateway_streams: 3, ..RequestLimits::default() },
        ..plain()
    })
    .await;
    let cookie = world.login("ada@example.org").await;
    let head = format!("GET /api/x HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n");
    let mut unread = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // The head has come, and so has the place gone back.
        stream.read_u8().await.unwrap();
        unread.push(stream);
    }
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let third = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(third.status(), StatusCode::OK);
    drop(third);
    for _ in 0..3 {
        tokio::time::timeout(PATIENCE, cuts.recv()).await.unwrap().unwrap();
    }
    for mut stream in unread {
        let mut nowhere = tokio::io::sink();
        let end = tokio::io::copy(&mut stream, &mut nowhere);
        let _ = tokio::time::timeout(PATIENCE, end).await.expect("the connection ends, too");
    }
}

#[tokio::test]
async fn a_stalled_answer_is_cut_off_though_its_connection_goes_on() {
    let (address, mut cuts) = endless().await;
    let connections = ConnectionLimits {
        stall: std::time::Duration::from_millis(100),
        ..ConnectionLimits::default()
    };
    let proxies = vec![proxy("/api", format!("http://{address}"))];
    let world = World::with(ServerSettings { proxies, connections, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let asking = frames::get(1, "/api/x", &[("cookie", &cookie)]);
    stream.write_all(&[frames::begin(20), asking].concat()).await.unwrap();
    let going_on = async {
        let mut number = 3;
        loop {
            // An answer without a body needs no room.
            let forward = frames::get(number, "/authz/nginx", &[("cookie", &cookie)]);
            if stream.write_all(&forward).await.is_err() {
                break;
            }
            number += 2;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        cut = tokio::time::timeout(PATIENCE, cuts.recv()) => cut.unwrap().unwrap(),
        () = going_on => panic!("the connection ended first"),
    }
}

#[tokio::test]
async fn a_silent_answer_is_not_a_slow_client() {
    let api = Api::start().await;
    let stall = std::time::Duration::from_millis(100);
    let connections = ConnectionLimits { stall, ..ConnectionLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, connections, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let mut answer = world.get("/api/stream").header("cookie", &cookie).send().await.unwrap();
    for word in ["one", "two"] {
        tokio::time::sleep(stall * 5).await;
        api.voice.send(word.into()).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), word);
    }
}
