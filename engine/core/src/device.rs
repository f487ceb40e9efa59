//! The device id (a name), the device secret, and the credential they make together.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The operating system could not give random bytes; nothing that needs a secret can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random generator failed")]
pub struct RandomUnavailable;

/// Fills an array from the operating system's generator.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], RandomUnavailable> {
    #[cfg(any(test, feature = "testing"))]
    if crate::testing::is_without_random() {
        return Err(RandomUnavailable);
    }
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RandomUnavailable)?;
    Ok(bytes)
}

/// Names a device: a version 4 UUID, written as 32 hex digits.
///
/// It is a name, not a secret: it may be shown, logged and listed, and opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Uuid);

impl DeviceId {
    /// Draws a fresh id.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomUnavailable> {
        Ok(Self(uuid::Builder::from_random_bytes(random_bytes()?).into_uuid()))
    }

    /// The id made of these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({self})")
    }
}

/// The text was not a device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device id: 32 hex digits are expected")]
pub struct InvalidDeviceId;

impl FromStr for DeviceId {
    type Err = InvalidDeviceId;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceId> {
        if text.len() != 32 {
            return Err(InvalidDeviceId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidDeviceId)
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Names a store, so that what one store has sealed or verified is worth nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// Draws a fresh id.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomUnavailable> {
        random_bytes().map(Self)
    }

    /// The id made of these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// 32 random bytes that prove a device. Wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DeviceSecret([u8; 32]);

impl DeviceSecret {
    /// The secret made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSecret(redacted)")
    }
}

/// What the device cookie holds: the device's id and its secret.
///
/// Written as 32 hex digits, a dot, and 43 characters of base64url. There is no `Display`:
/// [`Credential::expose`] says at the call site that a secret leaves.
#[derive(Clone)]
pub struct Credential {
    device: DeviceId,
    secret: DeviceSecret,
}

impl Credential {
    /// Length of a written credential in bytes.
    pub const LEN: usize = 32 + 1 + 43;

    /// Draws a fresh device id and secret.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomUnavailable> {
        Ok(Self { device: DeviceId::random()?, secret: DeviceSecret(random_bytes()?) })
    }

    /// The credential of `device` with `secret`.
    #[must_use]
    pub const fn new(device: DeviceId, secret: DeviceSecret) -> Self {
        Self { device, secret }
    }

    /// The device that this credential claims to be.
    #[must_use]
    pub const fn device_id(&self) -> DeviceId {
        self.device
    }

    /// The written form, secret included, for the cookie or header that carries it.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::LEN));
        text.push_str(&self.device.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(self.secret.0, &mut text);
        text
    }

    /// What `store` keeps of this credential to recognise it.
    #[must_use]
    pub fn verifier(&self, store: &StoreId) -> Verifier {
        let digest = Sha256::new()
            .chain_update(b"tokenkeep device verifier v1\0")
            .chain_update(store.as_bytes())
            .chain_update(self.device.as_bytes())
            .chain_update(self.secret.0);
        Verifier(digest.finalize().into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}.redacted)", self.device)
    }
}

/// The text was not a credential. It does not say why: the text may hold half a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device credential")]
pub struct InvalidCredential;

impl FromStr for Credential {
    type Err = InvalidCredential;

    fn from_str(text: &str) -> Result<Self, InvalidCredential> {
        let (device, secret) = text.split_once('.').ok_or(InvalidCredential)?;
        let device = device.parse().map_err(|_| InvalidCredential)?;
        let mut bytes = Zeroizing::new([0; 32]);
        // Exactly 43 characters: a shortened or lengthened secret is no secret.
        if secret.len() != 43 {
            return Err(InvalidCredential);
        }
        let written = URL_SAFE_NO_PAD.decode_slice(secret, bytes.as_mut());
        match written {
            Ok(32) => Ok(Self { device, secret: DeviceSecret(*bytes) }),
            _ => Err(InvalidCredential),
        }
    }
}

/// SHA-256 over a label, the store's id, the device id and the secret: recognises a credential
/// and cannot be turned back into one. The secret has full entropy, so no slow hash is needed.
#[derive(Clone, Copy)]
pub struct Verifier([u8; 32]);

impl Verifier {
    /// Recognises nobody: what a record has that came without a secret.
    pub const NOBODY: Self = Self([0; 32]);

    /// The verifier made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the verifier.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both recognise the same credential, in constant time. [`Verifier::NOBODY`] matches
    /// nothing, not even itself.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        (self.0.ct_eq(&other.0) & !self.0.ct_eq(&Self::NOBODY.0)).into()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_round_trips_and_prints_no_secret() {
        let credential = Credential::random().unwrap();
        let text = credential.expose();
        assert_eq!(text.len(), Credential::LEN);
        let read: Credential = text.parse().unwrap();
        assert_eq!(*read.expose(), *text);
        let secret = text.split_once('.').unwrap().1;
        assert!(!format!("{credential:?}").contains(secret));
    }

    #[test]
    fn malformed_credentials_are_refused() {
        let good = Credential::random().unwrap().expose().to_string();
        let (device, secret) = good.split_once('.').unwrap();
        let hyphenated = Uuid::parse_str(device).unwrap().hyphenated().to_string();
        for bad in [
            String::new(),
            ".".into(),
            device.into(),
            format!("{device}."),
            format!("{device}.{}", &secret[..42]),
            format!("{device}.{secret}A"),
            format!("{device}.{secret}="),
            format!(" {good}"),
            format!("{hyphenated}.{secret}"),
            format!("{device}.{}", "*".repeat(43)),
            "\u{e9}".repeat(40),
        ] {
            assert!(bad.parse::<Credential>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_verifier_is_bound_to_store_device_and_secret() {
        let store = StoreId::random().unwrap();
        let credential = Credential::random().unwrap();
        let verifier = credential.verifier(&store);
        assert!(verifier.matches(&credential.verifier(&store)));
        assert!(!verifier.matches(&credential.verifier(&StoreId::random().unwrap())));
        let other_device = Credential::new(DeviceId::random().unwrap(), credential.secret.clone());
        assert!(!verifier.matches(&other_device.verifier(&store)));
        let other_secret = Credential::new(credential.device, DeviceSecret::from_bytes([7; 32]));
        assert!(!verifier.matches(&other_secret.verifier(&store)));
    }

    #[test]
    fn nobody_matches_nobody() {
        let verifier = Credential::random().unwrap().verifier(&StoreId::from_bytes([0; 16]));
        for other in [verifier, Verifier::NOBODY, Verifier::from_bytes([0; 32])] {
            assert!(!Verifier::NOBODY.matches(&other) && !other.matches(&Verifier::NOBODY));
        }
    }
}
