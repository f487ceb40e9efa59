//! The key that a service shows the session server.

use std::fmt;
use std::str::FromStr;

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// The key that a service shows the session server: made by `tokenkeep keys add`. Wiped on drop,
/// never printed.
#[derive(Clone)]
pub struct ServiceKey(Zeroizing<String>);

impl ServiceKey {
    /// Accepts a key as `tokenkeep keys add` wrote it; space around it is taken off.
    ///
    /// # Errors
    /// [`InvalidServiceKey`] if it could not be sent in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidServiceKey> {
        let text = Zeroizing::new(text.into());
        let key = text.trim();
        if key.is_empty() || key.len() > MAX_KEY_LEN || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidServiceKey);
        }
        Ok(Self(Zeroizing::new(key.to_owned())))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn bearer(&self) -> Result<HeaderValue, InvalidServiceKey> {
        let text = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| InvalidServiceKey)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl FromStr for ServiceKey {
    type Err = InvalidServiceKey;

    fn from_str(text: &str) -> Result<Self, InvalidServiceKey> {
        Self::new(text)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(redacted)")
    }
}

/// The text was not a service key. It does not say why: the text may hold most of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a service key: 1 to 1024 printable ASCII characters are expected")]
pub struct InvalidServiceKey;

/// The longest key in bytes.
const MAX_KEY_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_could_forge_a_header_is_refused() {
        for bad in ["", "  ", "a b", "a\r\nX: 1", "\u{e9}", &"k".repeat(1025)] {
            assert_eq!(ServiceKey::new(bad).err(), Some(InvalidServiceKey), "{bad:?}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let key: ServiceKey = "canary-key\n".parse().unwrap();
        let bearer = key.bearer().unwrap();
        assert_eq!(bearer, "Bearer canary-key");
        assert!(!format!("{key:?} {bearer:?}").contains("canary"));
    }
}
