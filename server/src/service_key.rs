//! Service keys: what a downstream service shows to ask for tokens or to administer sessions.
//!
//! A key is `tk_<8 hex digits>_<43 base64url characters>`: a name that may be logged, and 256 bits
//! that may not. The file keeps SHA-256 of the whole key: full entropy needs no slow hash.

mod file;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokenkeep_core::{InvalidLabel, Label, Timestamp};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use file::{KeyFile, Stamp, StoredKey};

/// The service keys of one data directory, as they are at this moment: a key that another process
/// adds or revokes counts from the next [`ServiceKeys::check`] on.
#[derive(Debug)]
pub struct ServiceKeys {
    file: KeyFile,
    read: Mutex<Read>,
}

/// What was read, and of which state of the file.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    keys: Vec<StoredKey>,
}

impl ServiceKeys {
    /// The keys in the file at `path`; it need not exist yet.
    ///
    /// # Errors
    /// [`KeyError`] if the file is there and cannot be read or understood.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let file = KeyFile::new(path.into());
        file.warn_of_loose_mode();
        let (stamp, keys) = (file.stamp()?, file.read()?);
        Ok(Self { file, read: Mutex::new(Read { stamp, keys }) })
    }

    /// Makes a key. Its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`KeyError`] if the name is no label, no scope is given, the operating system has no random
    /// bytes, or the file cannot be written.
    pub fn add(&self, name: &str, scopes: &[Scope], now: Timestamp) -> Result<NewKey, KeyError> {
        let name: Label = name.parse()?;
        if scopes.is_empty() {
            return Err(KeyError::NoScope);
        }
        let mut random = Zeroizing::new([0; 36]);
        getrandom::fill(random.as_mut()).map_err(KeyError::Random)?;
        let (id, secret) = random.split_at(4);
        let id = KeyId(hex(id));
        let text = ServiceKeyText(format!("tk_{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret)));
        let key = StoredKey {
            id: id.clone(),
            name: name.as_str().to_owned(),
            scopes: scopes.to_vec(),
            created_at: now,
            sha256: digest(text.expose()),
        };
        self.file.change(|keys| {
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyError::Taken);
            }
            keys.push(key);
            Ok(())
        })?;
        Ok(NewKey { id, text })
    }

    /// The keys that there are, oldest first, without their secrets.
    ///
    /// # Errors
    /// [`KeyError`] if the file cannot be read or understood.
    pub fn list(&self) -> Result<Vec<ServiceKey>, KeyError> {
        Ok(self.file.read()?.iter().map(StoredKey::describe).collect())
    }

    /// Ends a key.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], or the file cannot be read or written.
    pub fn revoke(&self, id: &str) -> Result<(), KeyError> {
        self.file.change(|keys| {
            let before = keys.len();
            keys.retain(|key| key.id.as_str() != id);
            if keys.len() == before { Err(KeyError::NoSuchKey) } else { Ok(()) }
        })
    }

    /// Recognises a presented key and checks its scope.
    ///
    /// It looks at the file's state each time, which is one system call. A file that cannot be
    /// read allows nothing.
    ///
    /// # Errors
    /// [`KeyRefusal`] tells an unknown key from one that may not do this.
    pub fn check(&self, presented: &str, scope: Scope) -> Result<ServiceKey, KeyRefusal> {
        if presented.len() != KEY_LEN {
            return Err(KeyRefusal::Unknown);
        }
        let presented = digest(presented);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut read);
        // Every key is looked at, so that the time does not say which one was near.
        let mut found = None;
        for key in &read.keys {
            if bool::from(key.sha256.as_bytes().ct_eq(presented.as_bytes())) {
                found = Some(key);
            }
        }
        let key = found.ok_or(KeyRefusal::Unknown)?;
        if key.scopes.contains(&scope) { Ok(key.describe()) } else { Err(KeyRefusal::MissingScope) }
    }

    fn catch_up(&self, read: &mut Read) {
        // The stamp comes first: a change between the two is seen the next time.
        let outcome = self.file.stamp().and_then(|stamp| {
            if stamp == read.stamp {
                return Ok(None);
            }
            read.stamp.clone_from(&stamp);
            self.file.read().map(Some)
        });
        match outcome {
            Ok(None) => {}
            Ok(Some(keys)) => read.keys = keys,
            Err(error) => {
                if !read.keys.is_empty() || read.stamp.is_some() {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "no service key is accepted");
                }
                read.keys.clear();
                // A damaged file stays so until it changes; a failing disk is asked again.
                if matches!(error, KeyError::File { .. }) {
                    read.stamp = None;
                }
            }
        }
    }
}

/// A key as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    /// Names the key.
    pub id: KeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// Names the key.
    pub id: KeyId,
    /// The key itself, to be shown once.
    pub text: ServiceKeyText,
}

/// The public part of a key: 8 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The 8 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole key: wiped on drop, never printed by accident.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ServiceKeyText(String);

impl ServiceKeyText {
    /// The key, for the one place that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServiceKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKeyText(redacted)")
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Ask for access tokens.
    #[serde(rename = "token")]
    Token,
    /// List devices, counts and events.
    #[serde(rename = "admin:read")]
    AdminRead,
    /// End sessions.
    #[serde(rename = "admin:write")]
    AdminWrite,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
        })
    }
}

/// The text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: token, admin:read or admin:write is expected")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let all = [Self::Token, Self::AdminRead, Self::AdminWrite];
        all.into_iter().find(|scope| scope.to_string() == text).ok_or(InvalidScope)
    }
}

/// Why a presented key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// There is no such key: it never existed, or was revoked.
    #[error("the service key is not known")]
    Unknown,
    /// The key may not do this.
    #[error("the service key has not the scope for this")]
    MissingScope,
}

/// Why the keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the service keys in {} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The file is damaged; it is left as it is.
    #[error("the service keys in {} are damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// The name is no label.
    #[error("the key cannot have this name")]
    Name(#[from] InvalidLabel),
    /// A key without a scope could do nothing.
    #[error("a service key needs at least one scope")]
    NoScope,
    /// The operating system gives no random bytes.
    #[error("no random bytes for a service key")]
    Random(#[source] getrandom::Error),
    /// Two keys drew the same id; another attempt draws another one.
    #[error("the id of the fresh service key is taken")]
    Taken,
    /// There is no key with this id.
    #[error("there is no such service key")]
    NoSuchKey,
}

/// `tk_`, 8 hex digits, `_`, 43 base64url characters.
const KEY_LEN: usize = 3 + 8 + 1 + 43;

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// A file of keys reads as it is written.
#[cfg(feature = "testing")]
pub(crate) fn check_file(bytes: &[u8]) {
    if let Ok(keys) = file::parse(bytes) {
        let written = file::to_bytes(keys).ok();
        let again = written.as_deref().and_then(|bytes| file::parse(bytes).ok());
        assert_eq!(again.and_then(|keys| file::to_bytes(keys).ok()), written);
    }
}

#[cfg(test)]
mod tests;
