//! The secrets that pass through: tokens and passwords. None of them can be printed.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The longest token in bytes.
const MAX_TOKEN_LEN: usize = 16 * 1024;

/// The text cannot be a token: empty, over 16 KiB, or with bytes that no header may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: 1 to 16384 printable ASCII characters are expected")]
pub struct InvalidToken;

/// Declares a secret text: wiped on drop, redacted in `Debug`, compared in constant time.
macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name(String);

        impl $name {
            /// The secret itself, for the one place that must send or seal it.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
            }
        }

        impl Eq for $name {}
    };
}

secret_text! {
    /// The token that requests carry to an API (RFC 6749, 1.4).
    AccessToken
}

secret_text! {
    /// The token that buys a new pair (RFC 6749, 1.5).
    RefreshToken
}

secret_text! {
    /// What a user proves an address with. It is passed on and never kept.
    Password
}

impl AccessToken {
    /// Accepts a token as an auth server sent it.
    ///
    /// # Errors
    /// [`InvalidToken`] if it could not be sent in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidToken> {
        check(Self(text.into()), |token| &token.0)
    }

    /// The SHA-256 that names this token without showing it.
    #[must_use]
    pub fn spent(&self) -> SpentToken {
        SpentToken(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl RefreshToken {
    /// Accepts a token as an auth server sent it.
    ///
    /// # Errors
    /// [`InvalidToken`] if it is empty, over 16 KiB, or not printable ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidToken> {
        check(Self(text.into()), |token| &token.0)
    }
}

impl Password {
    /// Takes the password as the user typed it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

fn check<T>(token: T, text: impl Fn(&T) -> &str) -> Result<T, InvalidToken> {
    let legal = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_graphic);
    let bytes = text(&token).as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_TOKEN_LEN || !legal(bytes) {
        return Err(InvalidToken);
    }
    Ok(token)
}

/// The SHA-256 of an access token that met a 401: says which token is spent without showing it.
///
/// Written as 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpentToken([u8; 32]);

impl fmt::Display for SpentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for SpentToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()
            .ok_or(InvalidToken)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
            .collect();
        if digits.len() != 64 {
            return Err(InvalidToken);
        }
        bytes.try_into().map(Self).map_err(|_| InvalidToken)
    }
}

/// The auth server's word for how a token is presented, usually `bearer` (RFC 6749, 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenType(String);

impl TokenType {
    /// Accepts the type as an auth server sent it.
    ///
    /// # Errors
    /// [`InvalidToken`] unless it is 1 to 64 characters that an `Authorization` scheme may have.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidToken> {
        let text = text.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(legal) {
            return Err(InvalidToken);
        }
        Ok(Self(text))
    }

    /// The type as the auth server spelled it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheme as an `Authorization` header spells it: `Bearer`, whatever the case it came in.
    #[must_use]
    pub fn scheme(&self) -> &str {
        if self.0.eq_ignore_ascii_case("bearer") { "Bearer" } else { &self.0 }
    }
}

impl Default for TokenType {
    fn default() -> Self {
        Self("bearer".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let shown = format!(
            "{:?} {:?} {:?}",
            AccessToken::new("canary-a").unwrap(),
            RefreshToken::new("canary-r").unwrap(),
            Password::new("canary-p")
        );
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn tokens_that_could_forge_a_header_are_refused() {
        for bad in ["", "a b", "a\r\nX-Admin: 1", "a\n", "\u{e9}", "a\u{0}", "a\u{7f}"] {
            assert!(AccessToken::new(bad).is_err(), "{bad:?} was accepted");
            assert!(RefreshToken::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(AccessToken::new("x".repeat(16 * 1024)).is_ok());
        assert!(AccessToken::new("x".repeat(16 * 1024 + 1)).is_err());
        assert!(TokenType::new("Bearer x").is_err());
    }

    #[test]
    fn spent_tokens_round_trip_as_hex() {
        let spent = AccessToken::new("abc").unwrap().spent();
        assert_eq!(
            spent.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(spent.to_string().parse(), Ok(spent));
        for bad in ["", "zz", "ba78", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64)] {
            assert!(bad.parse::<SpentToken>().is_err());
        }
    }

    #[test]
    fn the_scheme_has_its_usual_spelling() {
        assert_eq!(TokenType::new("bEARER").unwrap().scheme(), "Bearer");
        assert_eq!(TokenType::new("DPoP").unwrap().scheme(), "DPoP");
    }
}
