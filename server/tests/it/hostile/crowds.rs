//! More connections than there are places.

use std::time::Duration;

use reqwest::StatusCode;
use tokenkeep_server::settings::{ConnectionLimits, ServerSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PATIENCE, World, plain, read_to_end};

/// A server with few places, and no time-out that would empty them during a test.
async fn small() -> World {
    let hour = Duration::from_secs(3600);
    let connections = ConnectionLimits {
        connections: PLACES,
        first_request: hour,
        header_read: hour,
        idle: hour,
        ..ConnectionLimits::default()
    };
    World::with(ServerSettings { connections, ..plain() }).await
}

async fn crowd(world: &World, beginning: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..PLACES * 3 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let _ = stream.write_all(beginning).await;
        crowd.push(stream);
    }
    crowd
}

#[tokio::test]
async fn a_crowd_that_rests_locks_nobody_out() {
    let world = small().await;
    let cookie = world.login("ada@example.org").await;
    for beginning in [
        b"".as_slice(),
        b"PRI * HTTP/2.0\r\n",
        &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut crowd = crowd(&world, beginning).await;
        for _ in 0..PLACES {
            let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{beginning:?}");
        }
        // Who came first has made room.
        read_to_end(&mut crowd[0]).await;
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let world = small().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut answer = [0; 12];
    let (mut from, mut to) = stream.split();
    let flood = async {
        while to.write_all(&b"x: y\r\n".repeat(100)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    let answered = async {
        tokio::select! {
            read = from.read_exact(&mut answer) => drop(read.unwrap()),
            () = flood => {}
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("an answer before the end");
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn chunks_without_end_are_cut_off() {
    let world = small().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let (mut from, mut to) = stream.split();
    let flood = async {
        while to.write_all(chunk.as_bytes()).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = from.read_exact(&mut answer) => drop(read.unwrap()),
        () = flood => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 413");
}

const PLACES: usize = 8;
