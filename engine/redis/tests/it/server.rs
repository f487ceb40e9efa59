//! Private Redis servers: own ports, own directories, gone when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokenkeep_redis::Settings;

/// A `redis-server` of its own.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// A server that keeps what it acknowledges.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with these arguments besides.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        // Between finding a free port and taking it, somebody else may take it.
        for _ in 0..20 {
            let directory = tempfile::tempdir().expect("a directory for redis");
            let port = free_port();
            let child = spawn(port, &directory, &arguments);
            let mut server = Self { child, port, directory, arguments: arguments.clone() };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
        self.child = spawn(self.port, &self.directory, &self.arguments);
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
        let output = cli(self.port, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
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
            let answer = cli(self.port, &["PING"]);
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

/// Three servers that are one cluster.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        for _ in 0..5 {
            if let Some(cluster) = Self::try_start().await {
                return cluster;
            }
        }
        panic!("the redis cluster does not start");
    }

    async fn try_start() -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let bus = free_port().to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            nodes.push(Server::start_with(&arguments).await);
        }
        let addresses: Vec<String> =
            nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.push("--cluster-yes");
        let made = Command::new("redis-cli").args(&words).output().expect(INSTALL);
        let cluster = Self { nodes };
        (made.status.success() && cluster.is_whole().await).then_some(cluster)
    }

    /// Waits until every node knows that all slots are served.
    async fn is_whole(&self) -> bool {
        for _ in 0..500 {
            let ok = |node: &Server| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            if self.nodes.iter().all(ok) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::cluster(self.nodes.iter().map(Server::url))
    }
}

/// A master, its replica, and a sentinel that minds them.
pub(crate) struct Minded {
    sentinel: Server,
    master: Server,
    replica: Server,
}

impl Minded {
    pub(crate) async fn start() -> Self {
        let master = Server::start().await;
        let port = master.port.to_string();
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]).await;
        let directory = tempfile::tempdir().expect("a directory for the sentinel");
        let (file, at) = (directory.path().join("sentinel.conf"), free_port());
        let text = format!(
            "port {at}\nbind 127.0.0.1\nsentinel monitor minded 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds minded 1000\n"
        );
        std::fs::write(&file, text).expect("the sentinel's file");
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(INSTALL);
        let mut sentinel = Server { child, port: at, directory, arguments: Vec::new() };
        assert!(sentinel.answers().await, "the sentinel does not start");
        let minded = Self { sentinel, master, replica };
        minded.knows("num-slaves\n1").await;
        minded
    }

    /// Waits until the sentinel says `what` of the master.
    async fn knows(&self, what: &str) {
        for _ in 0..1000 {
            if self.sentinel.cli(&["SENTINEL", "MASTER", "minded"]).contains(what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the sentinel does not say {what}");
    }

    /// Waits until `key` is on the replica, too.
    pub(crate) async fn replicates(&self, key: &str) {
        for _ in 0..1000 {
            if self.replica.cli(&["EXISTS", key]) == "1" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the replica does not follow");
    }

    /// Makes the replica the master, and the master a replica: until then it takes writes, and
    /// forgets them.
    pub(crate) async fn fail_over(&self) {
        self.sentinel.cli(&["SENTINEL", "FAILOVER", "minded"]);
        for _ in 0..1000 {
            if self.master.cli(&["ROLE"]).starts_with("slave") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the sentinel does not fail over");
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::sentinel([self.sentinel.url()], "minded")
    }
}

fn spawn(port: u16, directory: &TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--dir", &directory.path().display().to_string()])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect(INSTALL)
}

fn cli(port: u16, words: &[&str]) -> Output {
    Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output().expect(INSTALL)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

const INSTALL: &str = "redis-server and redis-cli are needed: apt-get install redis-server";
