//! Where connections come in: addresses and unix sockets, for the public and for administration.

use std::io;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::tls::Tls;
use crate::client_address::Peer;
use crate::surface::Door;

/// What connections come in at.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// The stream of a connection.
pub(super) type Socket = Either<TcpStream, UnixStream>;

impl Listener {
    /// Where it listens, for people.
    pub(super) fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(|path| path.display().to_string());
                Ok(format!("unix:{}", path.unwrap_or_default()))
            }
        }
    }

    /// Whether TLS is spoken here, if the server has it: on every address, but for one of
    /// administration that only this machine reaches.
    pub(super) fn speaks_tls(&self, door: Door) -> bool {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr();
                let local = address.is_ok_and(|address| address.ip().is_loopback());
                door != Door::Admin || !local
            }
            Self::Unix(_) => false,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps Nagle's algorithm");
                }
                Ok((Either::Left(stream), Peer::Network(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), Peer::Unix))
            }
        }
    }
}

/// Where requests come in.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) public: Vec<Listener>,
    pub(super) admin: Vec<Listener>,
    pub(super) tls: Option<Tls>,
}

impl<L: Into<Listener>> From<L> for Listeners {
    fn from(public: L) -> Self {
        Self::default().with_public(public)
    }
}

impl Listeners {
    /// With one more for browsers, proxies and services.
    #[must_use]
    pub fn with_public(mut self, listener: impl Into<Listener>) -> Self {
        self.public.push(listener.into());
        self
    }

    /// With one more for administration; without any it is served with the rest.
    #[must_use]
    pub fn with_admin(mut self, listener: impl Into<Listener>) -> Self {
        self.admin.push(listener.into());
        self
    }

    /// With TLS on every address, but for addresses of administration on loopback.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }
}
