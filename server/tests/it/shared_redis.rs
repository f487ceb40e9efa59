//! Two server processes behind one Redis: they act as one, and outlive its death.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokenkeep::key_file;
use tokenkeep_core::{Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings};

use crate::auth_server::AuthServer;
use crate::moving::redis::Redis;
use crate::process::{Installation, Server};
use crate::world::{PATIENCE, cookie_of, refused};

struct Pair {
    redis: Redis,
    demo: Demo,
    servers: [Server; 2],
    http: reqwest::Client,
    _auth_server: AuthServer,
    _places: [Installation; 2],
    _ring: TempDir,
}

impl Pair {
    async fn new() -> Self {
        let redis = Redis::start(&[]).await;
        let lives = DemoSettings {
            access_lifetime: Duration::from_secs(120),
            refresh_lifetime: Duration::from_secs(3600),
            says_lifetimes: true,
        };
        let demo = Demo::new(lives, Arc::new(SystemClock::new()));
        let auth_server = AuthServer::start(demo.clone());
        let ring = tempfile::tempdir().unwrap();
        let file = ring.path().join("keyring");
        key_file::open_or_create(&file).unwrap();
        let (file, url) = (file.display(), redis.url());
        let more = format!(
            "[store]\nkind = \"redis\"\nkey_ring_file = \"{file}\"\n[store.redis]\nurl = \"{url}\"\n"
        );
        let places = [(); 2].map(|()| Installation::new(&auth_server.url(), &more));
        let servers = [places[0].serve().await, places[1].serve().await];
        let http = assembly::http_client().unwrap();
        let (_auth_server, _places, _ring) = (auth_server, places, ring);
        Self { redis, demo, servers, http, _auth_server, _places, _ring }
    }

    fn register(&self, email: &str) {
        self.demo.register(email.parse().unwrap(), &Password::new("right")).unwrap();
    }

    async fn login(&self, at: usize, email: &str) -> String {
        let cookie = login(&self.http, &self.servers[at].url(""), email).await;
        cookie.expect("a login works")
    }

    async fn send(&self, at: usize, method: Method, path: &str, cookie: &str) -> Response {
        let request = self.http.request(method, self.servers[at].url(path));
        request.header("cookie", cookie).send().await.unwrap()
    }

    async fn status(&self, at: usize, path: &str) -> StatusCode {
        self.send(at, Method::GET, path, "").await.status()
    }

    /// Waits until both servers say whether they are ready as `expected`.
    async fn until_ready_is(&self, expected: StatusCode) {
        let waiting = async {
            for at in [0, 1] {
                while self.status(at, "/readyz").await != expected {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("readiness follows Redis");
    }
}

/// The cookie of a new session; none if the server could not help.
async fn login(http: &reqwest::Client, base: &str, email: &str) -> Option<String> {
    let body = json!({"email": email, "password": "right"});
    let answer = http.post(format!("{base}/v1/login")).json(&body).send().await.unwrap();
    match answer.status() {
        StatusCode::OK => cookie_of(&answer),
        status => {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_two_servers_on_a_dead_token_cost_one_refresh() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let ada = pair.login(0, "ada@example.org").await;
    pair.demo.forget_access_tokens();
    let requests = (0..1000).map(|n| pair.send(n % 2, Method::GET, "/api/protected", &ada));
    for answer in join_all(requests).await {
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let stats = pair.demo.stats();
    assert_eq!((stats.refresh_calls, stats.reuses), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_one_server_is_one_at_the_other_and_its_streams_tell() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let laptop = pair.login(0, "ada@example.org").await;
    let phone = pair.login(1, "ada@example.org").await;
    // A device that goes on hears it by the relay alone: nothing else looks for others' ends.
    let mut ended = pair.send(1, Method::GET, "/v1/events", &laptop).await;
    let mut other = pair.send(1, Method::GET, "/v1/events", &phone).await;
    let answer = pair.send(0, Method::POST, "/v1/logout", &laptop).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let answer = pair.send(1, Method::GET, "/v1/session", &laptop).await;
    refused(answer, 401, "session_ended").await;
    let tells = async {
        let mut text = String::new();
        while !text.contains("logged_out") {
            let bytes = other.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        while ended.chunk().await.unwrap().is_some() {}
    };
    tokio::time::timeout(PATIENCE, tells).await.expect("the other server's streams tell");
}

/// Logs in, refreshes and checks until told to stop; returns what was acknowledged.
async fn work(
    http: reqwest::Client,
    base: String,
    email: String,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut cookies: Vec<String> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        if cookies.len() < 8 {
            cookies.extend(login(&http, &base, &email).await);
        }
        for cookie in &cookies {
            for (method, path) in
                [(Method::POST, "/v1/session/refresh"), (Method::GET, "/v1/session")]
            {
                let request = http.request(method, format!("{base}{path}"));
                let answer = request.header("cookie", cookie).send().await.unwrap();
                assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "nobody is logged out");
            }
        }
    }
    cookies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_under_load_takes_no_session_and_no_server_with_it() {
    let mut pair = Pair::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let email = format!("user{number}@example.org");
            pair.register(&email);
            let base = pair.servers[number % 2].url("");
            tokio::spawn(work(pair.http.clone(), base, email, Arc::clone(&stop)))
        })
        .collect();
    while pair.demo.stats().refreshes < 50 {
        tokio::task::yield_now().await;
    }
    pair.redis.kill();
    pair.until_ready_is(StatusCode::SERVICE_UNAVAILABLE).await;
    for at in [0, 1] {
        assert_eq!(pair.status(at, "/livez").await, StatusCode::OK);
    }
    pair.redis.start_again().await;
    pair.until_ready_is(StatusCode::OK).await;
    stop.store(true, Ordering::SeqCst);
    let mut sessions = 0;
    for worker in workers {
        for cookie in worker.await.unwrap() {
            sessions += 1;
            for at in [0, 1] {
                let answer = pair.send(at, Method::GET, "/v1/session", &cookie).await;
                assert_eq!(answer.status(), StatusCode::OK, "an acknowledged session is there");
            }
        }
    }
    assert!(sessions > 0);
    assert_eq!(pair.demo.stats().reuses, 0);
}
