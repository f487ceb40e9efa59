//! A server in a box, and the little languages that tests speak with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokenkeep_core::sessions::Settings;
use tokenkeep_core::testing::{FakeIssuer, MemoryStore};
use tokenkeep_core::wire::{LOOPBACK_COOKIE, Problem};
use tokenkeep_core::{ManualClock, Sessions, Timestamp};
use tokenkeep_server::settings::{CookiePolicy, ServerSettings};
use tokenkeep_server::{App, Audit, KeyRefusal, Listeners, Scope, ServiceAccess, Stopped, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::openapi::{Seen, contract};

/// One key for each scope.
pub struct Keys;

impl ServiceAccess for Keys {
    fn check(&self, presented: &str, scope: Scope) -> Result<String, KeyRefusal> {
        let has = match presented {
            "token-key" => Scope::Token,
            "read-key" => Scope::AdminRead,
            "write-key" => Scope::AdminWrite,
            "panic-key" => panic!("told to panic"),
            _ => return Err(KeyRefusal::Unknown),
        };
        let name = format!("the {presented}");
        if has == scope { Ok(name) } else { Err(KeyRefusal::MissingScope) }
    }
}

pub struct World {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub clock: Arc<ManualClock>,
    pub issuer: FakeIssuer,
    pub store: MemoryStore,
    pub sessions: Sessions<MemoryStore, FakeIssuer>,
    pub audit: Audit,
    pub http: reqwest::Client,
    pub stop: CancellationToken,
    pub stopped: JoinHandle<Stopped>,
}

pub fn plain() -> ServerSettings {
    ServerSettings {
        cookie: CookiePolicy::Loopback,
        drain_delay: Duration::ZERO,
        oauth2_paths: true,
        ..ServerSettings::default()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(plain()).await
    }

    pub async fn with(settings: ServerSettings) -> Self {
        Self::build(settings, Settings::default(), false).await
    }

    pub async fn build(settings: ServerSettings, flow: Settings, admin: bool) -> Self {
        Self::start(settings, flow, admin, None).await
    }

    /// A world whose audit log is the file `audit`.
    pub async fn audited(settings: ServerSettings, flow: Settings, audit: &Path) -> Self {
        Self::start(settings, flow, false, Some(audit)).await
    }

    async fn start(
        settings: ServerSettings,
        flow: Settings,
        admin: bool,
        audit: Option<&Path>,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        let (store, issuer) = (MemoryStore::new(), FakeIssuer::new());
        let sessions = Sessions::new(store.clone(), issuer.clone(), clock.clone(), flow);
        let app = App::new(sessions.clone(), clock.clone(), Arc::new(Keys), settings).unwrap();
        let audit = match audit {
            Some(path) => Audit::open(path, clock.clone()).unwrap(),
            None => Audit::to_log(clock.clone()),
        };
        let app = app.with_audit(audit.clone());
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = public.local_addr().unwrap();
        let admin = match admin {
            true => Some(TcpListener::bind("127.0.0.1:0").await.unwrap()),
            false => None,
        };
        let admin_address = admin.as_ref().map(|admin| admin.local_addr().unwrap());
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let mut listeners = Listeners::from(public);
        if let Some(admin) = admin {
            listeners = listeners.with_admin(admin);
        }
        let stopped =
            tokio::spawn(async move { serve(listeners, Arc::new(app), until).await.unwrap() });
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            address,
            admin: admin_address,
            clock,
            issuer,
            store,
            sessions,
            audit,
            http,
            stop,
            stopped,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.ask(Method::POST, path)
    }

    /// Logs `email` in; returns the cookie pair.
    pub async fn login(&self, email: &str) -> String {
        let body = serde_json::json!({"email": email, "password": "right"});
        let answer = self.post("/v1/login").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        cookie_of(&answer).unwrap()
    }

    /// Lets the access token die.
    pub fn outlive_access(&self) {
        self.clock.advance(Duration::from_secs(121));
    }

    /// Sends `bytes` as they are, and reads until the server closes.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        raw(self.address, bytes).await
    }
}

/// Sends `bytes` as they are, and reads until the server closes.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes.as_ref()).await;
    read_to_end(&mut stream).await
}

/// Reads until the server closes.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits for what comes true behind the answers.
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes true");
}

/// Longer than anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The pair of the device cookie that an answer sets.
pub fn cookie_of(answer: &Response) -> Option<String> {
    let cookies = answer.headers().get_all("set-cookie").iter();
    let mut pairs = cookies.filter_map(|cookie| cookie.to_str().unwrap().split(';').next());
    pairs.find(|pair| pair.contains("device_id=")).map(str::to_owned)
}

/// Whether an answer takes the device cookie away.
pub fn clears_cookie(answer: &Response) -> bool {
    let cleared = format!("{LOOPBACK_COOKIE}=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    answer.headers().get_all("set-cookie").iter().any(|cookie| *cookie == cleared)
}

pub fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("<absent>", |value| value.to_str().unwrap())
}

/// The device id in a cookie pair.
pub fn device_of(cookie: &str) -> &str {
    cookie.split_once('=').unwrap().1.split_once('.').unwrap().0
}

/// The code of a problem, checked for what all problems have.
pub async fn problem(answer: Response) -> Problem {
    assert_eq!(header(&answer, "content-type"), "application/problem+json");
    assert_eq!(header(&answer, "cache-control"), "no-store");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    let status = answer.status().as_u16();
    let id = header(&answer, "x-request-id").to_owned();
    let mut seen = Seen::of(&answer, answer.url().path());
    seen.body = answer.bytes().await.unwrap().to_vec();
    contract().check_problem(&seen);
    let problem: Problem = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!((problem.status, problem.request_id.as_deref()), (status, Some(id.as_str())));
    problem
}

/// Checks status and code of an answer.
#[track_caller]
pub fn refused(answer: Response, status: u16, code: &str) -> impl Future<Output = Problem> {
    let at = std::panic::Location::caller();
    async move {
        let got = answer.status().as_u16();
        let problem = problem(answer).await;
        let word = serde_json::to_value(problem.code).unwrap();
        assert_eq!((got, word.as_str().unwrap()), (status, code), "at {at}: {problem:?}");
        problem
    }
}
