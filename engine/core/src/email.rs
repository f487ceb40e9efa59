//! The address of a user, canonicalised in this one place.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A user's address in the one spelling under which devices are listed and ended.
///
/// ASCII letters are lower-cased (people's keyboards capitalise the first letter, and a device
/// missing from "end all" is worse than two spellings in one list). The address goes to the
/// auth server as it was typed. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Arc<str>);

impl Email {
    /// The longest address in bytes (RFC 5321, 4.5.3.1.3, less the angle brackets).
    pub const MAX_LEN: usize = 254;

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Email({})", self.0)
    }
}

/// The text was not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an email address: one `@` with text on both sides, no spaces or control characters, at most 254 bytes"
)]
pub struct InvalidEmail;

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let Some((local, domain)) = text.split_once('@') else { return Err(InvalidEmail) };
        let legal = |c: char| !c.is_control() && !c.is_whitespace() && c != '@';
        let well_formed = !local.is_empty() && !domain.is_empty();
        if !well_formed
            || text.len() > Self::MAX_LEN
            || !local.chars().all(legal)
            || !domain.chars().all(legal)
        {
            return Err(InvalidEmail);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one_email() {
        assert_eq!("Ada@Example.ORG".parse::<Email>(), "ada@example.org".parse());
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for bad in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "a\r@b", "a\u{0}@b", "plain"] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?} was accepted");
        }
        assert!(format!("{}@b", "a".repeat(253)).parse::<Email>().is_err());
    }
}
