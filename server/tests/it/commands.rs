//! The commands of the binary, beside a running server and alone.

use std::sync::Arc;

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokenkeep_core::{Email, Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings};

use crate::auth_server::AuthServer;
use crate::process::{Installation, Server, must, output};
use crate::world::{cookie_of, device_of, refused};

struct Site {
    place: Installation,
    http: Client,
    _auth_server: AuthServer,
}

impl Site {
    fn new() -> Self {
        let demo = Demo::new(DemoSettings::default(), Arc::new(SystemClock::new()));
        for name in ["ada", "bob"] {
            let email: Email = format!("{name}@example.org").parse().unwrap();
            demo.register(email, &Password::new("right")).unwrap();
        }
        let auth_server = AuthServer::start(demo);
        let place = Installation::new(&auth_server.url(), "");
        Self { place, http: assembly::http_client().unwrap(), _auth_server: auth_server }
    }

    async fn login(&self, server: &Server, name: &str) -> String {
        let body = json!({"email": format!("{name}@example.org"), "password": "right"});
        let answer = self.http.post(server.url("/v1/login")).json(&body).send().await.unwrap();
        cookie_of(&answer).unwrap()
    }

    async fn stands(&self, server: &Server, cookie: &str) -> bool {
        let request = self.http.get(server.url("/v1/session")).header("cookie", cookie);
        request.send().await.unwrap().status() == StatusCode::OK
    }

    /// Runs a command on a running server with a service key.
    async fn remotely(&self, server: &Server, key: &str, arguments: &[&str]) -> String {
        let mut command = self.place.command(arguments);
        command.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", key);
        must(command).await
    }
}

/// The rows of a table, without its header, as cells.
fn rows(table: &str) -> Vec<Vec<String>> {
    let lines = table.lines().filter(|line| line.starts_with('|') && !line.starts_with("|--"));
    let cells = |line: &str| {
        line.trim_matches('|').split(['|', '\u{2506}']).map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

pub fn count(table: &str, name: &str) -> u64 {
    let rows = rows(table);
    rows.iter().find(|row| row[0] == name).expect(name)[1].parse().unwrap()
}

/// The one line that a command which failed has said; warnings go to the log, as JSON.
pub async fn complaint(command: std::process::Command, code: i32) -> String {
    let output = output(command).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let words: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(words.len(), 1, "{said}");
    words[0].strip_prefix("tokenkeep: ").expect(&said).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_sees_keys_come_and_go_at_once() {
    let site = Site::new();
    let server = site.place.serve().await;
    let asked = async |key: &str| {
        let request = site.http.get(server.url("/v1/admin/stats")).bearer_auth(key);
        request.send().await.unwrap().status()
    };
    let reading = site.place.key(&["admin:read"]).await;
    let writing = site.place.key(&["admin:write", "token"]).await;
    assert_eq!(asked(&reading).await, StatusCode::OK);
    assert_eq!(asked(&writing).await, StatusCode::FORBIDDEN);
    let list = site.place.must(&["keys", "list"]).await;
    let rows = rows(&list);
    let shown: Vec<_> = rows.iter().skip(1).map(|row| (row[1].as_str(), row[2].as_str())).collect();
    assert_eq!(shown, [("tests", "admin:read"), ("tests", "admin:write token")], "{list}");
    assert!(!list.contains(&reading[12..]) && !list.contains(&writing[12..]));
    let id = &rows[1][0];
    assert!(reading.starts_with(&format!("tk_{id}_")));
    site.place.must(&["keys", "revoke", id]).await;
    assert_eq!(asked(&reading).await, StatusCode::UNAUTHORIZED);
    assert_eq!(asked(&writing).await, StatusCode::FORBIDDEN);
    let said = complaint(site.place.command(&["keys", "revoke", id]), 1).await;
    assert!(said.contains("not revoked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_and_ends_devices_beside_the_server() {
    let site = Site::new();
    let server = site.place.serve().await;
    let key = site.place.key(&["admin:read", "admin:write"]).await;
    let (laptop, phone) = (site.login(&server, "ada").await, site.login(&server, "ada").await);
    let bob = site.login(&server, "bob").await;
    let ada = ["--email", "ada@example.org"];
    let list = site.remotely(&server, &key, &["devices", "list", ada[0], ada[1]]).await;
    let ids: Vec<_> = rows(&list).into_iter().skip(1).map(|row| row[0].clone()).collect();
    assert_eq!(ids, [device_of(&laptop), device_of(&phone)], "{list}");
    let stats = site.remotely(&server, &key, &["stats"]).await;
    assert_eq!((count(&stats, "devices"), count(&stats, "users")), (3, 2));
    assert_eq!(count(&stats, "logins since the start"), 3);
    let ended = site.remotely(&server, &key, &["devices", "end", ada[0], ada[1]]).await;
    assert_eq!(ended.trim(), "2 ended");
    assert!(!site.stands(&server, &laptop).await && !site.stands(&server, &phone).await);
    assert!(site.stands(&server, &bob).await);

    let mut command = site.place.command(&["devices", "end", ada[0], ada[1]]);
    command.args(["--server", &server.url("")]).env("TOKENKEEP_SERVICE_KEY", "tk_wrong");
    let said = complaint(command, 1).await;
    assert!(said.contains("401") && said.contains("service key"), "{said}");
    let mut command = site.place.command(&["stats", "--server", &server.url("")]);
    command.env_remove("TOKENKEEP_SERVICE_KEY");
    let said = complaint(command, 1).await;
    assert!(said.contains("TOKENKEEP_SERVICE_KEY"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_leaves_is_counted_alike_by_all_commands() {
    let site = Site::new();
    let server = site.place.serve().await;
    let (first, second) = (site.login(&server, "ada").await, site.login(&server, "ada").await);
    let third = site.login(&server, "ada").await;
    let bob = site.login(&server, "bob").await;
    let logout = site.http.post(server.url("/v1/logout")).header("cookie", &second);
    assert_eq!(logout.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    server.kill().await;
    let stats = site.place.must(&["stats"]).await;
    assert_eq!((count(&stats, "devices"), count(&stats, "users")), (3, 2));
    assert_eq!(count(&stats, "unreadable records"), 0);
    let list = async |email: &str| {
        let list = site.place.must(&["devices", "list", "--email", email]).await;
        rows(&list).into_iter().skip(1).map(|row| row[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list("ada@example.org").await, [device_of(&first), device_of(&third)]);
    assert_eq!(list("bob@example.org").await, [device_of(&bob)]);
    assert_eq!(list("eve@example.org").await, [""; 0]);
    assert_eq!(
        site.place.must(&["devices", "end", "--email", "ada@example.org"]).await.trim(),
        "2 ended"
    );
    assert!(site.place.must(&["compact"]).await.contains("bytes after"));
    let server = site.place.serve().await;
    for cookie in [&first, &third] {
        let asked = site.http.get(server.url("/v1/session")).header("cookie", cookie).send();
        let problem = refused(asked.await.unwrap(), 401, "session_ended").await;
        assert_eq!(problem.reason.as_deref(), Some("ended_by_service"));
    }
    assert!(site.stands(&server, &bob).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused_in_one_line() {
    let site = Site::new();
    let server = site.place.serve().await;
    let cookie = site.login(&server, "ada").await;
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["stats"], &["compact"]] {
        let said = complaint(site.place.command(arguments), 69).await;
        assert!(said.contains("in use"), "{said}");
        assert!(said.contains(site.place.data_dir().to_str().unwrap()), "{said}");
    }
    assert!(site.stands(&server, &cookie).await, "the first one is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_wrong_are_refused_in_one_line() {
    let serve = &["serve", "--listen", "127.0.0.1:0"][..];
    for (more, part) in [
        ("colour = \"red\"\n", "settings.toml"),
        ("[store]\ngarbage_share = 99\n", "store.garbage_share"),
        ("[server]\npublic_origins = [\"http://app.example\"]\n", "server.public_origins"),
        ("[[proxy]]\nprefix = \"/v1\"\nupstream = \"http://127.0.0.1:1\"\n", "proxy.prefix"),
    ] {
        let place = Installation::new("http://127.0.0.1:1", more);
        for arguments in [serve, &["check-config"]] {
            let said = complaint(place.command(arguments), 78).await;
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!place.data_dir().exists(), "nothing was made for {more}");
    }
    let place = Installation::new("http://127.0.0.1:1", "");
    let mut command = place.command(serve);
    command.env("TOKENKEEP_STORE__COLOUR", "red");
    let said = complaint(command, 78).await;
    assert!(said.contains("TOKENKEEP_STORE__COLOUR"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checked_settings_are_shown_as_settings_that_count() {
    let place = Installation::new("http://127.0.0.1:1", "");
    let shown = place.must(&["check-config"]).await;
    let effective: toml::Table = toml::from_str(&shown).unwrap();
    assert_eq!(effective["auth_server"]["base_url"].as_str(), Some("http://127.0.0.1:1"));
    assert_eq!(effective["session"]["cool_down"].as_str(), Some("0s"));
    assert_eq!(effective["store"]["data_dir"].as_str(), place.data_dir().to_str());
    assert!(!place.data_dir().exists());
    let again = Installation::with_settings(&shown);
    let shown_again = again.must(&["check-config"]).await;
    let own = |text: &str, place: &Installation| {
        text.replace(place.data_dir().to_str().unwrap(), "the data directory")
    };
    assert_eq!(own(&shown_again, &again), own(&shown, &place), "it is a settings file itself");
}
