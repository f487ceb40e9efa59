//! Brings the index in line with the file: at opening, and when the file is opened anew.

use std::sync::atomic::Ordering;

use super::scan::{Scanned, scan};
use crate::block::block_of;
use crate::index::{LiveSlot, Slot, Slots};
use crate::open::OpenError;
use crate::shared::Shared;

/// Fills the empty index of a store that was just opened.
pub(crate) fn load(shared: &Shared) -> Result<(), OpenError> {
    let scanned = scan(shared, shared.index.slots())?;
    shared.index.make_lists(scanned.size);
    shared.next_block.store(scanned.next_block, Ordering::Release);
    note_suspects(shared, &scanned, shared.index.slots());
    Ok(())
}

/// Brings the index in line with a file that was opened anew. What memory alone knows of a row
/// that is still the newest stays: who holds its lease, when it was last used. What the index has
/// let go of, because it was dead for certain, stays away, whatever the clock says meanwhile.
pub(super) fn reconcile(shared: &Shared) -> Result<(), OpenError> {
    let found_slots = Slots::default();
    let scanned = scan(shared, &found_slots)?;
    let found = found_slots.pin();
    // Every row up to here was in the index once.
    let next_block = shared.next_block.load(Ordering::Acquire);
    let mut publication = shared.index.publish();
    for device in shared.index.devices() {
        if !found.contains_key(&device) {
            publication.put(device, None);
        }
    }
    for (&device, slot) in &found {
        let slot = match (slot.clone(), shared.index.slot(device)) {
            (slot, None) if block_of(slot.seq()) < next_block => continue,
            (Slot::Live(slot), Some(Slot::Live(old))) if old.seq == slot.seq => {
                Slot::Live(merged(slot, old))
            }
            (Slot::Live(mut slot), Some(Slot::Live(old))) => {
                keep_lease(&mut slot, &old);
                Slot::Live(slot)
            }
            (slot, _) => slot,
        };
        publication.put(device, Some(slot));
    }
    note_suspects(shared, &scanned, &found_slots);
    publication.lists_mut().counts.size = scanned.size;
    shared.next_block.store(scanned.next_block.max(next_block), Ordering::Release);
    Ok(())
}

/// Counts the devices that nobody vouches for. While there are any, no row is dropped: an older
/// one of such a device may be what it is.
fn note_suspects(shared: &Shared, scanned: &Scanned, slots: &Slots) {
    if scanned.suspect_blocks == 0 {
        return;
    }
    shared.is_suspect.store(true, Ordering::Release);
    let is_suspect = |slot: &Slot| slot.live().is_some_and(|slot| slot.is_suspect);
    let suspects = slots.pin().values().filter(|slot| is_suspect(slot)).count();
    shared.unreadable.fetch_add(u64::try_from(suspects).unwrap_or(u64::MAX), Ordering::Relaxed);
    tracing::error!(
        blocks = scanned.suspect_blocks,
        devices = suspects,
        "the data file was changed by somebody else: these devices cannot be read, and no space \
         is reclaimed; restore a backup"
    );
}

fn merged(mut slot: LiveSlot, old: LiveSlot) -> LiveSlot {
    slot.take_use(old.last_seen_at, old.previous_visit_at());
    keep_lease(&mut slot, &old);
    slot.cached = old.cached;
    slot.complete_cached();
    slot
}

/// The holder of a lease lives on in this process. An intent that it took after the one that
/// memory knows is another one: it got an error for it.
fn keep_lease(slot: &mut LiveSlot, old: &LiveSlot) {
    if let (Some(found), Some(known)) = (&mut slot.intent, old.intent())
        && (found.holder, found.since) == (known.holder, known.since)
    {
        **found = known;
    }
}
