//! `store.kind`, `[store.redis]` and `[store.sqlite]`: what keeps the records.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::off;

/// What keeps the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// The embedded engine, in files of the data directory.
    Redb,
    /// Redis, Valkey, Sentinel or Redis Cluster, for several servers.
    Redis,
    /// A SQLite file.
    Sqlite,
}

/// The text was not the name of a kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redb, redis or sqlite is expected")]
pub struct UnknownKind;

impl FromStr for StoreKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "redb" => Ok(Self::Redb),
            "redis" => Ok(Self::Redis),
            "sqlite" => Ok(Self::Sqlite),
            _ => Err(UnknownKind),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redb => "redb",
            Self::Redis => "redis",
            Self::Sqlite => "sqlite",
        })
    }
}

/// `[store.redis]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// The address: `redis://` or `rediss://` (TLS), without a password.
    pub url: String,
    /// More addresses of the same kind: other nodes of the Cluster, other Sentinels.
    pub nodes: Vec<String>,
    /// Whether it is a Redis Cluster; the address is one of its nodes.
    pub cluster: bool,
    /// The name of the master that Sentinel watches; the address is a Sentinel's.
    #[serde(with = "off")]
    pub sentinel_master: Option<String>,
    /// What every key begins with.
    pub prefix: String,
    /// The ACL user.
    #[serde(with = "off")]
    pub username: Option<String>,
    /// The password.
    #[serde(skip_serializing)]
    pub password: Option<PasswordText>,
    /// A file that holds the password, instead.
    #[serde(with = "off")]
    pub password_file: Option<PathBuf>,
    /// The ACL user at the Sentinels.
    #[serde(with = "off")]
    pub sentinel_username: Option<String>,
    /// A file that holds the password for the Sentinels, if they ask for one.
    #[serde(with = "off")]
    pub sentinel_password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust with `rediss://` instead of the system's.
    #[serde(with = "off")]
    pub ca_file: Option<PathBuf>,
    /// Whether tokens are sealed; off only to share the rows with the original application.
    pub sealing: bool,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            nodes: Vec::new(),
            cluster: false,
            sentinel_master: None,
            prefix: String::new(),
            username: None,
            password: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password_file: None,
            ca_file: None,
            sealing: true,
        }
    }
}

/// `[store.sqlite]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteSettings {
    /// The file, if it is not `tokens.sqlite` in the data directory.
    #[serde(with = "off")]
    pub file: Option<PathBuf>,
    /// Whether tokens are sealed; off only to share the rows with the original application.
    pub sealing: bool,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self { file: None, sealing: true }
    }
}

/// The password of a store: wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct PasswordText(String);

impl PasswordText {
    /// The password in this text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for the one place that presents it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordText(redacted)")
    }
}
