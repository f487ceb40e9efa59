//! The key ring changes while people are logged in, and a server that lacks a key does not start.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use tokenkeep_core::wire::{TaskBody, TaskState};
use tokenkeep_core::{Email, KeyRing, Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::config::StoreKind;
use tokenkeep_server::demo::{Demo, DemoSettings};

use crate::auth_server::AuthServer;
use crate::commands::complaint;
use crate::process::{Installation, Server, must};
use crate::stores::{Ground, over_every_store};
use crate::world::{PATIENCE, cookie_of};

over_every_store! {
    #[tokio::test(flavor = "multi_thread")]
    a_running_server_changes_its_keys_and_nobody_is_logged_out,
    a_hangup_takes_the_ring_up_and_a_bad_one_changes_nothing,
    the_keys_of_a_store_that_nobody_serves_are_changed_as_well,
    a_server_does_not_start_without_a_key_that_it_needs,
}

struct Site {
    place: Installation,
    _ground: Ground,
    http: Client,
    auth_server: AuthServer,
}

impl Site {
    async fn new(kind: StoreKind) -> Self {
        let ground = Ground::of(kind).await;
        let demo = Demo::new(DemoSettings::default(), Arc::new(SystemClock::new()));
        let email: Email = "ada@example.org".parse().unwrap();
        demo.register(email, &Password::new("right")).unwrap();
        let auth_server = AuthServer::start(demo);
        let place = Installation::new(&auth_server.url(), &ground.settings());
        Self { place, _ground: ground, http: assembly::http_client().unwrap(), auth_server }
    }

    async fn login(&self, server: &Server) -> String {
        let body = json!({"email": "ada@example.org", "password": "right"});
        let answer = self.http.post(server.url("/v1/login")).json(&body).send().await.unwrap();
        cookie_of(&answer).unwrap()
    }

    async fn logout(&self, server: &Server, cookie: &str) {
        let answer = self.http.post(server.url("/v1/logout")).header("cookie", cookie).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
    }

    async fn check(&self, server: &Server, cookies: &[String]) {
        for cookie in cookies {
            let asked = self.http.get(server.url("/v1/session")).header("cookie", cookie);
            assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK);
        }
    }

    /// The keys of the ring in its file, the active one first.
    fn ring(&self) -> KeyRing {
        let text = std::fs::read_to_string(self.place.data_dir().join("keyring")).unwrap();
        KeyRing::parse(&text).unwrap()
    }

    fn put_ring(&self, ring: &KeyRing) {
        std::fs::write(self.place.data_dir().join("keyring"), ring.to_text().as_str()).unwrap();
    }

    fn keys(&self, arguments: &[&str], remote: Option<(&Server, &str)>) -> Command {
        let mut command = self.place.command(&["keys"]);
        command.args(arguments);
        if let Some((server, key)) = remote {
            command.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", key);
        }
        command
    }
}

async fn a_running_server_changes_its_keys_and_nobody_is_logged_out(kind: StoreKind) {
    let mut site = Site::new(kind).await;
    let server = site.place.serve().await;
    let key = site.place.key(&["admin:write"]).await;
    let remote = Some((&server, key.as_str()));
    let mut cookies = vec![site.login(&server).await, site.login(&server).await];
    let gone = site.login(&server).await;
    // The note of it stays in the outbox, sealed.
    site.auth_server.go_away().await;
    site.logout(&server, &gone).await;
    let old = site.ring().active().to_string();

    let new = must(site.keys(&["rotate-ring"], remote)).await.trim().to_owned();
    assert_eq!(site.ring().active().to_string(), new);
    let path = site.place.data_dir().join("keyring");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let listed = must(site.keys(&["list-ring"], None)).await;
    assert!(listed.find(&new).unwrap() < listed.find(&old).unwrap(), "{listed}");

    let said = complaint(site.keys(&["retire", &old], remote), 69).await;
    assert!(said.contains(" records are still under the key"), "{said}");
    assert!(site.ring().ids().any(|id| id.to_string() == old), "a refusal leaves the ring alone");
    must(site.keys(&["reseal"], remote)).await;
    must(site.keys(&["retire", &old], remote)).await;
    assert_eq!(site.ring().ids().map(|id| id.to_string()).collect::<Vec<_>>(), [new]);
    site.check(&server, &cookies).await;
    site.auth_server.come_back();
    cookies.push(site.login(&server).await);
    server.stop().await;
    let server = site.place.serve().await;
    site.check(&server, &cookies).await;
    server.stop().await;
}

async fn a_hangup_takes_the_ring_up_and_a_bad_one_changes_nothing(kind: StoreKind) {
    let site = Site::new(kind).await;
    let server = site.place.serve().await;
    let mut cookies = vec![site.login(&server).await];
    let new = must(site.keys(&["rotate-ring"], None)).await.trim().to_owned();
    server.signal("-HUP");
    server.until_said("the key ring was read again").await;
    assert!(server.text().contains(&new));
    cookies.push(site.login(&server).await);

    let ring = site.ring();
    site.put_ring(&KeyRing::generate().unwrap());
    server.signal("-HUP");
    server.until_said("the key ring stays as it was").await;
    cookies.push(site.login(&server).await);
    site.check(&server, &cookies).await;
    site.put_ring(&ring);
    server.kill().await;
    let server = site.place.serve().await;
    site.check(&server, &cookies).await;
    server.stop().await;
}

async fn the_keys_of_a_store_that_nobody_serves_are_changed_as_well(kind: StoreKind) {
    let mut site = Site::new(kind).await;
    let server = site.place.serve().await;
    let cookies = [site.login(&server).await];
    let gone = site.login(&server).await;
    site.auth_server.go_away().await;
    site.logout(&server, &gone).await;
    let old = site.ring().active().to_string();
    let said = complaint(site.keys(&["reseal"], None), 69).await;
    assert!(said.contains("in use"), "{said}");
    server.stop().await;

    let said = complaint(site.keys(&["retire", &old], None), 2).await;
    assert!(said.contains("is the active key"), "{said}");
    must(site.keys(&["rotate-ring"], None)).await;
    let said = complaint(site.keys(&["retire", &old], None), 69).await;
    assert!(said.contains("records are still under the key"), "{said}");
    must(site.keys(&["reseal"], None)).await;
    must(site.keys(&["retire", &old], None)).await;
    assert_eq!(site.ring().ids().count(), 1);
    let said = complaint(site.keys(&["retire", &old], None), 2).await;
    assert!(said.contains("has no key"), "{said}");
    let server = site.place.serve().await;
    site.check(&server, &cookies).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_of_a_server_that_tells_nobody_any_more_changes_its_keys_too() {
    let mut site = Site::new(StoreKind::Redb).await;
    let server = site.place.serve().await;
    let gone = site.login(&server).await;
    site.auth_server.go_away().await;
    site.logout(&server, &gone).await;
    let old = site.ring().active().to_string();
    server.kill().await;
    let silent = ("TOKENKEEP_AUTH_SERVER__REVOKE_PATH", "off");
    let mut serve = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env(silent.0, silent.1);
    let server = Installation::start(serve).await;
    let key = site.place.key(&["admin:write"]).await;
    let remote = Some((&server, key.as_str()));
    must(site.keys(&["rotate-ring"], remote)).await;
    must(site.keys(&["reseal"], remote)).await;
    must(site.keys(&["retire", &old], remote)).await;
    server.stop().await;
    site.place.serve().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_the_environment_is_not_rotated_and_seals_all_the_same() {
    let site = Site::new(StoreKind::Redb).await;
    let ring = KeyRing::generate().unwrap().to_text().to_string();
    let mut serve = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("TOKENKEEP_KEY_RING", &ring);
    let server = Installation::start(serve).await;
    let cookies = [site.login(&server).await];
    let mut rotate = site.keys(&["rotate-ring"], None);
    rotate.env("TOKENKEEP_KEY_RING", &ring);
    let said = complaint(rotate, 78).await;
    assert!(said.contains("TOKENKEEP_KEY_RING_FILE"), "{said}");
    site.check(&server, &cookies).await;
    server.kill().await;
    assert!(!site.place.data_dir().join("keyring").exists());
    // The same ring in the service manager's directory of credentials.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("keyring"), &ring).unwrap();
    let mut serve = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("CREDENTIALS_DIRECTORY", directory.path());
    let server = Installation::start(serve).await;
    site.check(&server, &cookies).await;
    server.stop().await;
}

/// The same command, stopped if it goes on: a server that starts must fail the test, not hold it up.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.arg(PATIENCE.as_secs().to_string()).arg(command.get_program());
    bounded.args(command.get_args()).env_clear();
    bounded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bounded
}

async fn a_server_does_not_start_without_a_key_that_it_needs(kind: StoreKind) {
    let site = Site::new(kind).await;
    let server = site.place.serve().await;
    let cookies = [site.login(&server).await];
    must(site.keys(&["rotate-ring"], None)).await;
    server.signal("-HUP");
    server.until_said("the key ring was read again").await;
    server.kill().await;
    let ring = site.ring();
    let old = ring.ids().last().unwrap();
    let serve = || bounded(&site.place.command(&["serve", "--listen", "127.0.0.1:0"]));
    site.put_ring(&ring.without(old).unwrap());
    let said = complaint(serve(), 78).await;
    assert!(said.contains(&old.to_string()) && said.contains("missing"), "{said}");
    site.put_ring(&KeyRing::generate().unwrap());
    let said = complaint(serve(), 78).await;
    assert!(said.contains("key ring does not fit"), "{said}");
    site.put_ring(&ring);
    let server = site.place.serve().await;
    site.check(&server, &cookies).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_on_keys_is_checked_before_it_begins() {
    let site = Site::new(StoreKind::Redb).await;
    let server = site.place.serve().await;
    let key = site.place.key(&["admin:write"]).await;
    let order = async |body: serde_json::Value| {
        let order = site.http.post(server.url("/v1/admin/task")).bearer_auth(&key).json(&body);
        order.send().await.unwrap().status()
    };
    for body in [
        json!({"kind": "retire", "key": "ABCDEF01"}),
        json!({"kind": "retire"}),
        json!({"kind": "take_ring", "active": "1"}),
        json!({"kind": "reseal", "key": "0a1b2c3d"}),
    ] {
        assert_eq!(order(body.clone()).await, StatusCode::BAD_REQUEST, "{body}");
    }
    // Another ring than that of whoever asks.
    assert_eq!(
        order(json!({"kind": "take_ring", "active": "00000000"})).await,
        StatusCode::ACCEPTED
    );
    let task = async || {
        let asked = site.http.request(Method::GET, server.url("/v1/admin/task")).bearer_auth(&key);
        asked.send().await.unwrap().json::<TaskBody>().await.unwrap()
    };
    while task().await.state == TaskState::Running {
        tokio::task::yield_now().await;
    }
    let task = task().await;
    assert_eq!((task.kind.as_str(), task.state), ("take_ring", TaskState::Failed));
    assert!(task.detail.unwrap().contains(&site.ring().active().to_string()));
    server.stop().await;
}
