//! Seals one token so that it opens in its own place only.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::CodecError;
use crate::device::random_bytes;
use crate::keyring::{Key, KeyId, KeyRing};
use crate::{DeviceId, StoreId, Version};

/// The place that a sealed token is bound to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) store: &'a StoreId,
    pub(super) device: DeviceId,
    pub(super) version: Version,
    /// Which token of the record it is.
    pub(super) field: &'static [u8],
}

/// The sealed bytes of `token`.
pub(super) fn seal(key: &Key, place: &Place<'_>, token: &str) -> Result<Vec<u8>, CodecError> {
    let nonce: [u8; 24] = random_bytes().map_err(|_| CodecError::NoRandom)?;
    let aad = associated_data(key.id, place);
    let payload = Payload { msg: token.as_bytes(), aad: &aad };
    let sealed = XChaCha20Poly1305::new((&*key.sealing).into())
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| CodecError::Malformed)?;
    let mut bytes = Vec::with_capacity(PREFIX_LEN + sealed.len());
    bytes.extend_from_slice(&[VERSION, XCHACHA20_POLY1305]);
    bytes.extend_from_slice(key.id.as_bytes());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// The token that `bytes` hold, if they belong in `place`.
pub(super) fn open(
    ring: &KeyRing,
    place: &Place<'_>,
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CodecError> {
    let (kind, rest) = bytes.split_first_chunk::<2>().ok_or(CodecError::Malformed)?;
    match *kind {
        [VERSION, XCHACHA20_POLY1305] => {}
        [VERSION, _] => return Err(CodecError::Malformed),
        [version, _] => return Err(CodecError::UnknownFormat(version)),
    }
    let (id, rest) = rest.split_first_chunk::<4>().ok_or(CodecError::Malformed)?;
    let (nonce, sealed) = rest.split_first_chunk::<24>().ok_or(CodecError::Malformed)?;
    let key = ring.key(KeyId::from_bytes(*id)).ok_or(CodecError::UnknownKey)?;
    let aad = associated_data(key.id, place);
    XChaCha20Poly1305::new((&*key.sealing).into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| CodecError::Tampered)
}

/// Everything but the field name has a fixed width, and the name comes last: one reading only.
fn associated_data(key: KeyId, place: &Place<'_>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(64);
    aad.extend_from_slice(&[VERSION, XCHACHA20_POLY1305]);
    aad.extend_from_slice(key.as_bytes());
    aad.extend_from_slice(place.store.as_bytes());
    aad.extend_from_slice(place.device.as_bytes());
    aad.extend_from_slice(&place.version.number().to_le_bytes());
    aad.extend_from_slice(place.field);
    aad
}

const VERSION: u8 = 1;
const XCHACHA20_POLY1305: u8 = 1;
const PREFIX_LEN: usize = 2 + 4 + 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_in_its_own_place_only() {
        let ring = KeyRing::generate().unwrap();
        let (store, elsewhere) = (StoreId::random().unwrap(), StoreId::random().unwrap());
        let device = DeviceId::random().unwrap();
        let place = Place { store: &store, device, version: Version::FIRST, field: b"access" };
        let sealed = seal(&ring.active_key().unwrap(), &place, "canary").unwrap();
        assert_eq!(open(&ring, &place, &sealed).unwrap().as_slice(), b"canary");
        for other in [
            Place { store: &elsewhere, ..place },
            Place { device: DeviceId::random().unwrap(), ..place },
            Place { version: Version::FIRST.next(), ..place },
            Place { field: b"refresh", ..place },
        ] {
            assert_eq!(open(&ring, &other, &sealed), Err(CodecError::Tampered));
        }
        assert_eq!(
            open(&KeyRing::generate().unwrap(), &place, &sealed),
            Err(CodecError::UnknownKey)
        );
        let rotated = ring.rotated().unwrap();
        assert_eq!(open(&rotated, &place, &sealed).unwrap().as_slice(), b"canary");
    }

    #[test]
    fn every_changed_byte_of_a_seal_is_found() {
        let ring = KeyRing::generate().unwrap();
        let store = StoreId::random().unwrap();
        let device = DeviceId::random().unwrap();
        let place = Place { store: &store, device, version: Version::FIRST, field: b"access" };
        let sealed = seal(&ring.active_key().unwrap(), &place, "canary").unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&ring, &place, &bad).is_err(), "byte {at}");
            assert!(open(&ring, &place, &sealed[..at]).is_err(), "length {at}");
        }
    }
}
