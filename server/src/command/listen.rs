//! The sockets of a server: bound at an address or a path, or handed over by the service manager.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use listenfd::ListenFd;
use rustix::fs::Mode;
use tokenkeep_server::config::{Listen, ServerSettings, SocketMode};
use tokenkeep_server::{Listener, Listeners, Tls};
use tokio::net::{TcpListener, UnixListener};

use super::Failure;

/// Open sockets, and the files of those that have one: removed on drop.
pub(crate) struct Sockets {
    pub(crate) listeners: Listeners,
    _files: Vec<SocketFile>,
}

impl From<TcpListener> for Sockets {
    fn from(listener: TcpListener) -> Self {
        Self { listeners: listener.into(), _files: Vec::new() }
    }
}

impl Sockets {
    /// Opens what the settings ask for.
    pub(crate) async fn open(
        settings: &ServerSettings,
        passed: Passed,
        tls: Option<&Tls>,
    ) -> Result<Self, Failure> {
        let (public, admin) = passed.split(settings).map_err(Failure::settings)?;
        let mut files = Vec::new();
        let mut listeners = Listeners::default();
        for listener in open(&settings.listen, public, settings.unix_mode, &mut files).await? {
            listeners = listeners.with_public(listener);
        }
        if let Some(place) = &settings.admin_listen {
            for listener in open(place, admin, settings.unix_mode, &mut files).await? {
                listeners = listeners.with_admin(listener);
            }
        }
        if let Some(tls) = tls {
            listeners = listeners.with_tls(tls.clone());
        }
        Ok(Self { listeners, _files: files })
    }
}

async fn open(
    place: &Listen,
    passed: Vec<Listener>,
    mode: SocketMode,
    files: &mut Vec<SocketFile>,
) -> Result<Vec<Listener>, Failure> {
    match place {
        Listen::Address(address) => Ok(vec![bind(*address).await?.into()]),
        Listen::Unix(path) => {
            let bound = bind_unix(path, mode);
            let (listener, file) = bound
                .with_context(|| format!("cannot listen on {place}"))
                .map_err(Failure::unavailable)?;
            files.push(file);
            Ok(vec![listener.into()])
        }
        Listen::Systemd => Ok(passed),
    }
}

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}")).map_err(Failure::unavailable)
}

fn bind_unix(path: &Path, mode: SocketMode) -> anyhow::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    // Nobody else may connect before the mode is set.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let (listener, file) = (bound?, SocketFile::new(path)?);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.bits()))?;
    Ok((listener, file))
}

/// Removes the socket of a process that is no more.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !metadata.file_type().is_socket() {
        bail!("something else than a socket is there");
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(std::fs::remove_file(path)?)
        }
        Err(error) => Err(error.into()),
        Ok(_) => bail!("another server listens there"),
    }
}

/// The file of a unix socket.
struct SocketFile {
    path: PathBuf,
    /// Device and inode: the file may be another server's by the time it is removed.
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The sockets that the service manager has opened for this process, with their names.
pub(crate) struct Passed(Vec<(String, io::Result<Socket>)>);

enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Passed {
    /// Takes them. They are taken out of the environment, which only a process of one thread may
    /// change.
    pub(crate) fn take() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut sockets = ListenFd::from_env();
        let mut passed = Vec::new();
        for index in 0..sockets.len() {
            let socket = match sockets.take_tcp_listener(index) {
                Ok(socket) => Ok(socket.map(Socket::Tcp)),
                Err(_) => sockets.take_unix_listener(index).map(|socket| socket.map(Socket::Unix)),
            };
            if let Some(socket) = socket.transpose() {
                passed.push((names.next().unwrap_or_default(), socket));
            }
        }
        Self(passed)
    }

    /// Those for the public and those for administration, where the settings ask for them. One
    /// that nobody asks for is refused: what it was meant for would be served elsewhere.
    fn split(self, settings: &ServerSettings) -> anyhow::Result<(Vec<Listener>, Vec<Listener>)> {
        let (mut public, mut admin) = (Vec::new(), Vec::new());
        for (name, socket) in self.0 {
            let (key, asked, sockets) = match name.as_str() {
                "admin" => ("server.admin_listen", settings.admin_listen.as_ref(), &mut admin),
                _ => ("server.listen", Some(&settings.listen), &mut public),
            };
            if asked != Some(&Listen::Systemd) {
                bail!(
                    "{key} is not \"systemd\", but the service manager passed the socket {name:?}"
                );
            }
            let listener = socket.and_then(Socket::listener);
            sockets.push(listener.with_context(|| format!("the socket {name:?} cannot be used"))?);
        }
        for (key, asked, sockets) in [
            ("server.listen", Some(&settings.listen), &public),
            ("server.admin_listen", settings.admin_listen.as_ref(), &admin),
        ] {
            if asked == Some(&Listen::Systemd) && sockets.is_empty() {
                return Err(anyhow!(
                    "{key} is \"systemd\", but the service manager passed no socket for it"
                ));
            }
        }
        Ok((public, admin))
    }
}

impl Socket {
    fn listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Ok(TcpListener::from_std(socket)?.into())
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(UnixListener::from_std(socket)?.into())
            }
        }
    }
}
