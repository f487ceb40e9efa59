//! The storage format of a record: versioned bytes, tokens sealed. Shared by every store.

/// Why stored bytes do not open.
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
}
