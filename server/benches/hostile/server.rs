//! The real binary, with the settings as they come but for the limit of connections.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    _data: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(connections: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tokenkeep"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path().join("data"))
            .env("TOKENKEEP_AUTH_SERVER__BASE_URL", "http://127.0.0.1:9")
            .env("TOKENKEEP_LOG__FORMAT", "json")
            .env("TOKENKEEP_LIMITS__CONNECTIONS", connections.to_string())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| address(&line)).unwrap();
        // Nothing that it says may fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { address, child, _data: data }
    }

    /// The most memory that the process has had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let serving = line.get("message")? == "serving";
    line.get("address").filter(|_| serving)?.as_str()?.parse().ok()
}
