//! A proxy in a process of its own, with a port and a directory of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use super::shipped;
use crate::world::PATIENCE;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
}

pub const BOTH: [Kind; 2] = [Kind::Nginx, Kind::Caddy];

/// A running proxy; it goes with this.
pub struct Front {
    pub address: SocketAddr,
    pub kind: Kind,
    child: Child,
    place: TempDir,
    /// Bound and never listening: nobody else gets the port.
    _reserved: TcpSocket,
}

impl Front {
    pub async fn start(kind: Kind, tokenkeep: SocketAddr, application: SocketAddr) -> Self {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseaddr(true).unwrap();
        reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.local_addr().unwrap();
        let place = tempfile::tempdir().unwrap();
        let login = shipped("login").display().to_string();
        let addresses = [
            (own_address(kind), own_address(kind).replace("localhost", "127.0.0.1")),
            ("127.0.0.1:8480", tokenkeep.to_string()),
            ("127.0.0.1:9000", application.to_string()),
            ("/etc/tokenkeep/login", login),
        ];
        let mut text = std::fs::read_to_string(shipped(file_of(kind))).unwrap();
        for (shipped, here) in addresses {
            assert!(text.contains(shipped), "{kind:?}: {shipped} is not in its file any more");
            text = text.replace(shipped, &here.replace("127.0.0.1:8080", &address.to_string()));
        }
        let child = spawn(kind, place.path(), &text);
        let mut front = Self { address, kind, child, place, _reserved: reserved };
        front.listens().await;
        front
    }

    async fn listens(&mut self) {
        let waiting = async {
            while TcpStream::connect(self.address).await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("{:?} ended with {status}: {}", self.kind, self.log());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{:?} does not listen: {}", self.kind, self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "nginx/tokenkeep.conf",
        Kind::Caddy => "caddy/Caddyfile",
    }
}

/// Where the shipped file has the proxy listen.
fn own_address(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "127.0.0.1:8080",
        Kind::Caddy => "localhost:8080",
    }
}

/// Starts the proxy with a site of this `text`.
fn spawn(kind: Kind, place: &Path, text: &str) -> Child {
    let (main, site) = (place.join("main"), place.join("site"));
    std::fs::write(&site, text).unwrap();
    let site = site.display();
    let (program, package, around, arguments) = match kind {
        Kind::Nginx => {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|of| format!("{of}_temp_path {}/{of};", place.display()))
                .concat();
            let own = "daemon off; master_process off; pid pid; events {}";
            let around = format!("{own} http {{ access_log off; {temporary} include {site}; }}");
            ("nginx", "nginx-light", around, vec!["-p", ".", "-e", "stderr", "-c"])
        }
        Kind::Caddy => {
            let around = format!("{{\n\tadmin off\n\tauto_https off\n}}\nimport {site}\n");
            ("caddy", "caddy", around, vec!["run", "--adapter", "caddyfile", "--config"])
        }
    };
    std::fs::write(&main, around).unwrap();
    let log = std::fs::File::create(place.join("log")).unwrap();
    // Debian has nginx where only root's PATH leads.
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.args(arguments).arg(&main).current_dir(place);
    command.env_clear().env("PATH", path).env("HOME", place);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    child.unwrap_or_else(|error| {
        panic!(
            "{program} cannot be started ({error}): install the package {package}, or run .ci/test"
        )
    })
}
