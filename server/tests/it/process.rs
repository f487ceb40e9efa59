//! The binary in a process of its own, with a data directory of its own.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::world::PATIENCE;

/// A settings file and a data directory: what stays when the process goes.
pub struct Installation {
    place: TempDir,
    log: &'static str,
    /// Settings that win over those of the file.
    variables: Vec<(&'static str, String)>,
}

impl Installation {
    /// Settings for the auth server at `auth`, with `more` lines of TOML after them.
    pub fn new(auth: &str, more: &str) -> Self {
        Self::with_settings(&format!("{}{more}", SETTINGS.replace("AUTH", auth)))
    }

    /// These settings and nothing else.
    pub fn with_settings(settings: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("settings.toml"), settings).unwrap();
        Self { place, log: "info", variables: Vec::new() }
    }

    /// Sets an environment variable of all commands.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    /// Writes all of the log.
    pub fn with_trace(self) -> Self {
        Self { log: "trace", ..self }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// A command on these settings and this directory; nothing of our environment reaches it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenkeep"));
        command.env_clear().env("RUST_LOG", self.log).envs(self.variables.iter().cloned());
        command.arg("--config").arg(self.place.path().join("settings.toml"));
        command.arg("--data-dir").arg(self.data_dir()).args(arguments);
        command
    }

    /// Runs a command that must work, and returns what it prints.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> impl Future<Output = String> {
        must(self.command(arguments))
    }

    /// Makes a service key; returns its text.
    pub async fn key(&self, scopes: &[&str]) -> String {
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let arguments: Vec<&str> =
            ["keys", "add", "--name", "tests"].into_iter().chain(scopes).collect();
        self.must(&arguments).await.trim().to_owned()
    }

    /// Starts a server and waits until it serves.
    pub async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    /// Starts a server with these arguments besides.
    pub async fn serve_with(&self, arguments: &[&str]) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments);
        Self::start(command).await
    }

    /// Starts a server by a command of one's own and waits until it serves.
    pub async fn start(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self::start_with(command).await
    }

    /// As [`Installation::start`], with the command's own standard input and output.
    pub async fn start_with(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // With it goes what was passed on of our own.
        drop(command);
        let (told, address) = oneshot::channel();
        let output = Arc::default();
        let mut readers = vec![read(child.stderr.take().unwrap(), &output, Some(told))];
        readers.extend(child.stdout.take().map(|stdout| read(stdout, &output, None)));
        // Whatever happens from here on, the process goes with this.
        let place = String::new();
        let mut server = Server { address: UNKNOWN, place, child, output, readers };
        match tokio::time::timeout(PATIENCE, address).await {
            Ok(Ok(place)) => {
                server.address = place.parse().unwrap_or(UNKNOWN);
                server.place = place;
            }
            _ => panic!("it does not serve: {}", server.text()),
        }
        server
    }
}

/// Runs `command` to its end.
pub async fn output(mut command: Command) -> Output {
    // The servers of this process must go on meanwhile.
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs `command`, which must work, and returns what it prints.
#[track_caller]
pub fn must(command: Command) -> impl Future<Output = String> {
    let at = std::panic::Location::caller();
    async move {
        let output = output(command).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "at {at}: {:?}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A server process; killed on drop.
pub struct Server {
    /// Its address; unspecified where it listens elsewhere.
    pub address: SocketAddr,
    /// Where it says that it listens.
    pub place: String,
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no code of the process runs any more.
    pub async fn kill(mut self) {
        self.child.kill().unwrap();
        assert!(!self.ended().await.0.success());
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        self.signal("-TERM");
    }

    /// Stops the process where it is, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.signal(if paused { "-STOP" } else { "-CONT" });
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until `words` are in the log.
    pub async fn until_said(&self, words: &str) {
        let said = async {
            while !self.text().contains(words) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, said).await;
        assert!(said.is_ok(), "{words:?} is not in {}", self.text());
    }

    /// SIGTERM and the end, which must be a clean one; returns what it has written.
    pub async fn stop(self) -> Vec<u8> {
        self.ask_to_stop();
        let (status, output) = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&output));
        output
    }

    /// Waits for the end; returns what it has written.
    pub async fn ended(mut self) -> (ExitStatus, Vec<u8>) {
        let waiting = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().unwrap();
            for reader in self.readers.drain(..) {
                reader.join().unwrap();
            }
            (status, std::mem::take(&mut *self.output.lock().unwrap()))
        });
        waiting.await.unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes down what comes out of `stream`; tells the address when it is in the log.
fn read(
    stream: impl Read + Send + 'static,
    output: &Arc<Mutex<Vec<u8>>>,
    mut told: Option<oneshot::Sender<String>>,
) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            output.lock().unwrap().extend_from_slice(&line);
            if let Some(address) = address(&line)
                && let Some(told) = told.take()
            {
                let _ = told.send(address);
            }
            line.clear();
        }
    })
}

/// The place in the line of the log that says where the server listens.
fn address(line: &[u8]) -> Option<String> {
    let line: Value = serde_json::from_slice(line).ok()?;
    if line.get("message")? != "serving" {
        return None;
    }
    Some(line.get("address")?.as_str()?.to_owned())
}

const UNKNOWN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
const SETTINGS: &str = r#"
[log]
format = "json"

[limits]
logins_per_address = 1000000
logins_per_email = 1000000
drain_delay = "0s"

[session]
cool_down = "0s"

[auth_server]
base_url = "AUTH"
revoke_path = "/revoke"

[[proxy]]
prefix = "/api"
upstream = "AUTH"
strip_prefix = true
"#;
