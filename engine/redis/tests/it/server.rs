//! Private Redis servers: own ports, own directories, gone when dropped.

mod cluster;
mod minded;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokenkeep_redis::Settings;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::minded::Minded;
use crate::tls::Authority;

/// A `redis-server` of its own.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    /// What `redis-cli` is told besides.
    login: Vec<String>,
    tls: bool,
}

impl Server {
    /// A server that keeps what it acknowledges.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with these arguments besides.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        Self::start_as(arguments, None).await
    }

    /// A server that speaks TLS only, with a certificate of `authority`.
    pub(crate) async fn start_tls(authority: &Authority, arguments: &[&str]) -> Self {
        Self::start_as(arguments, Some(authority)).await
    }

    async fn start_as(arguments: &[&str], authority: Option<&Authority>) -> Self {
        // Between finding a free port and taking it, somebody else may take it.
        for _ in 0..20 {
            let directory = tempfile::tempdir().expect("a directory for redis");
            let port = free_port();
            let mut all: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            let mut login = Vec::new();
            if let Some(authority) = authority {
                all.extend(authority.arguments(directory.path(), port));
                login.extend(["--tls", "--insecure"].map(str::to_owned));
            }
            let child = spawn(port, directory.path(), &all);
            let tls = authority.is_some();
            let mut server = Self { child, port, directory, arguments: all, login, tls };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it keeps its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::single(self.url())
    }

    /// Kills the process without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("redis is killed");
        self.child.wait().expect("redis is gone");
    }

    /// Starts it again on the same port and directory.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(self.port, self.directory.path(), &self.arguments);
        assert!(self.answers().await, "redis does not start again");
    }

    /// Stops the process (SIGSTOP), or lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
        let signal = if paused { "-STOP" } else { "-CONT" };
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.expect("kill is there").success());
    }

    /// Runs `redis-cli` with `words`, and returns what it says.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(&self.login).args(words);
        command.output().expect(INSTALL)
    }

    /// Every byte that it has written.
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    bytes.extend(std::fs::read(path).unwrap());
                }
            }
        }
        bytes
    }

    /// Waits until it answers; false if it gave up.
    async fn answers(&mut self) -> bool {
        for _ in 0..500 {
            if self.child.try_wait().expect("its state is known").is_some() {
                return false;
            }
            let answer = self.ask(&["PING"]);
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            // A server that wants a password answers, too.
            if text.starts_with("PONG") || text.contains("NOAUTH") {
                return self.child.try_wait().expect("its state is known").is_none();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, directory: &Path, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--dir", &directory.display().to_string()])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect(INSTALL)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

const INSTALL: &str = "redis-server and redis-cli are needed: apt-get install redis-server";
