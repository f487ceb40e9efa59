//! An auth server that misbehaves in every way over a bare socket: one clear line in the log, the
//! right answer to the client, and nobody is logged out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use tokenkeep_core::sessions::Settings;
use tokenkeep_core::testing::MemoryStore;
use tokenkeep_core::{ManualClock, Sessions, Timestamp};
use tokenkeep_server::central::CentralIssuer;
use tokenkeep_server::config::AuthServerSettings;
use tokenkeep_server::{App, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::listening::listen;
use crate::world::{Keys, cookie_of, header, plain, refused};

/// What the auth server does with a request that it has read.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Answers like this, and closes.
    Answer(&'static str),
    /// Is not there: connections are refused.
    Away,
    /// Closes its ear before it has read anything, and says nothing.
    CloseAtOnce,
    Reset,
    /// Says nothing, and keeps the connection.
    Silence,
    /// Ends its half of the connection without a word, and keeps the other.
    HalfClosed,
    /// A header line every few milliseconds, for ever.
    EndlessHead,
    /// One byte of a good answer every few milliseconds.
    Drip,
    EndlessBody,
}

const TYPED: &str =
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n";

/// Each fault, and what the log says about it.
#[rustfmt::skip]
const FAULTS: &[(Act, &str)] = &[
    (Act::Away, "did not take the request: the connection failed"),
    (Act::CloseAtOnce, "the connection failed"),
    (Act::Reset, "the connection failed"),
    (Act::HalfClosed, "the connection failed"),
    (Act::Silence, "no whole answer within"),
    (Act::EndlessHead, "the connection failed"),
    (Act::Drip, "no whole answer within"),
    (Act::EndlessBody, "the answer is larger than"),
    (Act::Answer(""), "the connection failed"),
    (Act::Answer("SSH-2.0-OpenSSH_9.2\r\n"), "the connection failed"),
    (Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}"), "the connection failed"),
    (Act::Answer("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{}"), "the connection failed"),
    (Act::Answer("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "the connection failed"),
    (Act::Answer("HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"), "the answer has status 307"),
    (Act::Answer("HTTP/1.1 302 X\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"), "the answer has status 302"),
    (Act::Answer("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"), "the answer has status 500"),
    (Act::Answer("HTTP/1.1 503 X\r\ncontent-type: application/json\r\ncontent-length: 25\r\n\r\n{\"error\":\"invalid_grant\"}"), "the answer has status 503"),
    (Act::Answer("HTTP/1.1 429 X\r\nretry-after: 999999999\r\ncontent-length: 0\r\n\r\n"), "the answer has status 429"),
    (Act::Answer("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n"), "the answer has status 404"),
    (Act::Answer("HTTP/1.1 401 X\r\nwww-authenticate: Basic realm=proxy\r\ncontent-length: 0\r\n\r\n"), "the answer has status 401"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\n\r\n<html>portal</html>"), "the answer is no JSON object"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n{\"access_token\":"), "the answer is no JSON object"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n[1]"), "the answer is no JSON object"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n{\"refresh_token\":\"canary\"}"), "the answer's access_token is missing or of another type"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n{\"access_token\":{\"a\":1}}"), "the answer's access_token is missing or of another type"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n{\"access_token\":\"canary\\r\\nset-cookie: a=b\"}"), "the answer's access_token cannot be used"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n{\"access_token\":\"a\",\"refresh_token\":\"canary\\n\"}"), "the answer's refresh_token cannot be used"),
    (Act::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n{\"access_token\":\"a\",\"token_type\":\"x\\r\\ny: z\"}"), "the answer's token_type cannot be used"),
];

/// The server before an auth server that does as it is told.
struct Site {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    act: Arc<Mutex<Option<Act>>>,
    auth_server: SocketAddr,
    /// Bound and never listening: nobody else gets the port while the auth server is away.
    _reserved: TcpSocket,
    serving: JoinHandle<()>,
    http: reqwest::Client,
    _stop: DropGuard,
}

impl Site {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reserved = bound("127.0.0.1:0".parse().unwrap());
        let auth_server = reserved.local_addr().unwrap();
        let settings = AuthServerSettings {
            base_url: Some(format!("http://{auth_server}")),
            deadline: Duration::from_millis(500),
            ..AuthServerSettings::default()
        };
        let act = Arc::new(Mutex::new(None));
        let serving = tokio::spawn(listen_at(auth_server, act.clone()));
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        let flow = Settings { issuer_deadline: Duration::from_secs(5), ..Settings::default() };
        let issuer = CentralIssuer::new(settings).unwrap();
        let sessions = Sessions::new(MemoryStore::new(), issuer, clock.clone(), flow);
        let app = App::new(sessions, clock.clone(), Arc::new(Keys), plain()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        tokio::spawn(async move { serve(listener, Arc::new(app), until).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let _stop = stop.drop_guard();
        Self { address, clock, act, auth_server, _reserved: reserved, serving, http, _stop }
    }

    /// From here on the auth server does this; `None`: it answers as it should.
    async fn acts(&mut self, act: Option<Act>) {
        let was = std::mem::replace(&mut *self.act.lock().unwrap(), act);
        if matches!(act, Some(Act::Away)) {
            self.serving.abort();
            let _ = (&mut self.serving).await;
        } else if matches!(was, Some(Act::Away)) {
            self.serving = tokio::spawn(listen_at(self.auth_server, self.act.clone()));
        }
    }

    async fn login(&self) -> Response {
        let body = serde_json::json!({"email": "ada@example.org", "password": "canary-password"});
        let request = self.http.post(format!("http://{}/v1/login", self.address));
        request.json(&body).send().await.unwrap()
    }

    fn get(&self, path: &str, cookie: &str) -> RequestBuilder {
        self.http.get(format!("http://{}{path}", self.address)).header("cookie", cookie)
    }

    async fn status(&self, path: &str, cookie: &str) -> StatusCode {
        self.get(path, cookie).send().await.unwrap().status()
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn listen_at(address: SocketAddr, act: Arc<Mutex<Option<Act>>>) -> impl Future<Output = ()> {
    let listener = bound(address).listen(64).unwrap();
    serve_auth(listener, act)
}

async fn serve_auth(listener: TcpListener, act: Arc<Mutex<Option<Act>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let act = *act.lock().unwrap();
        tokio::spawn(answer(stream, act));
    }
}

async fn answer(mut stream: TcpStream, act: Option<Act>) {
    let Some(act) = act else {
        read_request(&mut stream).await;
        let _ = stream.write_all([TYPED, PAIR].concat().as_bytes()).await;
        return;
    };
    if !matches!(act, Act::CloseAtOnce) {
        read_request(&mut stream).await;
    }
    match act {
        Act::Answer(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Act::Away | Act::CloseAtOnce => {}
        Act::Reset => {
            let _ = stream.set_zero_linger();
        }
        Act::HalfClosed => {
            let _ = stream.shutdown().await;
            std::future::pending().await
        }
        Act::Silence => std::future::pending().await,
        Act::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            repeat(stream, b"x-more: and more\r\n").await;
        }
        Act::EndlessBody => {
            let _ = stream.write_all([TYPED, "{\"a\":\""].concat().as_bytes()).await;
            repeat(stream, &[b'x'; 8192]).await;
        }
        Act::Drip => {
            for byte in [TYPED, PAIR].concat().bytes() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = stream.write_all(&[byte]).await;
            }
        }
    }
}

async fn repeat(mut stream: TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).await.is_ok() {}
}

/// Reads a request whole; those of a client end with the last byte of a body that is JSON or a form.
async fn read_request(stream: &mut TcpStream) {
    let mut text = Vec::new();
    loop {
        let read = String::from_utf8_lossy(&text).to_ascii_lowercase();
        if let Some((head, body)) = read.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return;
            }
        }
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

const PAIR: &str =
    r#"{"access_token":"canary-a","refresh_token":"canary-r","token_type":"bearer"}"#;

/// Everything that runs here runs on this thread, where the subscriber listens.
#[tokio::test(flavor = "current_thread")]
async fn a_fault_is_one_clear_line_a_503_and_nobody_is_logged_out() {
    let listening = listen();
    for (act, says) in FAULTS {
        let mut site = Site::start().await;
        let cookie = cookie_of(&site.login().await).unwrap();
        site.clock.advance(Duration::from_secs(121));
        site.acts(Some(*act)).await;
        let before = listening.text().len();
        let answer = site.get("/authz/nginx", &cookie).send().await.unwrap();
        assert!(header(&answer, "retry-after").parse::<u64>().unwrap() > 0, "{act:?}");
        assert!(answer.headers().get("set-cookie").is_none(), "{act:?}: the cookie stays");
        refused(answer, 503, "auth_server_unavailable").await;
        assert_eq!(site.status("/v1/session", &cookie).await, StatusCode::OK, "{act:?}");

        let text = listening.text().split_off(before);
        let lines: Vec<_> = text.lines().filter(|line| line.contains("a refresh failed")).collect();
        assert_eq!(lines.len(), 1, "{act:?}: {lines:#?}");
        assert!(lines[0].contains(says), "{act:?}: {}", lines[0]);
        let ours = text.lines().filter(|line| line.contains("tokenkeep"));
        let loud = ours.filter(|line| line.contains("WARN") || line.contains("ERROR"));
        // The other one names the request.
        assert_eq!(loud.count(), 2, "{act:?}: {text}");
        assert!(!text.contains("canary"), "{act:?}");

        let refused_login = site.login().await;
        assert!(cookie_of(&refused_login).is_none());
        let status = refused_login.status();
        // A login is no session: 401 is a verdict on the password.
        let is_verdict = matches!(act, Act::Answer(text) if text.starts_with("HTTP/1.1 401"));
        assert_eq!(status, if is_verdict { 401 } else { 503 }, "{act:?}");

        site.acts(None).await;
        site.clock.advance(Duration::from_secs(61));
        assert_eq!(site.status("/authz/nginx", &cookie).await, StatusCode::OK, "{act:?}");
    }
}

/// Lifetimes that are no lifetimes: the session lives as the settings say, or as long as allowed.
#[tokio::test]
async fn absurd_lifetimes_log_nobody_out() {
    for (lifetime, lives) in [
        ("0", 120),
        ("-1", 120),
        ("-9223372036854775808", 120),
        ("1e308", 86_400),
        ("\"18446744073709551616\"", 86_400),
        ("\"soon\"", 120),
        ("null", 120),
        ("0.001", 1),
        ("60.5", 60),
        ("{}", 120),
    ] {
        let mut site = Site::start().await;
        let cookie = cookie_of(&site.login().await).unwrap();
        site.clock.advance(Duration::from_secs(121));
        let body = format!(
            r#"{{"access_token":"a","refresh_token":"r","expires_in":{lifetime},"refresh_expires_in":{lifetime}}}"#
        );
        site.acts(Some(Act::Answer([TYPED, &body].concat().leak()))).await;
        let refresh = site.http.post(format!("http://{}/v1/session/refresh", site.address));
        let answer = refresh.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{lifetime}");
        let standing: serde_json::Value = answer.json().await.unwrap();
        let seconds = standing["access_seconds_left"].as_u64();
        assert_eq!(seconds, Some(lives), "{lifetime}: {standing}");
    }
}
