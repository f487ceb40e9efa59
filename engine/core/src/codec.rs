//! The storage format of a record: versioned bytes, tokens sealed. Shared by every store.
//!
//! A record is two strings of bytes. The **header** is small and readable without keys: it holds
//! what an index needs ([`Header`]). The **body** holds the sealed tokens, the device's
//! description, and a tag over header and body ([`encode`], [`decode`]).
//!
//! # Format 1
//!
//! Integers are little-endian and of fixed width, a string is its length as `u64` and its bytes,
//! an option is a byte 0 or 1 and the value: the bytes that bincode 2 writes with
//! `config::legacy()`. They are written and read with `wincode`, because bincode is not
//! maintained any more; a test holds the two against each other.
//!
//! - header: format (1), kind, the fields, a checksum over all of it (FNV-1a, 64 bits). The
//!   checksum finds accidents; the tag in the body finds malice.
//! - body: format (1), key id (4 bytes), the fields, HMAC-SHA256 over a label, the store id, the
//!   header's length, the header, and the body up to here.
//! - a list of headers that stands in a file: key id (4 bytes), HMAC-SHA256 over a label, the store
//!   id, the number of the list (8 bytes) and what follows: the rows. It vouches for what bodies
//!   cannot: that a session ended, when it was last used, in what order that was
//!   ([`tag_block`], [`check_block`]).
//! - a sealed token: version (1), algorithm (1: XChaCha20-Poly1305), key id, 24 bytes of nonce,
//!   the ciphertext with its tag. Associated data: version, algorithm, key id, store id, device
//!   id, record version, field name. A sealed token that is moved to another store, record,
//!   generation or field does not open.
//!
//! No input makes the reading side panic, or reserve more memory than the input is long.

mod block;
mod columns;
mod header;
mod layout;
mod record;
mod seal;

pub use block::{BLOCK_TAG_LEN, block_key, check_block, tag_block};
pub use columns::{Columns, Sealing};
pub use header::{Header, RecordHeader};
pub use layout::checksum;
pub use record::{EncodedRecord, body_key, decode, encode};

/// The format that is written.
pub const FORMAT: u8 = 1;

/// Why stored bytes do not open, or a record could not be turned into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes do not have the form of a record.
    #[error("malformed bytes")]
    Malformed,
    /// The bytes are of a format that this version does not know.
    #[error("unknown format version {0}")]
    UnknownFormat(u8),
    /// The ring has no key with this id.
    #[error("sealed with a key that is not in the ring")]
    UnknownKey,
    /// The bytes were changed, or belong to another record, field or version.
    #[error("the seal does not open")]
    Tampered,
    /// The row is missing where the index says it is.
    #[error("the row is missing")]
    Missing,
    /// The row is not sealed, where only sealed ones are trusted.
    #[error("the row is not sealed, it has to be taken over first")]
    Unsealed,
    /// No random bytes were to be had for a nonce.
    #[error("no random bytes for a nonce")]
    NoRandom,
}
