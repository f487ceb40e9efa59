//! Rows that are needed, appended again.

use std::borrow::Cow;

use redb::Error;
use tokenkeep_core::{DeviceId, codec};

use super::super::batch::Batch;
use super::unwritten;
use crate::block::Entries;
use crate::disk::Snapshot;
use crate::index::Slot;
use crate::shared::Shared;

/// Appends the needed row `seq` again, and what amends it; false if it cannot be read.
pub(super) fn carry(
    batch: &mut Batch<'_>,
    bodies: &mut Bodies<'_>,
    seq: u64,
    header: &[u8],
    device: DeviceId,
    slot: Slot,
) -> Result<bool, Error> {
    let slot = match slot {
        // What amends a record is carried with it: the record was left behind.
        slot if slot.seq() != seq => return Ok(false),
        Slot::Ended(mut slot) => {
            slot.seq = batch.append_bytes(header, &[]);
            Slot::Ended(slot)
        }
        Slot::Live(mut slot) => {
            let Some(body) = bodies.of(seq) else { return Ok(false) };
            let Some(body) = resealed(header, body, batch.shared) else { return Ok(false) };
            slot.seq = batch.append_bytes(header, &body);
            batch.amend(device, &mut slot).map_err(unwritten)?;
            Slot::Live(slot)
        }
    };
    batch.stage(device, slot);
    Ok(true)
}

/// `body` under the active key, for the same version of the record; nothing if it cannot be read.
fn resealed<'a>(header: &[u8], body: &'a [u8], shared: &Shared) -> Option<Cow<'a, [u8]>> {
    let (ring, store) = (&shared.ring, &shared.store);
    if codec::body_key(body) == Some(ring.active()) {
        return Some(Cow::Borrowed(body));
    }
    let record = codec::decode(header, body, ring, store).ok()?;
    codec::encode(&record, ring, store).ok().map(|encoded| Cow::Owned(encoded.body))
}

/// The bodies of a block, read when the first is asked for.
pub(super) struct Bodies<'a> {
    snapshot: &'a Snapshot<'a>,
    number: u64,
    list: Option<Vec<u8>>,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(snapshot: &'a Snapshot<'a>, number: u64) -> Self {
        Self { snapshot, number, list: None }
    }

    /// The body of the row `seq`, if it can be read. If the disk cannot read it, the whole commit
    /// fails; the next one leaves it alone.
    fn of(&mut self, seq: u64) -> Option<&[u8]> {
        let read = || self.snapshot.bodies(self.number).ok().flatten().unwrap_or_default();
        let list = self.list.get_or_insert_with(read);
        let body = Entries::of(self.number, list).find(seq).ok().flatten();
        body.filter(|body| !body.is_empty())
    }
}
