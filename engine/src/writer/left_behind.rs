//! Blocks that stay for rows that are needed and cannot be carried.
//!
//! Such a block must not speak of anybody else: the row that says how another session ended is
//! dropped some time, and an older row of it would be the newest then. So every row that is not
//! needed is made one that says nothing, once nobody can be about to read it.

use std::collections::BTreeMap;

use tokenkeep_core::codec::Header;
use tokenkeep_core::{DeviceId, StoreError};

use crate::block::{Block, Entries, Size};

/// A block that stays for some of its rows.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    /// What it comes to, once it is rewritten.
    pub(super) size: Size,
    /// The rows, and whose they are, if that can be read.
    pub(super) rows: BTreeMap<u64, Option<DeviceId>>,
}

impl LeftBehind {
    /// The headers of the block `number` without those of rows that nobody needs; `None` if they
    /// are not to be had. The rows that stay keep their places.
    pub(super) fn rewritten(
        &mut self,
        number: u64,
        headers: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((last, _)) = self.rows.last_key_value() else { return Ok(None) };
        let mut kept = Block::new(number);
        let mut size = Size::default();
        for entry in Entries::of(number, headers) {
            let Ok((seq, bytes)) = entry else { return Ok(None) };
            if seq > *last {
                break;
            }
            let Ok(header) = Header::decode(bytes) else { return Ok(None) };
            if self.rows.contains_key(&seq) {
                size.add_row(matches!(header, Header::Record(_)));
                kept.append(bytes, &[]);
            } else {
                // There is no intent before it: nothing of its device is.
                let nothing = Header::IntentCleared { device: header.device() };
                size.add_row(false);
                kept.append(&nothing.encode().map_err(StoreError::unavailable)?, &[]);
            }
        }
        self.size = size;
        Ok(Some(kept.headers))
    }

    /// Rows of it that nobody needs and that stay all the same. A record alone is certain to be
    /// needed.
    pub(super) fn useless_rows(&self) -> u64 {
        self.size.rows.saturating_sub(self.size.bodies)
    }
}
