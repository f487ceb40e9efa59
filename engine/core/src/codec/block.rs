//! Tags over lists of headers: who has no key can neither make such a list, nor change one, nor
//! put it under another number.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::CodecError;
use crate::StoreId;
use crate::keyring::{KeyId, KeyRing};

/// Bytes at the front of a tagged list: key id and HMAC-SHA256.
pub const BLOCK_TAG_LEN: usize = 4 + 32;

/// Fills the first [`BLOCK_TAG_LEN`] bytes of `list`, which stands under `number` in `store`, with
/// a tag over all of it by `key`.
///
/// # Errors
/// [`CodecError::UnknownKey`] if the ring has no such key, [`CodecError::Malformed`] if the list
/// has no room for a tag.
pub fn tag_block(
    list: &mut [u8],
    number: u64,
    key: KeyId,
    ring: &KeyRing,
    store: &StoreId,
) -> Result<(), CodecError> {
    let (prefix, rows) =
        list.split_first_chunk_mut::<BLOCK_TAG_LEN>().ok_or(CodecError::Malformed)?;
    let tag = tag(rows, number, key, ring, store)?.finalize().into_bytes();
    let (id, place) = prefix.split_at_mut(4);
    id.copy_from_slice(key.as_bytes());
    place.copy_from_slice(&tag);
    Ok(())
}

/// The key that vouches for `list` under `number` in `store`.
///
/// # Errors
/// [`CodecError::UnknownKey`], [`CodecError::Tampered`], or [`CodecError::Malformed`] if it has no
/// tag.
pub fn check_block(
    list: &[u8],
    number: u64,
    ring: &KeyRing,
    store: &StoreId,
) -> Result<KeyId, CodecError> {
    let key = block_key(list).ok_or(CodecError::Malformed)?;
    let (prefix, rows) = list.split_at_checked(BLOCK_TAG_LEN).ok_or(CodecError::Malformed)?;
    let (_, tagged) = prefix.split_at(4);
    tag(rows, number, key, ring, store)?.verify_slice(tagged).map_err(|_| CodecError::Tampered)?;
    Ok(key)
}

/// The key that `list` says it is tagged with.
#[must_use]
pub fn block_key(list: &[u8]) -> Option<KeyId> {
    list.first_chunk::<4>().filter(|_| list.len() >= BLOCK_TAG_LEN).copied().map(KeyId::from_bytes)
}

/// Everything before the rows has a fixed width: one reading only.
fn tag(
    rows: &[u8],
    number: u64,
    key: KeyId,
    ring: &KeyRing,
    store: &StoreId,
) -> Result<Hmac<Sha256>, CodecError> {
    let key = ring.key(key).ok_or(CodecError::UnknownKey)?;
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&*key.vouching).map_err(|_| CodecError::Malformed)?;
    mac.update(b"tokenkeep block tag v1\0");
    mac.update(store.as_bytes());
    mac.update(&number.to_le_bytes());
    mac.update(rows);
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_vouched_for_under_its_own_number_in_its_own_store() {
        let ring = KeyRing::generate().unwrap();
        let rotated = ring.rotated().unwrap();
        let (store, elsewhere) = (StoreId::random().unwrap(), StoreId::random().unwrap());
        let mut list = vec![0; BLOCK_TAG_LEN];
        list.extend_from_slice(b"rows");
        tag_block(&mut list, 7, ring.active(), &rotated, &store).unwrap();
        assert_eq!(check_block(&list, 7, &ring, &store), Ok(ring.active()));
        assert_eq!(check_block(&list, 8, &ring, &store), Err(CodecError::Tampered));
        assert_eq!(check_block(&list, 7, &ring, &elsewhere), Err(CodecError::Tampered));
        let other = KeyRing::generate().unwrap();
        assert_eq!(check_block(&list, 7, &other, &store), Err(CodecError::UnknownKey));
        for at in 0..list.len() {
            let mut bad = list.clone();
            bad[at] ^= 1;
            assert!(check_block(&bad, 7, &ring, &store).is_err(), "byte {at}");
            let short = check_block(&list[..at], 7, &ring, &store);
            assert!(short.is_err(), "length {at}");
        }
    }
}
