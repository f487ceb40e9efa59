//! Moves of a running server that come to nothing: it goes on as before, and says why.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;
use tokenkeep::key_file;
use tokenkeep_core::wire::{TaskBody, TaskState};

use super::places::{Kind, Place, home};
use super::redis::Redis;
use crate::commands::complaint;
use crate::crash::Site;
use crate::crash::worker::Wire;
use crate::process::{Installation, Server};
use crate::world::until;

/// A server that is about to leave a store with many sessions.
struct Leaving {
    site: Site,
    server: Server,
    to: String,
}

impl Leaving {
    async fn from_redb(to: &str) -> Self {
        let settings = format!("[store]\nmove_to = \"{to}\"\n");
        let mut site = Site::with_settings(4, 5, &settings).await;
        let ring = key_file::open_or_create(&site.place.data_dir().join("keyring")).unwrap();
        home(&site.place).seed(&ring, MANY).await;
        site.others = MANY as usize;
        let server = site.place.serve().await;
        Self::by(site, server, to).await
    }

    async fn by(mut site: Site, server: Server, to: &str) -> Self {
        let wire = Wire::to(&server, &site.http, &site.demo);
        for worker in &mut site.workers {
            worker.login(&wire).await.unwrap();
        }
        Self { site, server, to: to.to_owned() }
    }

    fn wire(&self) -> Wire {
        Wire::to(&self.server, &self.site.http, &self.site.demo)
    }

    /// The command that moves the sessions.
    fn moving(&self) -> Command {
        let mut command = self.site.place.command(&["migrate", "--live", "--to", &self.to]);
        command.args(["--server", &self.server.url("")]);
        command.env("TOKENKEEP_SERVICE_KEY", &self.site.key);
        command
    }

    async fn task(&self, method: Method) -> TaskBody {
        let wire = self.wire();
        let mut request = wire.ask(method.clone(), "/v1/admin/task").bearer_auth(&self.site.key);
        if method == Method::POST {
            request = request.json(&json!({"kind": "move", "to": self.to}));
        }
        wire.send(request).await.unwrap().json().await.unwrap()
    }

    /// Begins to move, and waits until some are copied.
    async fn begin(&self) {
        self.task(Method::POST).await;
        until(async || self.task(Method::GET).await.done > 0).await;
    }

    /// Waits until the task has failed, and returns why.
    async fn failed(&self) -> TaskBody {
        until(async || self.task(Method::GET).await.state != TaskState::Running).await;
        let task = self.task(Method::GET).await;
        assert_eq!(task.state, TaskState::Failed, "{task:?}");
        task
    }

    /// Checks every session, here and after the next start.
    async fn goes_on(mut self) {
        let wire = self.wire();
        self.site.check(&wire).await;
        self.server.stop().await;
        let server = self.site.place.serve().await;
        let wire = Wire::to(&server, &self.site.http, &self.site.demo);
        self.site.check(&wire).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_runs_full_is_no_place_to_go_to() {
    let redis = Redis::start(&[]).await;
    let leaving = Leaving::from_redb(&redis.url()).await;
    let info = redis.cli(&["INFO", "memory"]);
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let room = used.trim().parse::<u64>().unwrap() + (400 << 10);
    redis.cli(&["CONFIG", "SET", "maxmemory", &room.to_string()]);
    let said = complaint(leaving.moving(), 69).await;
    assert!(said.contains("memory"), "{said}");
    leaving.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_is_no_place_to_go_to() {
    let mut redis = Redis::start(&[]).await;
    let leaving = Leaving::from_redb(&redis.url()).await;
    leaving.begin().await;
    redis.kill();
    let task = leaving.failed().await;
    assert_eq!(task.exit_code, Some(69), "{task:?}");
    leaving.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_can_be_called_off() {
    let redis = Redis::start(&[]).await;
    let leaving = Leaving::from_redb(&redis.url()).await;
    leaving.begin().await;
    leaving.task(Method::DELETE).await;
    let task = leaving.failed().await;
    assert!(task.detail.unwrap().contains("called off"));
    leaving.goes_on().await;
}

/// A file that may not grow is a full disk to whoever writes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_no_place_to_go_to() {
    let elsewhere = tempfile::tempdir().unwrap();
    let here = Place::make(Kind::Sqlite, &elsewhere, "here").await;
    let to = format!("redb:{}", elsewhere.path().join("there").display());
    let settings = here.settings(&format!("move_to = \"{to}\"\n"));
    let mut site = Site::with_settings(4, 5, &settings).await;
    let ring = key_file::open_or_create(&site.place.data_dir().join("keyring")).unwrap();
    here.seed(&ring, MANY).await;
    site.others = MANY as usize;
    let inner = site.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let server = Installation::start(with_small_files(&inner, site.place.data_dir().as_path()));
    let leaving = Leaving::by(site, server.await, &to).await;
    complaint(leaving.moving(), 74).await;
    leaving.goes_on().await;
}

/// `inner`, with files of 300 KiB at most.
fn with_small_files(inner: &Command, home: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = "trap '' XFSZ; ulimit -f 600; exec \"$@\"";
    command.arg("-c").arg(script).arg("sh").arg(inner.get_program()).args(inner.get_args());
    command.env_clear().env("RUST_LOG", "info").current_dir(home);
    command
}

const MANY: u32 = 2_000;
