//! The keys that seal tokens at rest, and what is derived from them. No I/O: see the stores.

mod rotation;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::device::random_bytes;
use crate::{RandomUnavailable, StoreId};

pub use rotation::{ResealProgress, RingError, RingUse, Unfit};

/// The keys that seal tokens at rest: one active, any number retired.
///
/// The active key seals; every key opens what it has sealed. The id that stands in front of
/// sealed bytes says which key to take, so nothing is tried out. Cloning is cheap; the keys are
/// wiped when the last clone goes, and never printed.
///
/// Clones are one ring: what one of them takes up ([`KeyRing::take_up`]) all of them have. That is
/// how a store changes its keys while it is used. [`KeyRing::detached`] is a ring of its own.
///
/// ```
/// use tokenkeep_core::KeyRing;
///
/// let ring = KeyRing::generate()?;
/// let rotated = ring.rotated()?;
/// assert!(rotated.ids().any(|id| id == ring.active()));
/// let read = KeyRing::parse(&rotated.to_text())?;
/// assert_eq!(read.active(), rotated.active());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyRing {
    shared: Arc<Shared>,
}

struct Shared {
    keys: RwLock<Keys>,
    reread: Option<Reread>,
}

/// The active key first, then the retired ones, the latest first.
type Keys = Arc<[Arc<Key>]>;

/// Where a key may be found that the ring does not have.
type Reread = Arc<dyn Fn() -> Option<KeyRing> + Send + Sync>;

impl KeyRing {
    /// A ring with one fresh key.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes.
    pub fn generate() -> Result<Self, RandomUnavailable> {
        Ok(Self::of([Arc::new(Key::random()?)].into()))
    }

    /// This ring with a fresh active key; the key that was active is retired.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes.
    pub fn rotated(&self) -> Result<Self, RandomUnavailable> {
        let fresh = Arc::new(self.fresh_key()?);
        Ok(Self::of(std::iter::once(fresh).chain(self.keys().iter().cloned()).collect()))
    }

    /// Reads a ring from its text form: the line `tokenkeep keys v1`, then a line for each key
    /// with `active` or `retired`, the id as 8 hex digits, and the key as 43 characters of
    /// base64url, apart by one space. The active key comes first.
    ///
    /// # Errors
    /// [`InvalidKeyRing`] says which line is wrong, and shows nothing of it.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyRing> {
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(InvalidKeyRing::FirstLine);
        }
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for (line, number) in lines.zip(2..) {
            let word = if keys.is_empty() { "active" } else { "retired" };
            let key = Key::parse(line, word).ok_or(InvalidKeyRing::KeyLine(number))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(InvalidKeyRing::TwiceTheSameId(number));
            }
            keys.push(Arc::new(key));
        }
        if keys.is_empty() {
            return Err(InvalidKeyRing::NoKey);
        }
        Ok(Self::of(keys.into()))
    }

    /// The text form, keys included, for the one file that holds it.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let keys = self.keys();
        let mut text = Zeroizing::new(String::with_capacity(20 + 64 * keys.len()));
        text.push_str(FIRST_LINE);
        text.push('\n');
        for (at, key) in keys.iter().enumerate() {
            text.push_str(if at == 0 { "active " } else { "retired " });
            text.push_str(&key.id.to_string());
            text.push(' ');
            URL_SAFE_NO_PAD.encode_string(*key.material, &mut text);
            text.push('\n');
        }
        text
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn active(&self) -> KeyId {
        self.keys().first().map_or(KeyId([0; 4]), |key| key.id)
    }

    /// The ids of all keys, the active one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + use<> {
        let ids: Vec<_> = self.keys().iter().map(|key| key.id).collect();
        ids.into_iter()
    }

    /// What `store` may keep to recognise the key `id`, if the ring has it. The key cannot be
    /// found from it.
    #[must_use]
    pub fn check_value(&self, id: KeyId, store: &StoreId) -> Option<[u8; 32]> {
        let key = self.known(id)?;
        let mut info = Vec::with_capacity(64);
        info.extend_from_slice(b"tokenkeep v1 check value\0");
        info.extend_from_slice(&key.id.0);
        info.extend_from_slice(store.as_bytes());
        Some(*derive(&key.material, &info))
    }

    /// The key `id`; one that is not there is looked for where the ring comes from.
    pub(crate) fn key(&self, id: KeyId) -> Option<Arc<Key>> {
        self.known(id).or_else(|| self.learned(id))
    }

    /// The key that seals.
    pub(crate) fn active_key(&self) -> Option<Arc<Key>> {
        self.keys().first().cloned()
    }

    fn known(&self, id: KeyId) -> Option<Arc<Key>> {
        self.keys().iter().find(|key| key.id == id).cloned()
    }

    fn of(keys: Keys) -> Self {
        Self { shared: Arc::new(Shared { keys: RwLock::new(keys), reread: None }) }
    }

    fn keys(&self) -> Keys {
        Arc::clone(&self.shared.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fresh_key(&self) -> Result<Key, RandomUnavailable> {
        let mut fresh = Key::random()?;
        while self.known(fresh.id).is_some() {
            fresh = Key::random()?;
        }
        Ok(fresh)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// Names a key of a ring. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The id made of these 4 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The 4 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyRing;

    fn from_str(text: &str) -> Result<Self, InvalidKeyRing> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 8 || !text.bytes().all(lower_hex) {
            return Err(InvalidKeyRing::KeyId);
        }
        let number = u32::from_str_radix(text, 16).map_err(|_| InvalidKeyRing::KeyId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// The text was not a key ring. It shows nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeyRing {
    /// The first line does not name the format.
    #[error("the first line of a key ring must be `tokenkeep keys v1`")]
    FirstLine,
    /// This line, counted from 1, does not hold a key.
    #[error(
        "line {0} of the key ring must be `active` or `retired`, 8 hex digits and 43 characters of base64url, the active key first"
    )]
    KeyLine(usize),
    /// This line, counted from 1, has an id that another line has.
    #[error("line {0} of the key ring has the same id as another line")]
    TwiceTheSameId(usize),
    /// There is no key.
    #[error("the key ring has no key")]
    NoKey,
    /// The text was not a key id.
    #[error("not a key id: 8 lower-case hex digits are expected")]
    KeyId,
}

/// One key with what is derived from it, a subkey for each purpose.
pub(crate) struct Key {
    pub(crate) id: KeyId,
    material: Zeroizing<[u8; 32]>,
    /// Seals tokens.
    pub(crate) sealing: Zeroizing<[u8; 32]>,
    /// Tags records.
    pub(crate) tagging: Zeroizing<[u8; 32]>,
    /// Tags blocks of rows.
    pub(crate) vouching: Zeroizing<[u8; 32]>,
}

impl Key {
    fn new(id: KeyId, material: Zeroizing<[u8; 32]>) -> Self {
        let sealing = derive(&material, b"tokenkeep v1 sealing tokens\0");
        let tagging = derive(&material, b"tokenkeep v1 tagging records\0");
        let vouching = derive(&material, b"tokenkeep v1 tagging blocks\0");
        Self { id, material, sealing, tagging, vouching }
    }

    fn random() -> Result<Self, RandomUnavailable> {
        Ok(Self::new(KeyId(random_bytes()?), Zeroizing::new(random_bytes()?)))
    }

    fn parse(line: &str, word: &str) -> Option<Self> {
        let (id, key) = line.strip_prefix(word)?.strip_prefix(' ')?.split_once(' ')?;
        let mut material = Zeroizing::new([0; 32]);
        let written = URL_SAFE_NO_PAD.decode_slice(key, material.as_mut()).ok()?;
        // 43 characters exactly: base64 has one spelling for 32 bytes.
        (written == 32 && key.len() == 43).then_some(())?;
        Some(Self::new(id.parse().ok()?, material))
    }
}

fn derive(material: &[u8; 32], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut subkey = Zeroizing::new([0; 32]);
    // 32 bytes are far below the 8160 that HKDF-SHA256 can give.
    let _ = Hkdf::<Sha256>::new(None, material).expand(info, subkey.as_mut());
    subkey
}

const FIRST_LINE: &str = "tokenkeep keys v1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_round_trips_as_text_and_prints_no_key() {
        let ring = KeyRing::generate().unwrap().rotated().unwrap().rotated().unwrap();
        let text = ring.to_text();
        let read = KeyRing::parse(&text).unwrap();
        assert_eq!(*read.to_text(), *text);
        let shown = format!("{ring:?}");
        for line in text.lines().skip(1) {
            assert!(!shown.contains(line.rsplit(' ').next().unwrap()), "{shown}");
        }
    }

    #[test]
    fn what_is_not_a_ring_is_refused_and_not_shown() {
        let good = KeyRing::generate().unwrap().rotated().unwrap().to_text().to_string();
        let lines: Vec<&str> = good.lines().collect();
        let (first, active, retired) = (lines[0], lines[1], lines[2]);
        for bad in [
            String::new(),
            format!("{first}\n"),
            format!("{active}\n"),
            format!("{first}\n{retired}\n"),
            format!("{first}\n{active}\n{active}\n"),
            format!("{first}\n{active}\n{}\n", active.replace("active", "retired")),
            format!("{first}\n{active}\n\n"),
            format!("{first}\n{active} \n"),
            format!("{first}\r\n{active}\n"),
            format!("{first}\n{}\n", &active[..active.len() - 1]),
            format!("{first}\n{active}A\n"),
            format!("{first}\n{}\n", active.to_uppercase()),
        ] {
            let error = KeyRing::parse(&bad).unwrap_err();
            let secret = active.rsplit(' ').next().unwrap();
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }

    #[test]
    fn check_values_tell_keys_and_stores_apart() {
        let (ring, other) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let (store, elsewhere) = (StoreId::random().unwrap(), StoreId::random().unwrap());
        let value = ring.check_value(ring.active(), &store);
        assert_eq!(value, ring.rotated().unwrap().check_value(ring.active(), &store));
        assert_ne!(value, ring.check_value(ring.active(), &elsewhere));
        assert_ne!(value, other.check_value(other.active(), &store));
        assert_eq!(ring.check_value(KeyId([0; 4]), &store), None);
    }

    #[test]
    fn subkeys_differ_by_purpose() {
        let ring = KeyRing::generate().unwrap();
        let key = ring.key(ring.active()).unwrap();
        assert_ne!(*key.sealing, *key.tagging);
        assert_ne!(*key.sealing, *key.material);
        assert_ne!(*key.vouching, *key.tagging);
    }
}
