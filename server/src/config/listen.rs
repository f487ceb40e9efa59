//! Where a server listens: an address, a unix socket, or what systemd hands over.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:8480`.
    Address(SocketAddr),
    /// `unix:/run/tokenkeep/tokenkeep.sock`.
    Unix(PathBuf),
    /// `systemd`: the sockets that the service manager has opened.
    Systemd,
}

impl Listen {
    /// Whether nobody on another machine can come in here.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
            Self::Systemd => false,
        }
    }

    /// Whether this and `other` cannot be had at one time.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        let any_port = matches!(self, Self::Address(address) if address.port() == 0);
        self == other && !any_port && *self != Self::Systemd
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

/// Why a text is no place to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a socket address like \"127.0.0.1:8480\", \"unix:/run/tokenkeep/tokenkeep.sock\" with its \
     whole path, or \"systemd\" is expected"
)]
pub struct UnknownListen;

impl FromStr for Listen {
    type Err = UnknownListen;

    fn from_str(text: &str) -> Result<Self, UnknownListen> {
        if text == "systemd" {
            return Ok(Self::Systemd);
        }
        match text.strip_prefix("unix:").map(Path::new) {
            Some(path) if path.is_absolute() => Ok(Self::Unix(path.to_owned())),
            Some(_) => Err(UnknownListen),
            None => text.parse().map(Self::Address).map_err(|_| UnknownListen),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Who may use a unix socket, as `chmod` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl Serialize for SocketMode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| D::Error::custom("a mode like \"0660\" is expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_listen_is_read_as_it_is_written() {
        for text in ["127.0.0.1:8480", "[::1]:1", "unix:/run/t.sock", "systemd"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "8480", "localhost:1", "unix:", "unix:t.sock", "Systemd", "unix"] {
            assert_eq!(text.parse::<Listen>(), Err(UnknownListen), "{text}");
        }
    }

    #[test]
    fn only_what_other_machines_cannot_reach_is_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("unix:/t", true),
            ("0.0.0.0:1", false),
            ("192.0.2.1:1", false),
            ("systemd", false),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().is_local(), local, "{text}");
        }
    }
}
