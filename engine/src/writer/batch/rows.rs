//! The rows that a batch appends, and the blocks that they go into.

use tokenkeep_core::codec::{CodecError, Header};
use tokenkeep_core::{DeviceId, RefreshIntent, StoreError};

use super::Batch;
use crate::block::{Block, Size};
use crate::index::LiveSlot;
use crate::shared::Shared;

impl Batch<'_> {
    /// Appends what amends the record of `slot` again, behind it.
    pub(in crate::writer) fn amend(
        &mut self,
        device: DeviceId,
        slot: &mut LiveSlot,
    ) -> Result<(), StoreError> {
        if slot.has_touch {
            self.append_touch(device, slot)?;
        }
        self.append_intent(device, slot)
    }

    /// Appends a row for the last use that `slot` knows of.
    pub(in crate::writer) fn append_touch(
        &mut self,
        device: DeviceId,
        slot: &mut LiveSlot,
    ) -> Result<(), StoreError> {
        let (last_seen_at, previous_visit_at) = (slot.last_seen_at, slot.previous_visit_at());
        self.append(&Header::Touch { device, last_seen_at, previous_visit_at })?;
        slot.has_touch = true;
        Ok(())
    }

    /// Appends a row for the intent of `slot`, if it has one.
    pub(in crate::writer) fn append_intent(
        &mut self,
        device: DeviceId,
        slot: &LiveSlot,
    ) -> Result<(), StoreError> {
        let Some(RefreshIntent { holder, since, .. }) = slot.intent() else { return Ok(()) };
        self.append(&Header::Intent { device, version: slot.version, holder, since })?;
        Ok(())
    }

    /// Appends a row without a body.
    pub(in crate::writer) fn append(&mut self, header: &Header<'_>) -> Result<u64, StoreError> {
        let header = header.encode().map_err(StoreError::unavailable)?;
        Ok(self.append_bytes(&header, &[]))
    }

    /// How much there is to append.
    pub(in crate::writer) fn size(&self) -> Size {
        let mut size = Size::default();
        self.blocks.iter().for_each(|block| size.add(block.size));
        size
    }

    /// Vouches for the headers of all blocks.
    pub(in crate::writer) fn tag_blocks(&mut self) -> Result<(), CodecError> {
        let Shared { ring, store, .. } = self.shared;
        let key = ring.active();
        self.blocks.iter_mut().try_for_each(|block| block.tag(key, ring, store))
    }

    /// Appends a row that is bytes already.
    pub(in crate::writer) fn append_bytes(&mut self, header: &[u8], body: &[u8]) -> u64 {
        match self.blocks.last_mut() {
            Some(last) if !last.is_full_for(header, body) => last.append(header, body),
            _ => {
                let mut block = Block::new(self.next_block);
                let seq = block.append(header, body);
                self.blocks.push(block);
                self.next_block += 1;
                seq
            }
        }
    }
}
