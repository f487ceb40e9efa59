//! Two server processes behind one Redis: they act as one, and outlive its death.

mod death;
mod gap;
mod leaving;
mod rotation;
mod storm;
mod stream;
mod upstream;

use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokenkeep::key_file;
use tokenkeep_core::wire::StatsBody;
use tokenkeep_core::{Clock as _, Password, SystemClock};

use crate::crash::Site;
use crate::moving::redis::Redis;
use crate::process::{Installation, Server};
use crate::world::{cookie_of, refused};
use stream::Stream;

/// Two servers, each with a directory of its own: they share the Redis and the key ring.
struct Pair {
    servers: [Server; 2],
    redis: Redis,
    /// The first server's place, the auth server, and the workers.
    site: Site,
    _other: Installation,
    _ring: TempDir,
}

impl Pair {
    async fn new() -> Self {
        Self::with(0, "").await
    }

    /// With so many workers, and `more` lines of settings.
    async fn with(workers: u64, more: &str) -> Self {
        let redis = Redis::start(&[]).await;
        let ring = tempfile::tempdir().unwrap();
        let file = ring.path().join("keyring");
        key_file::open_or_create(&file).unwrap();
        let (file, url) = (file.display(), redis.url());
        let more = format!(
            "{more}[store]\nkind = \"redis\"\nkey_ring_file = \"{file}\"\n\
             [store.redis]\nurl = \"{url}\"\n"
        );
        let mut site = Site::with_settings(workers, 7, &more).await;
        let mut other = Installation::new(&site.auth_server.url(), &more);
        for place in [&mut site.place, &mut other] {
            // No call is given up because the machine is busy.
            place.set("TOKENKEEP_AUTH_SERVER__DEADLINE", "25s");
        }
        std::fs::create_dir(other.data_dir()).unwrap();
        let keys = |place: &Installation| place.data_dir().join("service-keys.json");
        std::fs::copy(keys(&site.place), keys(&other)).unwrap();
        let servers = [site.place.serve().await, other.serve().await];
        Self { servers, redis, site, _other: other, _ring: ring }
    }

    /// Makes an account.
    fn register(&self, email: &str) {
        self.site.demo.register(email.parse().unwrap(), &Password::new("right")).unwrap();
    }

    /// The cookie of a new session, made at the server `at`.
    async fn login(&self, at: usize, email: &str) -> String {
        let body = json!({"email": email, "password": "right"});
        let request = self.site.http.post(self.servers[at].url("/v1/login"));
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        cookie_of(&answer).unwrap()
    }

    async fn send(&self, at: usize, method: Method, path: &str, cookie: &str) -> Response {
        let request = self.site.http.request(method, self.servers[at].url(path));
        request.header("cookie", cookie).send().await.unwrap()
    }

    async fn logout(&self, at: usize, cookie: &str) {
        let answer = self.send(at, Method::POST, "/v1/logout", cookie).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    /// What an administrator gets from the server `at`.
    async fn admin(&self, at: usize, path: &str) -> Response {
        let request = self.site.http.get(self.servers[at].url(path));
        let answer = request.bearer_auth(&self.site.key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer
    }

    async fn stats(&self, at: usize) -> StatsBody {
        self.admin(at, "/v1/admin/stats").await.json().await.unwrap()
    }

    /// What the server `at` tells the device that holds `cookie`.
    async fn events(&self, at: usize, cookie: &str) -> Stream {
        Stream::of(self.send(at, Method::GET, "/v1/events", cookie).await)
    }

    /// What the server `at` tells administrators, from here on.
    async fn admin_events(&self, at: usize) -> Stream {
        let mut stream = Stream::of(self.admin(at, "/v1/admin/events").await);
        stream.tells("event:reset").await;
        stream
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_is_in_the_audit_log_of_one_server() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let mut admin = pair.admin_events(1).await;
    let cookie = pair.login(0, "ada@example.org").await;
    admin.tells("event:logged_in").await;
    let mut admin = pair.admin_events(0).await;
    pair.logout(1, &cookie).await;
    admin.tells("event:logged_out").await;
    let mut told = Vec::new();
    for server in pair.servers {
        let log = String::from_utf8(server.stop().await).unwrap();
        let times = |event| log.matches(&format!("\"event\":\"{event}\"")).count();
        told.push((times("login"), times("logout")));
    }
    assert_eq!(told, [(1, 0), (0, 1)]);
}

/// Checks that what happens at the first server is at once so at the second one, and that its
/// streams tell; says how long they took.
async fn acts_as_one(pair: &Pair, email: &str) {
    let laptop = pair.login(0, email).await;
    let phone = pair.login(1, email).await;
    let mut ended = pair.events(1, &laptop).await;
    // A device that goes on hears it by the relay alone: nothing else looks for others' ends.
    let mut other = pair.events(1, &phone).await;
    let mut admin = pair.admin_events(1).await;
    let clock = SystemClock::new();
    pair.logout(0, &laptop).await;
    let from = clock.monotonic();
    let answer = pair.send(1, Method::GET, "/v1/session", &laptop).await;
    refused(answer, 401, "session_ended").await;
    ended.ends().await;
    let closed = clock.monotonic() - from;
    other.tells("logged_out").await;
    admin.tells("logged_out").await;
    println!("the stream at the other server ended {closed:?} after the answered logout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_one_server_is_one_at_the_other_and_its_streams_tell() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    for _ in 0..3 {
        acts_as_one(&pair, "ada@example.org").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_ended_by_another_device_or_a_service_loses_his_stream_at_both_servers() {
    let pair = Pair::new().await;
    pair.register("ada@example.org");
    let clock = SystemClock::new();
    for path in ["/v1/devices", "/v1/admin/devices?email=ada@example.org"] {
        let asking = pair.login(0, "ada@example.org").await;
        let ended = pair.login(0, "ada@example.org").await;
        let mut streams = [
            pair.events(0, &ended).await,
            pair.events(1, &ended).await,
            pair.events(1, &asking).await,
        ];
        let request = pair.site.http.delete(pair.servers[0].url(path));
        let request = request.header("cookie", &asking).bearer_auth(&pair.site.key);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{path}");
        let from = clock.monotonic();
        join_all(streams.iter_mut().map(Stream::ends)).await;
        println!("{path}: all streams ended {:?} after the answer", clock.monotonic() - from);
    }
}
