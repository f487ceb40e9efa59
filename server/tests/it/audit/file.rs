//! The file of the audit log, under the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokenkeep_core::SystemClock;
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings};

use crate::auth_server::AuthServer;
use crate::process::{Installation, Server, output};
use crate::world::until;

struct Rig {
    place: Installation,
    http: Client,
    _auth_server: AuthServer,
}

impl Rig {
    /// With the audit log at `file` of the data directory, or at an absolute path.
    fn new(file: &str) -> Self {
        let demo = Demo::new(DemoSettings::default(), Arc::new(SystemClock::new()));
        let auth_server = AuthServer::start(demo);
        let mut place = Installation::new(&auth_server.url(), "");
        let file = place.data_dir().join(file);
        place.set("TOKENKEEP_AUDIT__FILE", file.to_str().unwrap());
        Self { place, http: assembly::http_client().unwrap(), _auth_server: auth_server }
    }

    async fn register(&self, server: &Server, email: &str) {
        let body = json!({"email": email, "password": "a password"});
        let answer = self.http.post(server.url("/v1/register")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
}

/// Whose acts are in the file.
fn emails(path: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    let email = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line["email"].as_str()?.to_owned())
    };
    text.lines().filter_map(email).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_made_anew_at_sighup() {
    let rig = Rig::new("audit.jsonl");
    let server = rig.place.serve().await;
    let path = rig.place.data_dir().join("audit.jsonl");
    let moved = path.with_extension("1");
    rig.register(&server, "a@example.org").await;
    fs::rename(&path, &moved).unwrap();
    rig.register(&server, "b@example.org").await;
    server.signal("-HUP");
    server.until_said("the audit log was opened anew").await;
    rig.register(&server, "c@example.org").await;
    // A place where no file can be: lines go on as before.
    let third = path.with_extension("2");
    fs::rename(&path, &third).unwrap();
    fs::create_dir(&path).unwrap();
    server.signal("-HUP");
    server.until_said("the audit log goes on in the old file").await;
    rig.register(&server, "d@example.org").await;
    let log = String::from_utf8(server.stop().await).unwrap();
    assert!(!log.contains("tokenkeep::audit"), "{log}");
    assert_eq!(emails(&moved), ["a@example.org", "b@example.org"]);
    assert_eq!(emails(&third), ["c@example.org", "d@example.org"]);
    for path in [moved, third] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_appended_over_a_restart_and_after_half_a_line() {
    let rig = Rig::new("audit.jsonl");
    let path = rig.place.data_dir().join("audit.jsonl");
    let server = rig.place.serve().await;
    rig.register(&server, "a@example.org").await;
    server.stop().await;
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"time\":\"20");
    fs::write(&path, text).unwrap();
    let server = rig.place.serve().await;
    rig.register(&server, "b@example.org").await;
    until(async || emails(&path).len() == 2).await;
    server.kill().await;
    assert_eq!(emails(&path), ["a@example.org", "b@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_sends_the_lines_to_the_log_and_stops_nobody() {
    let rig = Rig::new("/dev/full");
    let server = rig.place.serve().await;
    for email in ["a@example.org", "b@example.org", "c@example.org"] {
        rig.register(&server, email).await;
    }
    let log = String::from_utf8(server.stop().await).unwrap();
    assert_eq!(log.matches("the audit log takes no lines").count(), 1, "{log}");
    let told = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = told.filter(|line| line["target"] == "tokenkeep::audit");
    let told: Vec<_> = told.map(|line| line["email"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["a@example.org", "b@example.org", "c@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_nobody() {
    let rig = Rig::new("pipe");
    let pipe = rig.place.data_dir().join("pipe");
    fs::create_dir_all(rig.place.data_dir()).unwrap();
    fs::set_permissions(rig.place.data_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut mkfifo = std::process::Command::new("mkfifo");
    assert!(
        output({
            mkfifo.arg(&pipe);
            mkfifo
        })
        .await
        .status
        .success()
    );
    // The server holds both ends of the pipe, and nobody reads: it is full after a while.
    let server = rig.place.serve().await;
    let asking = async {
        while !server.text().contains("tokenkeep::audit") {
            let request = rig.http.get(server.url("/v1/session")).header("cookie", "device_id=x");
            assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        }
    };
    tokio::time::timeout(crate::world::PATIENCE * 3, asking).await.unwrap();
    rig.register(&server, "a@example.org").await;
    server.signal("-HUP");
    server.until_said("the audit log goes on in the old file").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_told_by_who_ordered_it_and_by_its_end() {
    let rig = Rig::new("audit.jsonl");
    let key = rig.place.key(&["admin:write"]).await;
    let server = rig.place.serve().await;
    for (name, works) in [("monday", true), ("../monday", false)] {
        let order = ["backup", "--to", name, "--server", &server.url("")];
        let mut command = rig.place.command(&order);
        command.env("TOKENKEEP_SERVICE_KEY", &key);
        assert_eq!(output(command).await.status.success(), works, "{name}");
    }
    server.stop().await;
    let text = fs::read_to_string(rig.place.data_dir().join("audit.jsonl")).unwrap();
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = told
        .iter()
        .map(|line| ["event", "outcome", "service", "detail"].map(|key| line[key].as_str()))
        .collect();
    let line = |event, outcome, service| [Some(event), Some(outcome), service, Some("backup")];
    let expected = [
        line("task_begun", "done", Some("tests")),
        line("task_done", "done", None),
        line("task_begun", "refused", Some("tests")),
    ];
    assert_eq!(told, expected, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_is_refused_at_the_start() {
    for (file, code, word) in [
        ("nowhere/audit", 78, "its directory is not there"),
        ("..", 78, "a file like"),
        ("/proc/audit", 73, "/proc/audit cannot be written"),
    ] {
        let rig = Rig::new(file);
        let ran = output(rig.place.command(&["serve", "--listen", "127.0.0.1:0"])).await;
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{file}: {said}");
        assert!(said.contains(word), "{file}: {said}");
    }
}
