//! Servers that a sentinel minds.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokenkeep_redis::Settings;

use super::{INSTALL, Server, free_port};

/// A master, its replica, and a sentinel that minds them.
pub(crate) struct Minded {
    sentinel: Server,
    master: Server,
    replica: Server,
}

impl Minded {
    pub(crate) async fn start() -> Self {
        Self::start_as(&[], "", &[]).await
    }

    /// Servers with one password, and a sentinel that asks for a user and a password of its own.
    pub(crate) async fn start_with_logins() -> Self {
        let servers = ["--requirepass", "canary-redis", "--masterauth", "canary-redis"];
        let sentinel = "user default off\nuser minder on >canary-sentinel ~* &* +@all\n\
                        sentinel auth-pass minded canary-redis\n";
        let login = ["--user", "minder", "--pass", "canary-sentinel", "--no-auth-warning"];
        Self::start_as(&servers, sentinel, &login).await
    }

    async fn start_as(servers: &[&str], lines: &str, login: &[&str]) -> Self {
        let master = Server::start_with(servers).await.logged_in(servers);
        let port = master.port.to_string();
        let arguments = [servers, &["--replicaof", "127.0.0.1", &port]].concat();
        let replica = Server::start_with(&arguments).await.logged_in(servers);
        let directory = tempfile::tempdir().expect("a directory for the sentinel");
        let (file, at) = (directory.path().join("sentinel.conf"), free_port());
        let text = format!(
            "port {at}\nbind 127.0.0.1\nsentinel monitor minded 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds minded 1000\n{lines}"
        );
        std::fs::write(&file, text).expect("the sentinel's file");
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(INSTALL);
        let login = login.iter().map(ToString::to_string).collect();
        let arguments = Vec::new();
        let mut sentinel = Server { child, port: at, directory, arguments, login, tls: false };
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
            if self.master.role().starts_with("slave") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the sentinel does not fail over");
    }

    /// The server that is the master at first.
    pub(crate) fn master(&mut self) -> &mut Server {
        &mut self.master
    }

    /// Waits until the sentinel made the replica the master.
    pub(crate) async fn promotes(&self) {
        for _ in 0..1000 {
            if self.replica.role().starts_with("master") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the sentinel does not promote the replica");
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::sentinel([self.sentinel.url()], "minded")
    }
}

impl Server {
    /// What it says that it is; nothing if it closes the connection, as it does at a change of that.
    fn role(&self) -> String {
        String::from_utf8_lossy(&self.ask(&["ROLE"]).stdout).into_owned()
    }

    /// With the password in `arguments`, if there is one.
    fn logged_in(mut self, arguments: &[&str]) -> Self {
        if let ["--requirepass", password, ..] = arguments {
            self.login = ["--pass", password, "--no-auth-warning"].map(str::to_owned).to_vec();
        }
        self
    }
}
