//! Stored bytes, whatever they are, open or are refused; a header that is written is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenkeep_core::codec::{Header, decode};
use tokenkeep_core::{KeyRing, StoreId};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::decode(bytes) {
        let again = header.encode().expect("it was read");
        assert_eq!(Header::decode(&again).and_then(|header| header.encode()), Ok(again));
    }
    let split = bytes.first().map_or(0, |at| usize::from(*at).min(bytes.len()));
    let (header, body) = bytes.split_at(split);
    let ring = KeyRing::generate().expect("random bytes");
    assert!(decode(header, body, &ring, &StoreId::from_bytes([0; 16])).is_err());
});
