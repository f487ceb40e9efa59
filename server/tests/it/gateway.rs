//! Requests that go on to an upstream.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokenkeep_core::sessions::Settings;
use tokenkeep_server::settings::{GatewayLimits, Proxy, ServerSettings};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::world::{World, clears_cookie, cookie_of, header, plain, read_to_end, refused};

type UpstreamBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// An API that believes in one access token, and shows what it was asked.
struct Api {
    address: SocketAddr,
    good_token: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    /// What a stream under `/api/stream` says.
    voice: mpsc::Sender<Bytes>,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let good_token = Arc::new(Mutex::new("access-1-1".to_owned()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (voice, ears) = mpsc::channel(8);
        let ears = Arc::new(Mutex::new(Some(ears)));
        let (good, count) = (Arc::clone(&good_token), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (good, count, ears) = (good.clone(), count.clone(), ears.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        count.fetch_add(1, Ordering::SeqCst);
                        answer(request, good.lock().unwrap().clone(), ears.clone())
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, good_token, asked, voice }
    }

    fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn expect(&self, token: &str) {
        token.clone_into(&mut self.good_token.lock().unwrap());
    }
}

async fn answer(
    request: http::Request<Incoming>,
    good: String,
    ears: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
) -> Result<http::Response<UpstreamBody>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/api/stream" {
        let mut ears = ears.lock().unwrap().take().unwrap();
        let stream = futures_util::stream::poll_fn(move |cx| {
            ears.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        });
        return Ok(http::Response::new(StreamBody::new(stream).boxed_unsync()));
    }
    let body = body.collect().await?.to_bytes();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let seen = serde_json::json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().unwrap().as_str(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let full = Full::new(Bytes::from(seen.to_string())).map_err(|never| match never {});
    let mut response = http::Response::new(full.boxed_unsync());
    let presented = parts.headers.get("authorization").map(|value| value.as_bytes().to_vec());
    if presented != Some(format!("Bearer {good}").into_bytes()) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let headers = response.headers_mut();
    for cookie in ["theme=dark", "device_id=planted; Path=/", "__Host-device_id=planted"] {
        headers.append("set-cookie", cookie.parse().unwrap());
    }
    headers.insert("connection", "x-internal".parse().unwrap());
    headers.insert("x-internal", "1".parse().unwrap());
    if path == "/api/moved" {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert("location", "http://elsewhere.example/".parse().unwrap());
    }
    Ok(response)
}

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

fn seen<'a>(answer: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = answer["headers"].as_array().unwrap().iter();
    let named = headers.filter(|pair| pair[0] == name);
    named.map(|pair| pair[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_request_goes_on_with_the_token_and_without_the_cookie() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let request =
        world.post("/api/things?x=1&y=%20").header("cookie", format!("a=b; {cookie}; c=d"));
    let answer = request.body("hello").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((header(&answer, "vary"), header(&answer, "cache-control")), ("Cookie", "no-store"));
    assert_eq!(cookie_of(&answer), None, "an upstream plants no device cookie");
    assert_eq!(header(&answer, "set-cookie"), "theme=dark");
    assert_eq!(header(&answer, "x-internal"), "<absent>");
    let got: Value = answer.json().await.unwrap();
    assert_eq!((&got["method"], &got["body"]), (&"POST".into(), &"hello".into()));
    assert_eq!(got["path"], "/api/things?x=1&y=%20");
    assert_eq!(seen(&got, "authorization"), ["Bearer access-1-1"]);
    assert_eq!(seen(&got, "cookie"), ["a=b; c=d"]);
    assert_eq!(seen(&got, "content-length"), ["5"]);
    assert_eq!(seen(&got, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&got, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&got, "x-forwarded-host"), [world.address.to_string()]);
    assert_eq!(seen(&got, "host"), [api.address.to_string()]);
}

#[tokio::test]
async fn a_client_smuggles_no_identity() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let forged = [
        ("authorization", "Bearer forged"),
        ("x-auth-request-email", "root@example.org"),
        ("x_auth_request_email", "root@example.org"),
        ("x-auth_request-user", "root"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-access-token", "forged"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("remote-user", "root"),
        ("x-remote-user", "root"),
        ("x-device-credential", "forged"),
        ("proxy-authorization", "Basic forged"),
        ("te", "trailers"),
        ("x-mine", "1"),
    ];
    let request =
        world.get("/api/x").header("cookie", &cookie).header("connection", "x-mine, close");
    let request =
        forged.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let got: Value = request.header("x-kept", "yes").send().await.unwrap().json().await.unwrap();
    let text = got.to_string();
    for forged in ["forged", "root", "6.6.6.6", "evil.example", "x-mine", "trailers"] {
        assert!(!text.contains(forged), "{forged} came through: {text}");
    }
    assert_eq!(seen(&got, "x-kept"), ["yes"]);
    assert_eq!(seen(&got, "cookie"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_401_of_the_upstream_renews_once_and_repeats_once() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    api.expect("access-1-2");
    let request = world.post("/api/x").header("cookie", &cookie).body("kept");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let got: Value = answer.json().await.unwrap();
    assert_eq!(
        (seen(&got, "authorization"), &got["body"]),
        (vec!["Bearer access-1-2"], &"kept".into())
    );
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (2, 1));
    api.expect("never");
    let answer = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "a second 401 is the upstream's word");
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (4, 1), "it was just renewed");
    world.clock.advance(Settings::default().cool_down);
    let answer = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (6, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_that_meet_one_401_cost_one_refresh() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    api.expect("access-1-2");
    let asking: Vec<_> = (0..100)
        .map(|_| tokio::spawn(world.get("/api/x").header("cookie", &cookie).send()))
        .collect();
    for answer in asking {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(world.issuer.refresh_calls(), 1);
}

#[tokio::test]
async fn a_large_body_streams_through_without_the_repeat() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let body = vec![b'x'; 1024 * 1024];
    let answer = world.post("/api/x").header("cookie", &cookie).body(body.clone()).send().await;
    let got: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(got["body"].as_str().unwrap().len(), body.len());
    api.expect("never");
    let answer = world.post("/api/x").header("cookie", &cookie).body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (2, 0));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_declared_or_not() {
    let api = Api::start().await;
    let gateway = GatewayLimits { body_bytes: 1000, kept_bytes: 100, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let post = || world.post("/api/x").header("cookie", &cookie);
    refused(post().body(vec![b'x'; 1001]).send().await.unwrap(), 413, "body_too_large").await;
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100]));
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    refused(post().body(chunked).send().await.unwrap(), 413, "body_too_large").await;
    let answer = post().body(vec![b'x'; 1000]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

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

#[tokio::test]
async fn without_a_session_programs_get_a_401_and_browsers_the_login_page() {
    let api = Api::start().await;
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let login_page = Some("/login".to_owned());
    let world = World::with(ServerSettings { proxies, login_page, ..plain() }).await;
    refused(world.get("/api/x").send().await.unwrap(), 401, "not_logged_in").await;
    let html = |method: Method| world.ask(method, "/api/x?y=z").header("accept", "text/html");
    refused(html(Method::POST).send().await.unwrap(), 401, "not_logged_in").await;
    let answer = html(Method::GET).header("cookie", "device_id=dead").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(header(&answer, "location"), "/login?rd=%2Fapi%2Fx%3Fy%3Dz");
    assert!(clears_cookie(&answer));
    assert_eq!(api.times_asked(), 0);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_problem_and_no_logout() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxies = vec![proxy("/", format!("http://{}", gone.local_addr().unwrap()))];
    drop(gone);
    let world = World::with(ServerSettings { proxies, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/x").header("cookie", &cookie).send().await.unwrap();
    assert!(!clears_cookie(&answer));
    refused(answer, 502, "upstream_unavailable").await;
    let answer = world.get("/v1/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "our own paths are not the upstream's");
}

#[tokio::test]
async fn a_redirect_of_the_upstream_is_the_clients_to_follow() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/api/moved").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(header(&answer, "location"), "http://elsewhere.example/");
}

#[tokio::test]
async fn a_prefix_can_be_taken_off() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    for (path, seen) in [
        ("/stripped/api/x?y", "/base/x?y"),
        ("/stripped/api", "/base/"),
        ("/%73tripped/api/a%20b/", "/base/a%20b/"),
    ] {
        let answer = world.get(path).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["path"], seen);
    }
}

#[tokio::test]
async fn ambiguous_paths_reach_no_upstream() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    for path in [
        "/x/../api/y",
        "/api/../v1/session",
        "/api/%2e%2e/y",
        "/api/.%2e/y",
        "/api%2fy",
        "/api/y%5c..",
        "/api\\y",
        "//api/y",
        "/api//y",
        "/api/..;/y",
        "/api/%252e%252e/y",
        "/api/%00",
        "/api/%",
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n"
        );
        let answer = world.raw(head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    assert_eq!(api.times_asked(), 0);
    let answer = world.get("/apix").header("cookie", &cookie).send().await.unwrap();
    refused(answer, 404, "not_found").await;
}

#[tokio::test]
async fn an_unsafe_request_from_another_site_does_not_go_on() {
    let api = Api::start().await;
    let world = world_before(&api).await;
    let cookie = world.login("ada@example.org").await;
    let request =
        world.post("/api/x").header("cookie", &cookie).header("sec-fetch-site", "cross-site");
    refused(request.send().await.unwrap(), 403, "cross_site").await;
    assert_eq!(api.times_asked(), 0);
}

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

#[tokio::test]
async fn a_body_that_stands_still_is_cut_off() {
    let api = Api::start().await;
    let body_stall = std::time::Duration::from_millis(100);
    let gateway = GatewayLimits { body_stall, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /api/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked";
    stream
        .write_all(format!("{head}\r\ncookie: {cookie}\r\n\r\n3\r\nabc\r\n").as_bytes())
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
