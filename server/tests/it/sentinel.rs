//! A server whose Redis is minded by Sentinels that ask for a login of their own.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokenkeep_core::{Password, SystemClock};
use tokenkeep_server::assembly;
use tokenkeep_server::demo::{Demo, DemoSettings};
use tokio::net::{TcpSocket, TcpStream};

use crate::auth_server::AuthServer;
use crate::commands::complaint;
use crate::moving::redis::Redis;
use crate::process::Installation;
use crate::world::{cookie_of, until};

/// A process that minds a Redis under the name `minded`.
struct Sentinel {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Sentinel {
    async fn of(redis: &Redis) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (file, port) = (directory.path().join("sentinel.conf"), free_port());
        let minded = redis.address();
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor minded {} {} 1\n\
             user default off\nuser minder on >canary-sentinel ~* &* +@all\n",
            minded.ip(),
            minded.port()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        let sentinel = Self { child: command.spawn().unwrap(), port, _directory: directory };
        until(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        sentinel
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on which nothing listens.
fn free_port() -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_sentinels_tells_where_the_sessions_are() {
    let redis = Redis::start(&[]).await;
    let sentinel = Sentinel::of(&redis).await;
    let demo = Demo::new(DemoSettings::default(), Arc::new(SystemClock::new()));
    demo.register("ada@example.org".parse().unwrap(), &Password::new("right")).unwrap();
    let auth_server = AuthServer::start(demo);
    let secrets = tempfile::tempdir().unwrap();
    let password = secrets.path().join("sentinel");
    std::fs::write(&password, "canary-sentinel\n").unwrap();
    let (dead, port, file) = (free_port(), sentinel.port, password.display());
    let settings = format!(
        "[store]\nkind = \"redis\"\n[store.redis]\nurl = \"redis://127.0.0.1:{dead}\"\n\
         nodes = [\"redis://127.0.0.1:{port}\"]\nsentinel_master = \"minded\"\n\
         sentinel_username = \"minder\"\nsentinel_password_file = \"{file}\"\n"
    );
    let place = Installation::new(&auth_server.url(), &settings);
    let server = place.serve().await;
    let http = assembly::http_client().unwrap();
    let account = json!({"email": "ada@example.org", "password": "right"});
    let answer = http.post(server.url("/v1/login")).json(&account).send().await.unwrap();
    let cookie = cookie_of(&answer).unwrap();
    let asked = http.get(server.url("/v1/session")).header("cookie", &cookie);
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK);
    assert_ne!(redis.cli(&["DBSIZE"]).trim(), "0", "it is there that they are");
    server.stop().await;

    std::fs::write(&password, "another").unwrap();
    let said = complaint(place.command(&["serve", "--listen", "127.0.0.1:0"]), 78).await;
    assert!(!said.contains("another") && !said.contains("canary"), "{said}");
}
