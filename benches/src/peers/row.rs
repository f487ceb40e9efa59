//! What a record is to a peer: plain bytes, as many as the engine's sealed ones.

use tokenkeep::Timestamp;

use crate::peers::Versioned;
use crate::{Entry, NOW};

/// A record on its way into a peer.
#[derive(Clone, Debug)]
pub struct Row {
    /// The device.
    pub device: [u8; 16],
    /// Who logged in.
    pub email: String,
    /// When it dies, in seconds after [`NOW`].
    pub dies_after: u64,
    /// 1 for a login, one more for each refresh.
    pub version: u64,
    /// The tokens and the rest.
    pub tokens: Vec<u8>,
}

impl Row {
    /// The row of `entry` with version `version`.
    #[must_use]
    pub fn new(entry: Entry, version: u64) -> Self {
        let email = entry.email();
        let mut tokens = vec![b'x'; ROW_BYTES - HEAD_BYTES - email.len()];
        for (place, byte) in tokens.iter_mut().zip(entry.generation.to_le_bytes()) {
            *place = byte;
        }
        let device = entry.device();
        Self { device, email, dies_after: entry.dies_after, version, tokens }
    }

    /// The row as one value; [`Stored`] reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        bytes.extend_from_slice(&self.dies_after.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.push(u8::try_from(self.email.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(self.email.as_bytes());
        bytes.extend_from_slice(&self.tokens);
        bytes
    }
}

/// A row as it was stored, read in place.
#[derive(Clone, Debug)]
pub struct Stored<B>(pub B);

impl<B: AsRef<[u8]>> Stored<B> {
    /// When it dies, in seconds after [`NOW`].
    pub fn dies_after(&self) -> u64 {
        self.number(0)
    }

    /// Who logged in.
    pub fn email(&self) -> &[u8] {
        let bytes = self.0.as_ref();
        let len = bytes.get(HEAD_BYTES - 1).copied().map_or(0, usize::from);
        bytes.get(HEAD_BYTES..HEAD_BYTES + len).unwrap_or_default()
    }

    fn number(&self, at: usize) -> u64 {
        let bytes = self.0.as_ref().get(at..).and_then(<[u8]>::first_chunk::<8>);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl<B: AsRef<[u8]>> Versioned for Stored<B> {
    fn version(&self) -> u64 {
        self.number(8)
    }
}

/// `now` seconds after [`NOW`].
#[must_use]
pub fn instant_after(now: u64) -> Timestamp {
    NOW + std::time::Duration::from_secs(now)
}

/// Expiry, version, length of the email.
const HEAD_BYTES: usize = 17;
/// What a record of the engine takes, header and body; a test holds the two together.
pub const ROW_BYTES: usize = 1314;

#[cfg(test)]
mod tests {
    use tokenkeep::core::codec;
    use tokenkeep::{KeyRing, StoreId};

    use super::*;

    #[test]
    fn a_row_has_as_many_bytes_as_a_record_of_the_engine() {
        let entry = Entry::lasting(123_456, 0);
        let (ring, store) = (KeyRing::generate().unwrap(), StoreId::random().unwrap());
        let sealed = codec::encode(&entry.record(), &ring, &store).unwrap();
        assert_eq!(Row::new(entry, 1).encode().len(), sealed.header.len() + sealed.body.len());
    }

    #[test]
    fn a_stored_row_says_what_was_put_in() {
        let stored = Stored(Row::new(Entry::lasting(5, 9), 7).encode());
        assert_eq!(stored.version(), 7);
        assert_eq!(stored.dies_after(), Entry::lasting(5, 9).dies_after);
        assert_eq!(stored.email(), b"user1@example.org");
    }
}
