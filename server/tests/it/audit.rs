//! The audit log: one line for each act, and nothing in it that could forge one.

mod file;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenkeep_core::sessions::Settings;
use tokenkeep_core::testing::Fault;
use tokenkeep_core::{Ceiling, CeilingPolicy};
use tokenkeep_server::settings::{LoginLimits, Rate, ServerSettings};

use crate::world::{World, device_of, header, plain};

/// A world and its audit log, read from where it was read before.
struct Audited {
    world: World,
    place: TempDir,
    read: usize,
}

impl Audited {
    async fn new() -> Self {
        Self::with(plain(), Settings::default()).await
    }

    async fn with(settings: ServerSettings, flow: Settings) -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = World::audited(settings, flow, &place.path().join("audit")).await;
        Self { world, place, read: 0 }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("audit")
    }

    /// The lines that came since, checked for what all have that somebody asked for.
    fn lines(&mut self) -> Vec<Value> {
        // Returns when what came before is written.
        self.world.audit.reopen().unwrap();
        let text = std::fs::read_to_string(self.path()).unwrap();
        let fresh = &text[self.read..];
        self.read = text.len();
        assert!(fresh.is_empty() || fresh.ends_with('\n'), "lines are whole: {fresh:?}");
        fresh.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Checks the lines that came since against `expected`, which says nothing of the time, the
    /// request and the address.
    #[track_caller]
    fn told(&mut self, expected: &[Value]) {
        let mut lines = self.lines();
        let now = self.world.sessions.now().to_string();
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            assert_eq!(line.remove("time").unwrap(), now);
            assert_eq!(line.remove("address").unwrap(), "127.0.0.1");
            assert!(line.remove("request").unwrap().as_str().unwrap().contains('-'));
        }
        assert_eq!(lines, expected);
    }

    async fn send(&self, method: Method, path: &str, cookie: &str) -> StatusCode {
        let request = self.world.ask(method, path).header("cookie", cookie);
        request.send().await.unwrap().status()
    }

    async fn post(&self, path: &str, email: &str, password: &str) -> StatusCode {
        let body = json!({"email": email, "password": password});
        self.world.post(path).json(&body).send().await.unwrap().status()
    }
}

const ADA: &str = "ada@example.org";

fn done(event: &str, cookie: &str) -> Value {
    json!({"event": event, "outcome": "done", "device": device_of(cookie), "email": ADA})
}

fn ended(reason: &str, cookie: &str) -> Value {
    let mut line = done("session_ended", cookie);
    line["reason"] = reason.into();
    line
}

fn refused(event: &str, reason: &str) -> Value {
    json!({"event": event, "outcome": "refused", "reason": reason})
}

fn of(email: &str, mut line: Value) -> Value {
    line["email"] = email.into();
    line
}

fn on(cookie: &str, mut line: Value) -> Value {
    line["device"] = device_of(cookie).into();
    line
}

fn by(service: &str, mut line: Value) -> Value {
    line["service"] = service.into();
    line
}

#[tokio::test]
async fn a_session_is_told_from_its_login_to_its_end() {
    let mut audited = Audited::new().await;
    audited.post("/v1/register", ADA, "right").await;
    audited.told(&[json!({"event": "registration", "outcome": "done", "email": ADA})]);
    let cookie = audited.world.login("ADA@example.org").await;
    audited.told(&[done("login", &cookie)]);
    for path in ["/v1/session", "/v1/devices", "/authz/nginx"] {
        assert_eq!(audited.send(Method::GET, path, &cookie).await, StatusCode::OK);
    }
    audited.told(&[]);
    audited.world.outlive_access();
    audited.send(Method::GET, "/authz/nginx", &cookie).await;
    audited.told(&[done("refresh", &cookie)]);
    let path = format!("/v1/devices/{}", device_of(&cookie));
    let label = audited.world.ask(Method::PATCH, &path).header("cookie", &cookie);
    label.json(&json!({"label": "laptop"})).send().await.unwrap();
    audited.told(&[done("device_labelled", &cookie)]);
    audited.world.outlive_access();
    audited.world.issuer.fail_next(Some(Fault::NotSent));
    audited.send(Method::POST, "/v1/session/refresh", &cookie).await;
    let mut failed = done("refresh_failed", &cookie);
    failed["outcome"] = "failed".into();
    audited.told(&[failed]);
    audited.send(Method::POST, "/v1/logout", &cookie).await;
    audited.told(&[done("logout", &cookie)]);
    audited.send(Method::POST, "/v1/logout", &cookie).await;
    audited.told(&[]);
}

#[tokio::test]
async fn every_end_is_told_with_its_reason() {
    let mut audited = Audited::new().await;
    let (first, second) = (audited.world.login(ADA).await, audited.world.login(ADA).await);
    audited.lines();
    let path = format!("/v1/devices/{}", device_of(&first));
    audited.send(Method::DELETE, &path, &second).await;
    audited.told(&[ended("ended_by_user", &first)]);
    let body = json!({"email": ADA, "password": "right"});
    let request = audited.world.post("/v1/login").header("cookie", &second).json(&body);
    let third = crate::world::cookie_of(&request.send().await.unwrap()).unwrap();
    audited.told(&[done("login", &third), ended("replaced", &second)]);
    audited.world.outlive_access();
    audited.world.issuer.fail_next(Some(Fault::Refused));
    let waiting = (0..20).map(|_| audited.send(Method::GET, "/authz/nginx", &third));
    assert!(join_all(waiting).await.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
    audited.told(&[ended("refused", &third)]);
    let last = audited.world.login(ADA).await;
    audited.lines();
    audited.world.clock.advance(Duration::from_secs(366 * 86_400));
    audited.send(Method::GET, "/v1/session", &last).await;
    audited.told(&[on(&last, refused("credential_refused", "expired"))]);
}

#[tokio::test]
async fn a_login_that_comes_to_nothing_is_told() {
    let ceiling = Ceiling { devices: NonZeroUsize::MIN, policy: CeilingPolicy::Reject };
    let logins = LoginLimits {
        per_email: Rate { burst: 2, every: Duration::from_secs(10) },
        per_address: Rate { burst: 5, every: Duration::from_secs(10) },
        ..LoginLimits::default()
    };
    let flow = Settings { ceiling: Some(ceiling), ..Settings::default() };
    let mut audited = Audited::with(ServerSettings { logins, ..plain() }, flow).await;
    audited.post("/v1/login", ADA, "wrong").await;
    audited.told(&[of(ADA, refused("login_failed", "login_refused"))]);
    audited.world.store.set_failing(true);
    audited.post("/v1/login", "bob@example.org", "right").await;
    let failed = json!({"event": "login_failed", "outcome": "failed", "email": "bob@example.org",
        "reason": "store_unavailable"});
    audited.told(&[failed]);
    audited.world.store.set_failing(false);
    let cookie = audited.world.login(ADA).await;
    audited.told(&[done("login", &cookie)]);
    audited.post("/v1/login", ADA, "right").await;
    audited.told(&[of(ADA, refused("login_failed", "ceiling_reached"))]);
    audited.post("/v1/login", ADA, "right").await;
    audited.told(&[of(ADA, refused("login_limited", "email"))]);
    // It may be a password in the wrong field.
    audited.post("/v1/login", "my password", "x").await;
    audited.told(&[refused("login_failed", "invalid_email")]);
    audited.post("/v1/register", "taken@example.org", "x").await;
    audited
        .told(&[of("taken@example.org", refused("registration_failed", "registration_refused"))]);
    audited.post("/v1/register", "carl@example.org", "x").await;
    audited.told(&[of("carl@example.org", refused("registration_limited", "address"))]);
}

#[tokio::test]
async fn a_credential_that_is_refused_is_told() {
    let mut audited = Audited::new().await;
    let cookie = audited.world.login(ADA).await;
    audited.lines();
    let (device, secret) = cookie.split_once('.').unwrap();
    let forged = format!("{device}.{}", "A".repeat(secret.len()));
    let not_logged_in = || refused("credential_refused", "not_logged_in");
    let refusing = [
        "/v1/session",
        "/v1/devices",
        "/v1/events",
        "/authz/nginx",
        "/authz/forward",
        "/oauth2/auth",
    ];
    for path in refusing {
        audited.send(Method::GET, path, &forged).await;
        audited.told(&[on(&cookie, not_logged_in())]);
        audited.send(Method::GET, path, "device_id=rubbish").await;
        audited.told(&[not_logged_in()]);
        audited.send(Method::GET, path, "other=1").await;
        audited.told(&[]);
    }
    let request = audited.world.post("/v1/token").bearer_auth("token-key");
    let credential = forged.split_once('=').unwrap().1;
    request.header("x-device-credential", credential).send().await.unwrap();
    audited.told(&[by("the token-key", on(&cookie, not_logged_in()))]);
    audited.send(Method::POST, "/v1/logout", &cookie).await;
    audited.lines();
    audited.send(Method::GET, "/v1/session", &cookie).await;
    audited.told(&[on(&cookie, refused("credential_refused", "logout"))]);
}

#[tokio::test]
async fn what_services_do_is_told_by_the_name_of_their_key() {
    let mut audited = Audited::new().await;
    let cookie = audited.world.login(ADA).await;
    audited.lines();
    let devices = "/v1/admin/devices?email=ada%40example.org";
    let ask = |method, path, key| audited.world.ask(method, path).bearer_auth(key).send();
    ask(Method::GET, devices, "read-key").await.unwrap();
    ask(Method::GET, "/v1/admin/stats", "read-key").await.unwrap();
    ask(Method::DELETE, devices, "write-key").await.unwrap();
    ask(Method::DELETE, devices, "read-key").await.unwrap();
    ask(Method::GET, devices, "no-key").await.unwrap();
    let listed = json!({"event": "admin_devices_listed", "outcome": "done", "email": ADA});
    let all = json!({"event": "admin_sessions_ended", "outcome": "done", "email": ADA,
        "detail": "1"});
    audited.told(&[
        by("the read-key", listed),
        by("the write-key", ended("ended_by_service", &cookie)),
        by("the write-key", all),
        refused("service_key_refused", "missing_scope"),
        refused("service_key_refused", "invalid_service_key"),
    ]);
}

#[tokio::test]
async fn a_request_of_another_site_is_told() {
    let mut audited = Audited::new().await;
    let cookie = audited.world.login(ADA).await;
    audited.lines();
    let request = audited.world.post("/v1/logout").header("cookie", &cookie);
    request.header("sec-fetch-site", "cross-site").send().await.unwrap();
    audited.told(&[refused("cross_site_refused", "cross_site")]);
    audited.send(Method::GET, "/oauth2/sign_out", &cookie).await;
    audited.told(&[refused("cross_site_refused", "cross_site")]);
}

#[tokio::test]
async fn a_storm_on_a_dead_token_is_one_line() {
    let mut audited = Audited::new().await;
    let cookie = audited.world.login(ADA).await;
    audited.lines();
    audited.world.outlive_access();
    let asking = (0..100).map(|_| audited.send(Method::GET, "/authz/nginx", &cookie));
    assert!(join_all(asking).await.iter().all(|status| *status == StatusCode::OK));
    audited.told(&[done("refresh", &cookie)]);
}

#[tokio::test]
async fn a_line_names_the_request_and_the_client_behind_the_proxy() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let settings = ServerSettings { trusted_proxies, ..plain() };
    for (settings, address) in [(settings, "203.0.113.9"), (plain(), "127.0.0.1")] {
        let mut audited = Audited::with(settings, Settings::default()).await;
        let request = audited.world.get("/v1/session").header("cookie", "device_id=x");
        let request = request.header("x-forwarded-for", "6.6.6.6, 203.0.113.9");
        let answer = request.header("user-agent", "a browser").send().await.unwrap();
        let lines = audited.lines();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["request"], header(&answer, "x-request-id"));
        assert_eq!(lines[0]["address"], address);
        assert_eq!(lines[0]["user_agent"], "a browser");
    }
}

#[tokio::test]
async fn what_nobody_asked_for_names_nobody() {
    let mut audited = Audited::new().await;
    let cookie = audited.world.login(ADA).await;
    audited.lines();
    let unasked = audited.world.sessions.seen_by(Arc::new(audited.world.audit.clone()));
    unasked.end_all_of(&ADA.parse().unwrap()).await.unwrap();
    let mut line = ended("ended_by_service", &cookie);
    line["time"] = audited.world.sessions.now().to_string().into();
    assert_eq!(audited.lines(), [line]);
}

#[tokio::test]
async fn no_user_agent_and_no_email_makes_a_line_of_its_own() {
    let mut audited = Audited::new().await;
    let hostile = "\u{202e}x\u{2028}{\"event\":\"login\"}\u{85}\u{feff}\\n\t";
    let long = "\u{202e}".repeat(2000);
    for agent in [hostile, &long] {
        let email = format!("a\u{202e}\\u000a{{\"event\":\"x\"}}{}@example.org", "\u{200f}");
        let body = json!({"email": email, "password": "wrong"});
        let agent = reqwest::header::HeaderValue::from_bytes(agent.as_bytes()).unwrap();
        let request = audited.world.post("/v1/login").header("user-agent", agent);
        assert_eq!(request.json(&body).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        // What is no email is not repeated at all.
        audited.post("/v1/login", "a\r\n{\"event\":\"login\"}@x", "wrong").await;
    }
    let text = std::fs::read_to_string(audited.path()).unwrap();
    let hides = |c: char| (c.is_control() && c != '\n') || (!c.is_ascii() && !c.is_alphanumeric());
    assert!(!text.contains(hides), "{text:?}");
    assert!(text.lines().all(|line| line.len() <= 8192));
    let lines = audited.lines();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["login_failed"; 4]);
    assert!(lines[0]["user_agent"].as_str().unwrap().starts_with("\\u{202e}x\\u{2028}{\"event\""));
    assert!(lines[0]["email"].as_str().unwrap().starts_with("a\\u{202e}"));
    assert_eq!(lines[1].get("email"), None);
}
