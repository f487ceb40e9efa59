//! Rebuilds the index from the headers: the newest row of a device wins.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

use tokenkeep_core::codec::{CodecError, Header};
use tokenkeep_core::{DeviceId, RefreshIntent, Timestamp};

use crate::block::{Entries, Size, block_of};
use crate::disk::Snapshot;
use crate::index::{EndedSlot, LiveSlot, Loading, Slot};
use crate::open::OpenError;
use crate::shared::Shared;

/// Fills the empty index of a store that was just opened.
pub(crate) fn load(shared: &Shared) -> Result<(), OpenError> {
    let mut loading = shared.index.load();
    let scanned = scan(shared, &mut loading)?;
    loading.finish(scanned.size);
    shared.next_block.store(scanned.next_block, Ordering::Release);
    Ok(())
}

/// Brings the index in line with a file that was opened anew. What memory alone knows of a row
/// that is still the newest stays: who holds its lease, when it was last used. What the index has
/// let go of, because it was dead for certain, stays away, whatever the clock says meanwhile.
pub(super) fn reconcile(shared: &Shared) -> Result<(), OpenError> {
    let mut found = HashMap::new();
    let scanned = scan(shared, &mut found)?;
    // Every row up to here was in the index once.
    let next_block = shared.next_block.load(Ordering::Acquire);
    let mut publication = shared.index.publish();
    for device in shared.index.devices() {
        if !found.contains_key(&device) {
            publication.put(device, None);
        }
    }
    for (device, slot) in found {
        let slot = match (slot, shared.index.slot(device)) {
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
    publication.lists_mut().counts.size = scanned.size;
    shared.next_block.store(scanned.next_block.max(next_block), Ordering::Release);
    Ok(())
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

struct Scanned {
    size: Size,
    next_block: u64,
}

/// Where slots are put together while rows are read.
trait Slots {
    fn take(&self, device: DeviceId) -> Option<Slot>;
    fn put(&mut self, device: DeviceId, slot: Slot);
}

impl Slots for Loading<'_> {
    fn take(&self, device: DeviceId) -> Option<Slot> {
        self.slot(device)
    }

    fn put(&mut self, device: DeviceId, slot: Slot) {
        Self::put(self, device, slot);
    }
}

impl Slots for HashMap<DeviceId, Slot> {
    fn take(&self, device: DeviceId) -> Option<Slot> {
        self.get(&device).cloned()
    }

    fn put(&mut self, device: DeviceId, slot: Slot) {
        self.insert(device, slot);
    }
}

fn scan(shared: &Shared, slots: &mut impl Slots) -> Result<Scanned, OpenError> {
    let path = shared.disk.path();
    let snapshot = shared.disk.snapshot().map_err(|error| OpenError::storage(path, error))?;
    std::thread::scope(|scope| {
        for slice in slices(&snapshot) {
            let headers = &snapshot.headers;
            let read_ahead = move || headers.range(slice).map(Iterator::count);
            // It only saves time: whoever reads in order meets what went wrong.
            let _ = std::thread::Builder::new().spawn_scoped(scope, read_ahead);
        }
        read(shared, &snapshot, slots)
    })
}

/// Parts of the log that are read ahead, side by side: a disk answers many at once as fast as one.
fn slices(snapshot: &Snapshot<'_>) -> Vec<Range<u64>> {
    let Ok(Some((first, last))) = snapshot.headers.ends() else { return Vec::new() };
    // On a damaged page the last may come before the first.
    let length = last.saturating_sub(first) / READERS + 1;
    if length < WORTH_A_THREAD {
        return Vec::new();
    }
    let begin = |slice: u64| first.saturating_add(slice.saturating_mul(length));
    (1..READERS).map(|slice| begin(slice)..begin(slice + 1)).collect()
}

/// Reads the rows in their order.
fn read(
    shared: &Shared,
    snapshot: &Snapshot<'_>,
    slots: &mut impl Slots,
) -> Result<Scanned, OpenError> {
    let path = shared.disk.path();
    let mut scanned = Scanned { size: Size::default(), next_block: 1 };
    let mut count = 0;
    let blocks = snapshot.headers.range::<u64>(..);
    for block in blocks.map_err(|error| OpenError::storage(path, error))? {
        let (number, list) = block.map_err(|error| OpenError::storage(path, error))?;
        if number.value() < scanned.next_block {
            return Err(OpenError::damaged(BlocksMissing));
        }
        scanned.next_block = number.value().saturating_add(1);
        count += 1;
        for entry in Entries::of(number.value(), list.value()) {
            let (seq, bytes) = entry.map_err(OpenError::damaged)?;
            let header = Header::decode(bytes).map_err(|error| match error {
                CodecError::UnknownFormat(format) => OpenError::NewerFormat { format },
                cause => OpenError::damaged(DamagedRow { seq, cause }),
            })?;
            scanned.size.add_row(matches!(header, Header::Record(_)));
            apply(shared, seq, &header, slots);
        }
    }
    // A damaged page may well read as one with fewer rows, and redb does not look.
    let there = snapshot.headers.count().map_err(|error| OpenError::storage(path, error))?;
    if count != there {
        return Err(OpenError::damaged(BlocksMissing));
    }
    Ok(scanned)
}

fn apply(shared: &Shared, seq: u64, header: &Header<'_>, slots: &mut impl Slots) {
    let device = header.device();
    match header {
        Header::Record(record) => {
            let user = shared.index.user(record.email);
            slots.put(device, Slot::Live(LiveSlot::new(seq, record, user)));
        }
        Header::Tombstone { reason, ended_at, verifier, .. } => {
            let forget_at = *ended_at + shared.options.answerable;
            slots.put(device, Slot::Ended(EndedSlot::new(seq, *reason, *verifier, forget_at)));
        }
        Header::Touch { .. } | Header::Intent { .. } | Header::IntentCleared { .. } => {
            if let Some(Slot::Live(mut slot)) = slots.take(device) {
                amend(header, &mut slot);
                slots.put(device, Slot::Live(slot));
            }
        }
    }
}

/// Applies a row that says something about the record before it.
fn amend(header: &Header<'_>, slot: &mut LiveSlot) {
    match header {
        Header::Touch { last_seen_at, previous_visit_at, .. } => {
            slot.take_use(*last_seen_at, *previous_visit_at);
            slot.has_touch = true;
        }
        Header::Intent { version, holder, since, .. } if *version == slot.version => {
            // Its holder went with the process that it lived in.
            let intent = RefreshIntent {
                holder: *holder,
                since: *since,
                leased_until: Timestamp::default(),
                uncertain: true,
            };
            slot.intent = Some(Box::new(intent));
        }
        Header::IntentCleared { .. } => slot.intent = None,
        _ => {}
    }
}

/// How many read at once.
const READERS: u64 = 8;
/// Blocks that are read one by one before a thread could help.
const WORTH_A_THREAD: u64 = 1000;

/// The rows that were read are not those that were written.
#[derive(Debug, thiserror::Error)]
#[error("rows are missing or out of order")]
struct BlocksMissing;

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the header in row {seq} cannot be read")]
struct DamagedRow {
    seq: u64,
    #[source]
    cause: CodecError,
}
