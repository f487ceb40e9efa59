//! Slow, large, many and wrong requests.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokenkeep_core::sessions::Settings;
use tokenkeep_core::wire::StatsBody;
use tokenkeep_server::settings::{ConnectionLimits, RequestLimits, ServerSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::frames;
use crate::world::{PATIENCE, World, header, plain, read_to_end, refused};

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(3600);

fn connections(change: impl FnOnce(&mut ConnectionLimits)) -> ServerSettings {
    let mut limits = ConnectionLimits {
        first_request: LONG,
        header_read: LONG,
        idle: LONG,
        stall: LONG,
        ..ConnectionLimits::default()
    };
    change(&mut limits);
    ServerSettings { connections: limits, ..plain() }
}

async fn connect(world: &World, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    stream
}

/// Reads one whole answer of `/livez`.
async fn read_live(stream: &mut TcpStream) {
    let mut text = String::new();
    while !text.ends_with("{\"status\":\"live\"}") {
        let mut byte = [0; 256];
        let count = stream.read(&mut byte).await.unwrap();
        assert_ne!(count, 0, "{text}");
        text.push_str(std::str::from_utf8(&byte[..count]).unwrap());
    }
}

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let world = World::with(connections(|limits| limits.first_request = SHORT)).await;
    for beginning in
        ["", "P", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /livez HTTP/1.1\r\nhos"]
    {
        let mut stream = connect(&world, beginning).await;
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains("200"), "{beginning:?}");
    }
    assert_eq!(world.get("/livez").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn later_headers_that_dribble_are_cut_off() {
    let world = World::with(connections(|limits| limits.header_read = SHORT)).await;
    let mut stream = connect(&world, LIVE).await;
    read_live(&mut stream).await;
    stream.write_all(b"GET /livez HT").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn half_a_head_behind_a_request_is_the_beginning_of_the_next() {
    let world = World::with(connections(|limits| limits.header_read = SHORT)).await;
    let mut stream = connect(&world, format!("{LIVE}GET /livez HT")).await;
    read_live(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "");
    let mut whole = connect(&world, format!("{LIVE}{LIVE}")).await;
    read_live(&mut whole).await;
    let early = tokio::time::timeout(SHORT * 5, whole.read_to_end(&mut Vec::new())).await;
    assert!(early.is_err(), "two whole heads leave nothing behind");
}

#[tokio::test]
async fn answers_that_nobody_takes_do_not_hold_a_connection() {
    let world = World::with(connections(|limits| limits.stall = SHORT)).await;
    let asking = (0..100).flat_map(|number| frames::get(2 * number + 1, "/livez", &[]));
    let bytes: Vec<u8> = frames::begin(0).into_iter().chain(asking).collect();
    read_to_end(&mut connect(&world, bytes).await).await;
}

#[tokio::test]
async fn a_slow_answer_is_not_a_slow_client() {
    let world = World::with(connections(|limits| limits.stall = SHORT)).await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let waiting = tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send());
    world.issuer.until_running(1).await;
    tokio::time::sleep(SHORT * 5).await;
    world.issuer.open_gate();
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_full_public_listener_leaves_administration_alone() {
    let settings = connections(|limits| limits.connections = 1);
    let world = World::build(settings, Settings::default(), true).await;
    let _first = at_work(&world).await;
    let mut second = connect(&world, LIVE).await;
    let early = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(early.is_err(), "no place yet");
    let mut admin = TcpStream::connect(world.admin.unwrap()).await.unwrap();
    admin.write_all(LIVE.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, read_live(&mut admin)).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_used_again_before() {
    let world = World::with(connections(|limits| limits.idle = SHORT)).await;
    let mut stream = connect(&world, LIVE).await;
    read_live(&mut stream).await;
    stream.write_all(LIVE.as_bytes()).await.unwrap();
    read_live(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn connections_at_work_are_waited_for() {
    let world = World::with(connections(|limits| limits.connections = 1)).await;
    let mut first = at_work(&world).await;
    let mut second = connect(&world, LIVE).await;
    let early = tokio::time::timeout(SHORT * 5, second.read_u8()).await;
    assert!(early.is_err(), "no place yet");
    first.write_all(b"123456789").await.unwrap();
    // It is answered, and makes room as it rests.
    let answer = read_to_end(&mut first).await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    read_live(&mut second).await;
}

/// A connection with a request whose body has not come yet.
async fn at_work(world: &World) -> TcpStream {
    let head =
        "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    let mut stream = connect(world, head).await;
    // The server asks for the body once it wants to read it.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    stream
}

#[tokio::test]
async fn whoever_rests_makes_room() {
    let world = World::with(connections(|limits| limits.connections = 4)).await;
    let mut crowd = Vec::new();
    for beginning in ["", "PRI * HT", LIVE, "GET /livez HT", "", LIVE, &format!("{LIVE}GET")] {
        let mut guest = connect(&world, beginning).await;
        if beginning.starts_with(LIVE) {
            read_live(&mut guest).await;
        }
        crowd.push(guest);
    }
    assert_eq!(world.get("/livez").send().await.unwrap().status(), StatusCode::OK);
    // The first four made room, and so did one of the last for the client above.
    for mut guest in crowd.drain(..4) {
        read_to_end(&mut guest).await;
    }
}

#[tokio::test]
async fn streams_of_http2_that_rest_make_room() {
    let world = World::with(connections(|limits| limits.connections = 1)).await;
    let mut first =
        connect(&world, [frames::begin(65_535), frames::get(1, "/livez", &[])].concat()).await;
    first.read_u8().await.unwrap();
    let mut second = connect(&world, LIVE).await;
    read_live(&mut second).await;
    read_to_end(&mut first).await;
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_come_back() {
    let requests = RequestLimits { in_flight: 1, ..RequestLimits::default() };
    let world = World::with(ServerSettings { requests, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    world.outlive_access();
    world.issuer.close_gate();
    let waiting = tokio::spawn(world.get("/authz/nginx").header("cookie", &cookie).send());
    world.issuer.until_running(1).await;
    // A body that does not come takes no place from anybody, and has none itself.
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{";
    let _dribbling = connect(&world, head).await;
    for busy in [world.get("/v1/session"), world.get("/authz/nginx"), world.post("/v1/logout")] {
        let answer = busy.send().await.unwrap();
        assert_eq!(header(&answer, "retry-after"), "1");
        refused(answer, 503, "busy").await;
    }
    for health in ["/livez", "/readyz"] {
        assert_eq!(world.get(health).send().await.unwrap().status(), StatusCode::OK);
    }
    world.issuer.open_gate();
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
    refused(world.get("/v1/session").send().await.unwrap(), 401, "not_logged_in").await;
}

#[tokio::test]
async fn a_body_that_does_not_come_takes_no_place() {
    let requests = RequestLimits { in_flight: 1, ..RequestLimits::default() };
    let world = World::with(ServerSettings { requests, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let _dribbling = at_work(&world).await;
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn streams_of_events_are_counted_apart() {
    let requests = RequestLimits { in_flight: 1, event_streams: 1, ..RequestLimits::default() };
    let world = World::with(ServerSettings { requests, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let open = || world.get("/v1/events").header("cookie", &cookie).send();
    let _stream = open().await.unwrap();
    refused(open().await.unwrap(), 503, "busy").await;
    assert_eq!(world.get("/livez").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn large_bodies_are_refused_declared_or_not() {
    let world = World::new().await;
    let json =
        |length: usize| format!("{{\"email\":\"a@b\",\"password\":\"{}\"}}", "x".repeat(length));
    let post = || world.post("/v1/login").header("content-type", "application/json");
    refused(post().body(json(64 * 1024)).send().await.unwrap(), 413, "body_too_large").await;
    let chunk = vec![b'x'; 1024];
    let chunks = (0..70).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    refused(post().body(chunked).send().await.unwrap(), 413, "body_too_large").await;
    let answer = post().body(json(60 * 1024)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_dribbles_is_cut_off() {
    let requests = RequestLimits { body_time: SHORT, ..RequestLimits::default() };
    let world = World::with(ServerSettings { requests, ..plain() }).await;
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{";
    let answer = read_to_end(&mut connect(&world, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let world = World::new().await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(64 * 1024));
    for headers in [many, large] {
        let answer = world.raw(format!("GET /livez HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn a_long_address_is_refused() {
    let world = World::new().await;
    let answer = world.get(&format!("/livez?{}", "x".repeat(9000))).send().await.unwrap();
    refused(answer, 414, "uri_too_long").await;
}

#[tokio::test]
async fn a_wrong_method_hears_the_right_ones() {
    let world = World::new().await;
    for (method, path, allow) in [
        (Method::GET, "/v1/login", "POST"),
        (Method::GET, "/v1/register", "POST"),
        (Method::PUT, "/v1/session", "GET, HEAD"),
        (Method::GET, "/v1/session/refresh", "POST"),
        (Method::GET, "/v1/logout", "POST"),
        (Method::POST, "/v1/devices", "GET, HEAD, DELETE"),
        (Method::GET, "/v1/devices/0123456789abcdef0123456789abcdef", "PATCH, DELETE"),
        (Method::POST, "/v1/events", "GET"),
        (Method::GET, "/v1/token", "POST"),
        (Method::POST, "/v1/admin/devices", "GET, HEAD, DELETE"),
        (Method::TRACE, "/v1/admin/stats", "GET, HEAD"),
        (Method::POST, "/v1/admin/events", "GET"),
        (Method::POST, "/livez", "GET, HEAD"),
        (Method::TRACE, "/readyz", "GET, HEAD"),
        (Method::GET, "/api_v1/auth/login", "POST"),
    ] {
        let answer = world.ask(method, path).send().await.unwrap();
        assert_eq!(header(&answer, "allow"), allow, "{path}");
        refused(answer, 405, "method_not_allowed").await;
    }
}

#[tokio::test]
async fn a_head_is_a_get_without_the_body() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    for path in ["/livez", "/readyz", "/v1/session", "/v1/devices", "/v1/nothing"] {
        let ask = |method| world.ask(method, path).header("cookie", &cookie).send();
        let (got, head) = (ask(Method::GET).await.unwrap(), ask(Method::HEAD).await.unwrap());
        assert_eq!(head.status(), got.status(), "{path}");
        for name in ["content-type", "content-length", "cache-control", "vary"] {
            assert_eq!(header(&head, name), header(&got, name), "{path}: {name}");
        }
        assert_eq!(head.bytes().await.unwrap().len(), 0);
    }
}

#[tokio::test]
async fn a_head_without_one_host_is_refused() {
    let world = World::new().await;
    for head in [
        "GET /livez HTTP/1.1\r\n",
        "GET http://x/livez HTTP/1.1\r\n",
        "GET /livez HTTP/1.1\r\nhost: x\r\nhost: x\r\n",
        "CONNECT x:1 HTTP/1.1\r\nhost: x\r\n",
    ] {
        let answer = world.raw(format!("{head}connection: close\r\n\r\n")).await;
        let expected = if head.starts_with("CONNECT") { "405" } else { "400" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{head}: {answer}");
    }
    let old = world.raw("GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v2/session", "/v1/devices/a/b", "/V1/session", "/authz", "/authz/x"]
    {
        refused(world.get(path).send().await.unwrap(), 404, "not_found").await;
    }
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let world = World::new().await;
    let cookie = world.login("ada@example.org").await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for (cookie, status) in [(cookie.as_str(), 200), ("", 401)] {
        let request = http::Request::get(world.url("/v1/session")).header("cookie", cookie);
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn the_server_is_ready_as_long_as_the_store_takes_writes() {
    let world = World::new().await;
    assert_eq!(world.get("/readyz").send().await.unwrap().status(), StatusCode::OK);
    world.store.set_failing(true);
    refused(world.get("/readyz").send().await.unwrap(), 503, "store_unavailable").await;
    assert_eq!(world.get("/livez").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_panic_is_one_request_of_its_own() {
    let world = World::new().await;
    for _ in 0..3 {
        let answer = world.get("/v1/admin/stats").bearer_auth("panic-key").send().await.unwrap();
        let problem = refused(answer, 500, "internal").await;
        assert!(!problem.detail.contains("told"));
    }
    assert_eq!(world.get("/livez").send().await.unwrap().status(), StatusCode::OK);
    let stats = world.get("/v1/admin/stats").bearer_auth("read-key").send().await.unwrap();
    assert_eq!(stats.json::<StatsBody>().await.unwrap().panics, 3, "they are counted");
}
