//! Requests that go on to an upstream.

mod bodies;
mod identity;
mod paths;
mod renewal;
mod smuggling;
mod streams;
mod upstreams;

use std::net::SocketAddr;

use tokenkeep_server::settings::{Proxy, ServerSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::world::{World, plain};

fn proxy(prefix: &str, upstream: impl std::fmt::Display) -> Proxy {
    Proxy { prefix: prefix.into(), upstream: upstream.to_string(), strip_prefix: false }
}

async fn world_before(api: &Api) -> World {
    let upstream = format!("http://{}", api.address);
    World::with(ServerSettings {
        proxies: vec![
            proxy("/api", &upstream),
            Proxy { strip_prefix: true, ..proxy("/stripped/api", format!("{upstream}/base/")) },
        ],
        ..plain()
    })
    .await
}

/// An upstream that says `answer` to whatever comes and closes; it tells what came.
async fn parrot(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (came, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = String::new();
            while !text.ends_with("\r\n\r\n") {
                text.push(char::from(stream.read_u8().await.unwrap()));
            }
            came.send(text).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, heard)
}

async fn world_with(prefix: &str, upstream: SocketAddr) -> World {
    let proxies = vec![proxy(prefix, format!("http://{upstream}"))];
    World::with(ServerSettings { proxies, ..plain() }).await
}
