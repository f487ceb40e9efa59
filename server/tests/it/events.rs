//! Streams of server-sent events.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokenkeep_server::settings::{ConnectionLimits, RequestLimits, ServerSettings};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::frames;
use crate::world::{PATIENCE, World, device_of, header, plain, read_to_end, refused};

/// Reads a stream of server-sent events.
struct Reader {
    answer: Response,
    text: String,
}

#[derive(Debug)]
struct Read {
    kind: String,
    id: Option<String>,
    data: Value,
}

impl Reader {
    async fn open(world: &World, cookie: &str) -> Self {
        let answer = world.get("/v1/events").header("cookie", cookie).send().await.unwrap();
        Self::of(answer)
    }

    async fn open_admin(world: &World, last: Option<&str>) -> Self {
        let mut request = world.get("/v1/admin/events").bearer_auth("read-key");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self::of(request.send().await.unwrap())
    }

    fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "content-type"), "text/event-stream");
        assert_eq!(header(&answer, "cache-control"), "no-store");
        Self { answer, text: String::new() }
    }

    /// The next event, or nothing at the end of the stream.
    async fn next(&mut self) -> Option<Read> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("an event or the end")
    }

    /// Whether the stream ends within a second.
    async fn ends(&mut self) -> bool {
        let rest = async { while self.read().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(1), rest).await.is_ok()
    }

    async fn read(&mut self) -> Option<Read> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                };
                let read = field("event").map(|kind| Read {
                    kind: kind.to_owned(),
                    id: field("id").map(str::to_owned),
                    data: serde_json::from_str(field("data").unwrap()).unwrap(),
                });
                self.text = rest.to_owned();
                if read.is_some() {
                    return read;
                }
                continue;
            }
            let chunk = self.answer.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn a_user_hears_of_new_logins_and_ended_devices_of_her_own() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let mut reader = Reader::open(&world, &cookie).await;
    world.login("bob@example.org").await;
    let second = world.login("ada@example.org").await;
    let event = reader.next().await.unwrap();
    assert_eq!(
        (event.kind.as_str(), &event.data["device_id"]),
        ("logged_in", &device_of(&second).into())
    );
    assert_eq!(event.data["address"], "127.0.0.1");
    world.post("/v1/logout").header("cookie", &second).send().await.unwrap();
    let event = reader.next().await.unwrap();
    assert_eq!((event.kind.as_str(), &event.data["reason"]), ("logged_out", &"logout".into()));
}

#[tokio::test]
async fn a_stream_ends_within_a_second_of_its_session() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let mut reader = Reader::open(&world, &cookie).await;
    world.post("/v1/logout").header("cookie", &cookie).send().await.unwrap();
    assert!(reader.ends().await, "after a logout");

    let cookie = world.login("ada@example.org").await;
    let mut reader = Reader::open(&world, &cookie).await;
    world.clock.advance(Duration::from_secs(240));
    assert!(reader.ends().await, "after an expiry, of which no event tells");
    let answer = world.get("/v1/events").header("cookie", &cookie).send().await.unwrap();
    refused(answer, 401, "session_ended").await;
}

#[tokio::test]
async fn a_service_resumes_where_it_was() {
    let world = World::new().await;
    let mut reader = Reader::open_admin(&world, None).await;
    let first = reader.next().await.unwrap();
    assert_eq!(first.kind, "reset", "who comes for the first time knows nothing");
    let cookie = world.login("ada@example.org").await;
    let login = reader.next().await.unwrap();
    assert_eq!(login.kind, "logged_in");
    drop(reader);
    world.post("/v1/logout").header("cookie", &cookie).send().await.unwrap();
    let mut reader = Reader::open_admin(&world, login.id.as_deref()).await;
    let logout = reader.next().await.unwrap();
    assert_eq!((logout.kind.as_str(), &logout.data["reason"]), ("logged_out", &"logout".into()));
    let mut reader = Reader::open_admin(&world, first.id.as_deref()).await;
    assert_eq!(reader.next().await.unwrap().id, login.id, "the place of the reset counts, too");
}

#[tokio::test]
async fn an_id_of_another_process_is_a_gap() {
    let world = World::new().await;
    world.login("ada@example.org").await;
    for id in ["1-1", "rubbish", "-", "1", "1700000000000000-99"] {
        let mut reader = Reader::open_admin(&world, Some(id)).await;
        assert_eq!(reader.next().await.unwrap().kind, "reset", "{id}");
        world.login("bob@example.org").await;
        assert_eq!(reader.next().await.unwrap().kind, "logged_in");
    }
}

#[tokio::test]
async fn a_listener_that_does_not_read_loses_its_connection_and_its_place() {
    let stall = Duration::from_millis(100);
    let connections = ConnectionLimits { stall, ..ConnectionLimits::default() };
    let requests = RequestLimits { event_streams: 1, ..RequestLimits::default() };
    let world = World::with(ServerSettings { connections, requests, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let mut deaf = TcpStream::connect(world.address).await.unwrap();
    let asking = frames::get(1, "/v1/events", &[("cookie", &cookie)]);
    deaf.write_all(&[frames::begin(0), asking].concat()).await.unwrap();
    let open = || world.get("/v1/events").header("cookie", &cookie).send();
    while open().await.unwrap().status() == StatusCode::OK {}
    world.login("ada@example.org").await;
    read_to_end(&mut deaf).await;
    while open().await.unwrap().status() != StatusCode::OK {}
}

#[tokio::test]
async fn a_listener_for_whom_there_is_nothing_is_not_deaf() {
    let stall = Duration::from_millis(100);
    let connections = ConnectionLimits { stall, ..ConnectionLimits::default() };
    let world = World::with(ServerSettings { connections, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let mut reader = Reader::open(&world, &cookie).await;
    tokio::time::sleep(stall * 5).await;
    world.login("ada@example.org").await;
    assert_eq!(reader.next().await.unwrap().kind, "logged_in");
}
