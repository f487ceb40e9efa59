//! `[store]`: where records lie, and where the key ring comes from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::kind::{RedisSettings, SqliteSettings, StoreKind};
use super::{duration, off, size};
use crate::store::Address;

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// What keeps the records.
    pub kind: StoreKind,
    /// The directory of all files; `$STATE_DIRECTORY` where it is not set.
    pub data_dir: PathBuf,
    /// Memory for records.
    #[serde(with = "size")]
    pub cache_bytes: usize,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// The share of dead rows, in percent, at which their space is reclaimed.
    pub garbage_share: u32,
    /// The key ring's file, if it is not in the data directory.
    #[serde(with = "off")]
    pub key_ring_file: Option<PathBuf>,
    /// Where `tokenkeep migrate --live` may move a running server to.
    #[serde(with = "off")]
    pub move_to: Option<Address>,
    /// With `kind = "redis"`: where it is.
    pub redis: RedisSettings,
    /// With `kind = "sqlite"`: where it is.
    pub sqlite: SqliteSettings,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            kind: StoreKind::Redb,
            data_dir: "tokenkeep-data".into(),
            cache_bytes: 64 << 20,
            durability: Durability::Immediate,
            garbage_share: 30,
            key_ring_file: None,
            move_to: None,
            redis: RedisSettings::default(),
            sqlite: SqliteSettings::default(),
        }
    }
}

impl StoreSettings {
    /// The file of the service keys.
    #[must_use]
    pub fn service_keys_file(&self) -> PathBuf {
        self.data_dir.join("service-keys.json")
    }

    /// The file of the SQLite store.
    #[must_use]
    pub fn sqlite_file(&self) -> PathBuf {
        self.sqlite.file.clone().unwrap_or_else(|| self.data_dir.join("tokens.sqlite"))
    }
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk.
    Immediate,
    /// Before; the disk follows at this interval, and a power loss takes what it had not yet.
    Interval(Duration),
}

impl Serialize for Durability {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Immediate => to.serialize_str("immediate"),
            Self::Interval(every) => {
                to.collect_str(&format_args!("interval {}", duration::format(*every)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Durability {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "immediate" {
            return Ok(Self::Immediate);
        }
        let every = text.strip_prefix("interval ").and_then(|rest| duration::parse(rest).ok());
        every
            .filter(|every| !every.is_zero())
            .map(Self::Interval)
            .ok_or_else(|| D::Error::custom("\"immediate\" or \"interval 100ms\" is expected"))
    }
}

/// Where the key ring comes from.
#[derive(Clone, Debug)]
pub enum KeyRingSource {
    /// The environment has the ring itself.
    Text(KeyRingText),
    /// A file has it.
    File(PathBuf),
}

impl fmt::Display for KeyRingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("the environment variable TOKENKEEP_KEY_RING"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// A key ring as text: wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyRingText(String);

impl KeyRingText {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The ring itself, for the one place that parses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyRingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRingText(redacted)")
    }
}

/// What the environment says about the key ring.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRingEnvironment {
    /// `TOKENKEEP_KEY_RING` or `TOKENKEEP_KEY_RING_FILE`.
    pub(super) given: Option<KeyRingSource>,
    /// `keyring` in the service manager's `CREDENTIALS_DIRECTORY`, if it is there.
    pub(super) credential: Option<PathBuf>,
}

impl KeyRingEnvironment {
    pub(super) fn source(&self, store: &StoreSettings) -> KeyRingSource {
        if let Some(given) = &self.given {
            return given.clone();
        }
        let file = store.key_ring_file.clone().or_else(|| self.credential.clone());
        KeyRingSource::File(file.unwrap_or_else(|| store.data_dir.join("keyring")))
    }
}
