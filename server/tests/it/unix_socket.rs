//! Listening on a unix socket: its file, and whom the server believes over it.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use tokenkeep_core::{Password, SystemClock};
use tokenkeep_server::demo::{Demo, DemoSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::auth_server::AuthServer;
use crate::commands::complaint;
use crate::process::{Installation, Server};

struct Site {
    place: Installation,
    directory: tempfile::TempDir,
    _auth_server: AuthServer,
}

impl Site {
    fn new() -> Self {
        let demo = Demo::new(DemoSettings::default(), Arc::new(SystemClock::new()));
        demo.register("ada@example.org".parse().unwrap(), &Password::new("right")).unwrap();
        let auth_server = AuthServer::start(demo);
        let place = Installation::new(&auth_server.url(), "");
        Self { place, directory: tempfile::tempdir().unwrap(), _auth_server: auth_server }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("t.sock")
    }

    fn command(&self) -> std::process::Command {
        let place = format!("unix:{}", self.socket().display());
        self.place.command(&["serve", "--listen", &place])
    }

    async fn serve(&self, env: &[(&str, &str)]) -> Server {
        let mut command = self.command();
        command.envs(env.iter().copied());
        Installation::start(command).await
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Logs in as a client at `6.6.6.6` behind a proxy, as the proxy says; returns the cookie's
    /// line and the address under which the device is listed.
    async fn login(&self) -> (String, String) {
        let body = r#"{"email":"ada@example.org","password":"right"}"#;
        let answer = self
            .ask(&format!(
                "POST /v1/login HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 6.6.6.6\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let pair = cookie.split(';').next().unwrap();
        let devices = self
            .ask(&format!(
                "GET /v1/devices HTTP/1.1\r\nhost: x\r\ncookie: {pair}\r\n\
                 connection: close\r\n\r\n"
            ))
            .await;
        let body = devices.split_once("\r\n\r\n").unwrap().1;
        let list: serde_json::Value = serde_json::from_str(body).unwrap();
        let devices = list.get("devices").unwrap_or(&list).as_array().unwrap().clone();
        let current = devices.iter().find(|device| device["current"] == true).unwrap();
        (cookie.to_owned(), current["address"].as_str().unwrap().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_its_mode_and_goes_with_the_server() {
    let site = Site::new();
    for (env, mode) in [
        (&[][..], 0o660),
        (&[("TOKENKEEP_SERVER__UNIX_MODE", "0600")], 0o600),
        (&[("TOKENKEEP_SERVER__UNIX_MODE", "0666")], 0o666),
    ] {
        let server = site.serve(env).await;
        assert_eq!(server.place, format!("unix:{}", site.socket().display()));
        let metadata = std::fs::metadata(site.socket()).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        let answer = site.ask("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        server.stop().await;
        assert!(!site.socket().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_was_left_behind_is_replaced() {
    let site = Site::new();
    site.serve(&[]).await.kill().await;
    assert!(site.socket().exists());
    let server = site.serve(&[]).await;
    let answer = site.ask("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_or_no_socket_stays() {
    let site = Site::new();
    let _other = UnixListener::bind(site.socket()).unwrap();
    let said = complaint(site.command(), 69).await;
    assert!(said.contains("another server listens there"), "{said}");
    std::fs::remove_file(site.socket()).unwrap();
    std::fs::write(site.socket(), "mine").unwrap();
    let said = complaint(site.command(), 69).await;
    assert!(said.contains("something else than a socket"), "{said}");
    assert_eq!(std::fs::read(site.socket()).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_a_unix_socket_is_believed_only_where_it_is_named() {
    let site = Site::new();
    for (trusted, address) in
        [("", "127.0.0.1"), ("127.0.0.0/8, 0.0.0.0/0", "127.0.0.1"), ("unix", "6.6.6.6")]
    {
        let server = site.serve(&[("TOKENKEEP_SERVER__TRUSTED_PROXIES", trusted)]).await;
        let (cookie, seen) = site.login().await;
        assert_eq!(seen, address, "with {trusted:?}");
        // What stands in front is not known: the cookie is for https.
        assert!(cookie.starts_with("__Host-device_id=") && cookie.contains("; Secure"), "{cookie}");
        server.stop().await;
    }
}
