//! The store as a whole: parts of a walk over it, and what it counts.

use std::sync::Arc;

use crate::TokenRecord;

/// A part of a walk over the store.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Arc<TokenRecord>>,
    /// Where to go on; absent at the end.
    pub next: Option<Cursor>,
}

/// A place in a walk over a store; only the store that made it understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Box<[u8]>);

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Live records.
    pub devices: u64,
    /// Emails with a live record.
    pub users: u64,
    /// Bytes on disk, as far as the store can tell.
    pub size_bytes: u64,
    /// Rows that wait for their space to be reclaimed.
    pub garbage_rows: u64,
    /// Records that could not be read since the store was opened.
    pub unreadable: u64,
}
