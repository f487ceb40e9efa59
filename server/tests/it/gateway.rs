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
use tokenkeep_server::settings::{
    ConnectionLimits, GatewayLimits, Proxy, RequestLimits, ServerSettings,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::frames;
use crate::world::{
    PATIENCE, World, clears_cookie, cookie_of, header, plain, read_to_end, refused,
};

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
        ("x-real_ip", "6.6.6.6"),
        ("x_user_id", "root"),
        ("x-original-url", "/root"),
        ("x_rewrite_url", "/root"),
        ("x-http-method-override", "root"),
        ("content_length", "root"),
        ("transfer_encoding", "root"),
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
    let ask = || world.get("/api/x").header("cookie", &cookie).send();
    assert_eq!(ask().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let times = (api.times_asked(), world.issuer.refresh_calls());
    assert_eq!(times, (3, 1), "the token is as young as can be: nothing is repeated");
    world.clock.advance(Settings::default().cool_down);
    let answer = ask().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "a second 401 is the upstream's word");
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (5, 2));
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
    api.expect("access-1-2");
    let answer = world.post("/api/x").header("cookie", &cookie).body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "there is nothing to repeat it with");
    assert_eq!((api.times_asked(), world.issuer.refresh_calls()), (2, 1));
    api.expect("access-1-2");
    let next = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(next.status(), StatusCode::OK, "the token was renewed all the same");
    assert_eq!(world.issuer.refresh_calls(), 1);
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

#[tokio::test]
async fn our_own_paths_never_go_to_an_upstream() {
    let api = Api::start().await;
    let proxies = vec![proxy("/", format!("http://{}", api.address))];
    let world =
        World::build(ServerSettings { proxies, ..plain() }, Settings::default(), true).await;
    let cookie = world.login("ada@example.org").await;
    for path in [
        "/v1",
        "/v1/x",
        "/v1/admin/users",
        "/%761/x",
        "/authz",
        "/authz/x",
        "/livez/x",
        "/readyz/",
        "/metrics",
        "/metrics/x",
        "/openapi.json",
        "/oauth2/auth",
        "/api_v1/x",
        "/%6cive%7a",
    ] {
        let answer = world.get(path).header("cookie", &cookie).send().await.unwrap();
        refused(answer, 404, "not_found").await;
        let post =
            world.post(path).header("cookie", &cookie).header("sec-fetch-site", "cross-site");
        let status = post.send().await.unwrap().status().as_u16();
        assert!([401, 403, 404].contains(&status), "{path}: {status}");
    }
    let admin = format!("http://{}/x", world.admin.unwrap());
    let answer = world.http.get(admin).header("cookie", &cookie).send().await.unwrap();
    refused(answer, 404, "not_found").await;
    assert_eq!(api.times_asked(), 0);
    let answer = world.get("/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "all others do");
}

#[tokio::test]
async fn what_would_mirror_or_tunnel_a_token_does_not_go_on() {
    let api = Api::start().await;
    let world = world_with("/", api.address).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.ask(Method::TRACE, "/x").header("cookie", &cookie).send().await.unwrap();
    assert!(header(&answer, "allow").contains("DELETE"));
    refused(answer, 405, "method_not_allowed").await;
    let head = "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\nconnection: close\r\n";
    let answer = world.raw(format!("{head}cookie: {cookie}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(api.times_asked(), 0);
}

#[tokio::test]
async fn a_query_goes_on_as_it_came_and_nothing_is_added() {
    let (address, mut heard) = parrot("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    let world = world_with("/api", address).await;
    let cookie = world.login("ada@example.org").await;
    let target = "/api/it's?q='x'&r=a|b&%e2%82=~[]";
    let head = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let answer = world.raw(format!("{head}cookie: flag; {cookie}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let came = heard.recv().await.unwrap().to_ascii_lowercase();
    let names: Vec<&str> =
        came.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(came.starts_with(&format!("get {target} http/1.1\r\n")), "{came}");
    assert!(came.contains("\r\ncookie: flag\r\n"), "{came}");
    let mut expected = [
        "authorization",
        "cookie",
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    let mut names = names;
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// hyper would let a length pass beside `Transfer-Encoding`, and lines that end with LF alone.
#[tokio::test]
async fn what_can_be_read_in_two_ways_goes_nowhere() {
    let api = Api::start().await;
    let world = world_with("/api", api.address).await;
    let cookie = world.login("ada@example.org").await;
    let head = format!("host: x\r\nconnection: close\r\ncookie: {cookie}\r\n");
    let (chunked, length) = ("transfer-encoding: chunked\r\n", "content-length: 3\r\n");
    let both = |lengths: [&str; 2]| {
        let lengths = lengths.concat();
        format!("POST /api/x HTTP/1.1\r\n{head}{lengths}\r\n5\r\nhello\r\n0\r\n\r\n")
    };
    let bare = format!("POST /api/x HTTP/1.1\n{head}content-length: 5\n\nhello");
    for bytes in [both([chunked, length]), both([length, chunked]), bare] {
        let answer = world.raw(bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_may_have_done_what_was_asked() {
    let interim = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    for answer in ["", "rubbish\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-le", interim] {
        let (address, mut heard) = parrot(answer).await;
        let world = world_with("/api", address).await;
        let cookie = world.login("ada@example.org").await;
        let answer = world.post("/api/x").header("cookie", &cookie).send().await.unwrap();
        assert_eq!(header(&answer, "retry-after"), "<absent>");
        let problem = refused(answer, 502, "upstream_unavailable").await;
        assert!(problem.detail.contains("broke off"), "{problem:?}");
        assert!(heard.recv().await.unwrap().starts_with("POST "));
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answer = std::time::Duration::from_millis(100);
    let gateway = GatewayLimits { answer, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", silent.local_addr().unwrap()))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    refused(answer, 504, "upstream_unavailable").await;
}

#[tokio::test]
async fn an_upstream_does_not_loosen_the_caches() {
    let public = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 0\r\n\r\n";
    let (address, _heard) = parrot(public).await;
    let world = world_with("/api", address).await;
    let cookie = world.login("ada@example.org").await;
    let answer = world.get("/api/x").header("cookie", &cookie).send().await.unwrap();
    assert_eq!((header(&answer, "vary"), header(&answer, "cache-control")), ("Cookie", "no-store"));
}

#[tokio::test]
async fn an_upstream_hears_of_https_where_the_cookie_needs_it() {
    let api = Api::start().await;
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, ..ServerSettings::default() }).await;
    let cookie = world.login("ada@example.org").await;
    let request = world.get("/api/x").header("cookie", &cookie).header("x-forwarded-proto", "http");
    let got: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen(&got, "x-forwarded-proto"), ["https"]);
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

#[tokio::test]
async fn a_body_that_dribbles_is_cut_off() {
    let api = Api::start().await;
    let body_stall = std::time::Duration::from_millis(200);
    let gateway = GatewayLimits { body_stall, ..GatewayLimits::default() };
    let proxies = vec![proxy("/api", format!("http://{}", api.address))];
    let world = World::with(ServerSettings { proxies, gateway, ..plain() }).await;
    let cookie = world.login("ada@example.org").await;
    let dribble = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>("x"), ()))
    });
    let request = world.post("/api/x").header("cookie", &cookie);
    let sent = request.body(reqwest::Body::wrap_stream(dribble)).send();
    let answer = tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap();
    refused(answer, 408, "request_timeout").await;
}
