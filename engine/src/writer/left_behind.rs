//! Blocks that stay for rows that are needed and cannot be carried.
//!
//! Such a block must not speak of anybody else: the row that says how another session ended is
//! dropped some time, and an older row of it would be the newest then. So every row that is not
//! needed is made one that says nothing, once nobody can be about to read it.

use std::collections::BTreeMap;

use redb::Error;
use tokenkeep_core::DeviceId;
use tokenkeep_core::codec::{Header, block_key};

use crate::block::{Block, Entries, Size};
use crate::shared::Shared;

/// A block that stays for some of its rows.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    /// What it comes to, once it is rewritten.
    pub(super) size: Size,
    /// The rows, and whose they are.
    pub(super) rows: BTreeMap<u64, DeviceId>,
}

impl LeftBehind {
    /// The headers of the block `number` without those of rows that nobody needs. The rows that
    /// stay keep their places.
    pub(super) fn rewritten(
        &mut self,
        number: u64,
        headers: &[u8],
        shared: &Shared,
    ) -> Result<Vec<u8>, Error> {
        let last = self.rows.last_key_value().map_or(0, |(seq, _)| *seq);
        let corrupted = |error: &dyn std::error::Error| Error::Corrupted(error.to_string());
        let mut kept = Block::new(number);
        let mut size = Size::default();
        for entry in Entries::of_headers(number, headers) {
            let (seq, bytes) = entry.map_err(|error| corrupted(&error))?;
            if seq > last {
                break;
            }
            let header = Header::decode(bytes).map_err(|error| corrupted(&error))?;
            if self.rows.contains_key(&seq) {
                size.add_row(matches!(header, Header::Record(_)));
                kept.append(bytes, &[]);
            } else {
                // There is no intent before it: nothing of its device is.
                let nothing = Header::IntentCleared { device: header.device() };
                size.add_row(false);
                kept.append(&nothing.encode().map_err(|error| corrupted(&error))?, &[]);
            }
        }
        self.size = size;
        // Its bodies stay, and so does the key that they are sealed with.
        let key = block_key(headers).unwrap_or_else(|| shared.ring.active());
        kept.tag(key, &shared.ring, &shared.store).map_err(|error| corrupted(&error))?;
        Ok(kept.headers)
    }

    /// Rows of it that nobody needs and that stay all the same. A record alone is certain to be
    /// needed.
    pub(super) fn useless_rows(&self) -> u64 {
        self.size.rows.saturating_sub(self.size.bodies)
    }
}
