//! A `redis-server` of our own: on loopback, every write synced, killed when it is dropped.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A server that runs.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
}

impl RedisServer {
    /// Starts a server in `directory` and waits until it takes connections.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        // Redis cannot choose a port itself. One that was free can be taken before Redis has it.
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            if let Some(server) = Self::start_on(port, directory)? {
                return Ok(server);
            }
        }
        bail!("redis-server did not start in {ATTEMPTS} attempts")
    }

    fn start_on(port: u16, directory: &Path) -> Result<Option<Self>> {
        let child = Command::new(PROGRAM)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("redis-server cannot be started")?;
        let mut server = Self { child, port };
        let output = server.child.stdout.take().context("redis-server has no output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        if !lines.any(|line| line.contains("Ready to accept connections")) {
            return Ok(None);
        }
        // A pipe that nobody reads fills up, and then the server waits.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Some(server))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `redis-server --version` says; `None` if there is none.
pub(super) fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(version.to_owned())
}

const PROGRAM: &str = "redis-server";
const ATTEMPTS: usize = 5;
