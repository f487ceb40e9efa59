//! HTTP/2 as an attack.

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::frames;
use crate::world::{PATIENCE, World};

/// Sends `bytes` again and again until the server closes, which it must.
async fn until_closed(world: &World, bytes: impl Fn(u32) -> Vec<u8>) {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&frames::begin(65_535)).await.unwrap();
    let (mut from, mut to) = stream.split();
    let sending = async {
        for round in 0.. {
            if to.write_all(&bytes(round)).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let mut buffer = [0; 4096];
        while matches!(from.read(&mut buffer).await, Ok(1..)) {}
    };
    let closed = async { tokio::join!(sending, reading) };
    tokio::time::timeout(PATIENCE, closed).await.expect("the server closes");
    assert_eq!(world.get("/livez").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let world = World::new().await;
    let begin = frames::headers_begun(1, &[("x", "y")]);
    until_closed(&world, |round| match round {
        0 => begin.clone(),
        _ => frames::continuation(1, &[("x", &"y".repeat(100))]),
    })
    .await;
}

#[tokio::test]
async fn streams_that_are_taken_back_at_once_end_the_connection() {
    let world = World::new().await;
    until_closed(&world, |round| {
        let streams = (round * 200..(round + 1) * 200).map(|number| 2 * number + 1);
        let both = |stream| [frames::get(stream, "/livez", &[]), frames::reset(stream)].concat();
        streams.flat_map(both).collect()
    })
    .await;
}
