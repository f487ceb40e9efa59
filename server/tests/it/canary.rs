//! No secret in the log.

use tokenkeep_core::testing::Fault;
use tokenkeep_server::settings::{Proxy, ServerSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::frames;
use crate::listening::listen;
use crate::world::{PATIENCE, World, plain};

/// Asks over a bare socket, so that no client has anything to log, and reads what comes until
/// the end, or until a stream of events has begun.
async fn ask(world: &World, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}");
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        let is_stream = |answer: &[u8]| {
            let text = String::from_utf8_lossy(answer);
            text.contains("text/event-stream") && text.contains("\r\n\r\n")
        };
        while !is_stream(&answer) && stream.read_buf(&mut answer).await.unwrap_or(0) > 0 {}
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upstream that says yes, no, and rubbish in turn, without a word to the log.
async fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let yes = "HTTP/1.1 200 OK\r\nset-cookie: canary-upstream=1\r\ncontent-length: 2\r\n\r\nok";
        let no = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
        for answer in [yes, no, "canary-rubbish\r\n\r\n", ""].into_iter().cycle() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") && stream.read_buf(&mut text).await.unwrap() > 0 {}
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

const JSON: &str = "content-type: application/json\r\n";

/// Logs in; returns the value of the cookie.
async fn login(world: &World) -> String {
    let body = r#"{"email":"ada@example.org","password":"canary-password"}"#;
    let answer = ask(world, "POST", "/v1/login", JSON, body).await;
    let (_, rest) = answer.split_once("set-cookie: device_id=").unwrap();
    rest.split_once(';').unwrap().0.to_owned()
}

const ASKED: [(&str, &str); 13] = [
    ("GET", "/v1/session?canary=query"),
    ("HEAD", "/v1/session?canary=query"),
    ("POST", "/v1/session/refresh"),
    ("GET", "/v1/devices"),
    ("GET", "/v1/events"),
    ("POST", "/v1/token"),
    ("GET", "/v1/admin/stats"),
    ("GET", "/authz/nginx"),
    ("GET", "/authz/forward"),
    ("GET", "/authz/envoy/x?canary=query"),
    ("GET", "/api/x?canary=query"),
    ("POST", "/api/y?canary=query"),
    ("GET", "/nothing?canary=query"),
];

/// Everything that runs here runs on this thread, where the subscriber listens.
#[tokio::test(flavor = "current_thread")]
async fn no_secret_is_in_the_log_at_trace_level() {
    let listening = listen();
    let proxies =
        vec![Proxy { prefix: "/api".into(), upstream: upstream().await, strip_prefix: false }];
    let world = World::with(ServerSettings { proxies, ..plain() }).await;
    let credential = login(&world).await;
    let secret = credential.split_once('.').unwrap().1.to_owned();
    let headers = format!(
        "cookie: device_id={credential}\r\nauthorization: Bearer canary-service-key\r\n\
         x-device-credential: {credential}\r\nx-forged: canary-header\u{e9}\r\n"
    );
    for body in [
        "{\"canary-key\":1}",
        "{\"email\":\"canary@mail\",\"password\":\"canary-password\"",
        "\u{1b}[canary-body",
    ] {
        ask(&world, "POST", "/v1/login", &format!("{headers}{JSON}"), body).await;
    }
    let mut forwarded = 0;
    for fault in [None, Some(Fault::LostAfter), Some(Fault::NotSent), Some(Fault::Misconfigured)] {
        world.clock.advance(std::time::Duration::from_secs(60));
        world.issuer.fail_next(fault);
        for (method, path) in ASKED {
            let answer = ask(&world, method, path, &headers, "").await;
            forwarded += usize::from(answer.contains("canary-upstream"));
        }
    }
    assert_ne!(forwarded, 0, "the gateway was asked, and the upstream has answered");
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let cookie = format!("device_id={credential}");
    let own = [("cookie", cookie.as_str()), ("authorization", "Bearer canary-service-key")];
    let asking = ASKED.iter().zip(0..);
    let asking = asking.flat_map(|((_, path), at)| frames::get(2 * at + 1, path, &own));
    let bytes: Vec<u8> = frames::begin(65_535).into_iter().chain(asking).collect();
    stream.write_all(&bytes).await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 1000 {
        stream.read_buf(&mut answers).await.unwrap();
    }
    world.store.set_failing(true);
    ask(&world, "POST", "/v1/logout", &headers, "").await;
    world.store.set_failing(false);
    ask(&world, "POST", "/v1/logout", &headers, "").await;
    let refused = ask(&world, "GET", "/nothing", "", "").await;
    let (_, rest) = refused.split_once("x-request-id: ").unwrap();
    let request_id = rest.split_once('\r').unwrap().0;
    let text = listening.text();
    for line in ["a request was refused", "TRACE", "forwarded", "an upstream failed", request_id] {
        assert!(text.contains(line), "{line} was not logged");
    }
    for line in text.lines() {
        for word in [secret.as_str(), "canary", "access-1-", "refresh-1-"] {
            assert!(!line.contains(word), "{word} is in the log: {line}");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_log_tells_of_logouts_that_were_one() {
    let listening = listen();
    let world = World::new().await;
    let credential = login(&world).await;
    let (device, secret) = credential.split_once('.').unwrap();
    let forged = format!("{device}.{}", "A".repeat(secret.len()));
    let told = || listening.text().matches("event=\"logout\"").count();
    for (credential, times) in [(&forged, 0), (&credential, 1), (&credential, 1)] {
        let cookie = format!("cookie: device_id={credential}\r\n");
        let answer = ask(&world, "POST", "/v1/logout", &cookie, "").await;
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        assert_eq!(told(), times);
    }
}
