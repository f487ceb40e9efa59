//! Moves to and from a Redis of our own.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::sessions::{all_of, fill, how_many, open, open_at, place};
use crate::commands::{complaint, count};

/// A `redis-server` with a port and a directory of its own; it goes with this.
pub struct Redis {
    child: Child,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    /// Bound and never listening: nobody gets the port while the server is away.
    _reserved: TcpSocket,
}

impl Redis {
    pub async fn start(arguments: &[&str]) -> Self {
        for _ in 0..20 {
            let reserved = TcpSocket::new_v4().unwrap();
            reserved.set_reuseaddr(true).unwrap();
            reserved.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let port = reserved.local_addr().unwrap().port();
            let directory = tempfile::tempdir().unwrap();
            let arguments = arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
            let child = spawn(port, &directory, &arguments);
            let mut redis = Self { child, port, directory, arguments, _reserved: reserved };
            if redis.listens().await {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    /// Kills the process without a word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port and directory.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.arguments);
        assert!(self.listens().await, "redis-server does not start again");
    }

    /// Waits until it takes connections; false if it gave up.
    async fn listens(&mut self) -> bool {
        for _ in 0..1000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(self.address()).is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(words);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

fn spawn(port: u16, directory: &TempDir, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    command.arg("--dir").arg(directory.path()).args(arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.expect("redis-server is installed")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_to_redis_and_back_and_stay_as_they_are() {
    let redis = Redis::start(&[]).await;
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..how_many()).await;
    let before = all_of(&engine).await;
    engine.close().await.unwrap();
    let said = place.must(&["migrate", "--to", &redis.url()]).await;
    assert_eq!(count(&said, "stored at the destination"), u64::from(how_many()), "{said}");
    assert_eq!(count(&said, "devices at the destination"), u64::from(how_many()), "{said}");
    let back = place.data_dir().with_file_name("back");
    let file = place.data_dir().with_file_name("export").display().to_string();
    place.must(&["export", "--from", &redis.url(), "--to", &file]).await;
    let to = format!("redb:{}", back.display());
    place.must(&["migrate", "--from", &redis.url(), "--to", &to]).await;
    assert!(all_of(&open_at(&back)).await == before, "there and back again, nothing changed");
    let other = place.data_dir().with_file_name("other");
    place.must(&["import", &file, "--to", &format!("sqlite:{}", other.display())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_or_is_not_there_is_said_in_one_line() {
    let redis = Redis::start(&["--requirepass", "canary-right"]).await;
    let place = place();
    drop(open(&place));
    let address = redis.url().replace("redis://", "redis://:canary-wrong@");
    let said = complaint(place.command(&["migrate", "--to", &address]), 78).await;
    assert!(said.contains("refuses the user or the password"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    drop(redis);
    let said = complaint(place.command(&["migrate", "--to", &address]), 69).await;
    assert!(said.contains("cannot be reached") && !said.contains("canary"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_settings_goes_to_their_server_alone() {
    let redis = Redis::start(&["--requirepass", "canary-right"]).await;
    let place = place();
    let engine = open(&place);
    fill(&engine, 0..5).await;
    engine.close().await.unwrap();
    let migrate = |url: &str| {
        let mut command = place.command(&["migrate", "--to", &redis.url()]);
        command.env("TOKENKEEP_STORE__REDIS__URL", url);
        command.env("TOKENKEEP_STORE__REDIS__PASSWORD", "canary-right");
        command
    };
    complaint(migrate("redis://127.0.0.1:1"), 78).await;
    let said = crate::process::must(migrate(&redis.url())).await;
    assert_eq!(count(&said, "stored at the destination"), 5);
}
