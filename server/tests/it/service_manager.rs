//! Under a service manager: sockets that it passes, what it hears, and what the process may.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::commands::complaint;
use crate::process::Installation;
use crate::world::{PATIENCE, read_to_end};

/// Two sockets, and a command that runs `place`'s server with them, as systemd does.
fn with_sockets(
    place: &Installation,
    arguments: &[&str],
    names: &str,
) -> (Command, SocketAddr, SocketAddr) {
    let inner = place.command(arguments);
    let (public, admin) = (listener(), listener());
    let addresses = (public.local_addr().unwrap(), admin.local_addr().unwrap());
    let count = names.split(':').filter(|name| !name.is_empty()).count();
    let mut command = Command::new("/bin/sh");
    // What is passed is passed from 3 on.
    let script = "export LISTEN_PID=$$; exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2";
    command.arg("-c").arg(script).arg("sh").arg(inner.get_program()).args(inner.get_args());
    command.env_clear().env("RUST_LOG", "info");
    command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
    command.stdin(Stdio::from(OwnedFd::from(public)));
    command.stdout(Stdio::from(OwnedFd::from(admin)));
    (command, addresses.0, addresses.1)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn place() -> Installation {
    Installation::new("http://127.0.0.1:9", "")
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_are_passed_are_served_by_their_names() {
    let place = place();
    let serve = &["serve", "--listen", "systemd"];
    let (mut command, public, admin) = with_sockets(&place, serve, "tokenkeep.socket:admin");
    command.env("TOKENKEEP_SERVER__ADMIN_LISTEN", "systemd");
    let server = Installation::start_with(command).await;
    assert_eq!(server.address, public);
    assert!(ask(public, "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(admin, "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(admin, "/v1/admin/stats").await.starts_with("HTTP/1.1 401 "));
    assert!(ask(public, "/v1/admin/stats").await.starts_with("HTTP/1.1 404 "));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_settings_must_agree() {
    let place = place();
    let (systemd, address) = (&["serve", "--listen", "systemd"], &["serve"]);
    for (arguments, names, words) in [
        (
            &systemd[..],
            "",
            "server.listen is \"systemd\", but the service manager passed no socket",
        ),
        (&systemd[..], "admin", "server.admin_listen is not \"systemd\""),
        (&systemd[..], "public:admin", "server.admin_listen is not \"systemd\""),
        (&address[..], "public", "server.listen is not \"systemd\""),
    ] {
        let (command, ..) = with_sockets(&place, arguments, names);
        let said = complaint(command, 78).await;
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_how_the_server_is() {
    let place = place();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let hears = UnixDatagram::bind(&path).unwrap();
    // From the beginning on: what nobody reads fills the socket, and the server would wait.
    let (heard, hearing) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = hears.recv(&mut buffer) {
            if heard.send(String::from_utf8(buffer[..length].to_vec()).unwrap()).is_err() {
                return;
            }
        }
    });
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "40000");
    let server = Installation::start(command).await;
    let until = |word: &str| {
        loop {
            let said: String = hearing.recv_timeout(PATIENCE).expect(word);
            if said.lines().any(|line| line.starts_with(word)) {
                return said;
            }
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    server.signal("-HUP");
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    until("READY=1");
    server.ask_to_stop();
    until("STOPPING=1");
    let ended = tokio::time::timeout(PATIENCE, server.ended()).await.unwrap();
    assert_eq!(ended.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_core_image_is_written_and_files_are_plenty() {
    let place = place();
    let server = Installation::start({
        let inner = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg("ulimit -Sn 300; ulimit -Sc unlimited; exec \"$@\"").arg("sh");
        command.arg(inner.get_program()).args(inner.get_args());
        command.env_clear().env("RUST_LOG", "info");
        command
    })
    .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let row = |name: &str| -> Vec<String> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("Max core file size")[..2], ["0", "0"]);
    let files = row("Max open files");
    assert_eq!(files[0], files[1]);
    server.stop().await;
}
