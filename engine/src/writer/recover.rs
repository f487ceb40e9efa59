//! Rebuilds the index from the headers: the newest row of a device wins.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use tokenkeep_core::codec::{CodecError, Header};
use tokenkeep_core::{DeviceId, RefreshIntent, Timestamp};

use crate::index::{EndedSlot, Index, IntentSlot, LiveSlot, Publication, Slot};
use crate::open::OpenError;
use crate::shared::Shared;

/// Fills the empty index of a store that was just opened.
pub(crate) fn load(shared: &Shared) -> Result<(), OpenError> {
    let mut target = Fresh { index: &shared.index, publication: shared.index.publish() };
    let scanned = scan(shared, &mut target)?;
    target.publication.lists_mut().counts.rows = scanned.rows;
    shared.next_seq.store(scanned.next_seq, Ordering::Release);
    Ok(())
}

/// Brings the index in line with a file that was opened anew. What memory alone knows of a row
/// that is still the newest stays: who holds its lease, when it was last used.
pub(super) fn reconcile(shared: &Shared) -> Result<(), OpenError> {
    let mut found = HashMap::new();
    let scanned = scan(shared, &mut found)?;
    let mut publication = shared.index.publish();
    for device in shared.index.devices() {
        if !found.contains_key(&device) {
            publication.put(device, None);
        }
    }
    for (device, slot) in found {
        let slot = match (slot, shared.index.slot(device)) {
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
    publication.lists_mut().counts.rows = scanned.rows;
    let next_seq = scanned.next_seq.max(shared.next_seq.load(Ordering::Acquire));
    shared.next_seq.store(next_seq, Ordering::Release);
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
        && (found.intent.holder, found.intent.since) == (known.holder, known.since)
    {
        found.intent = known;
    }
}

struct Scanned {
    rows: u64,
    next_seq: u64,
}

/// Where slots are put together while rows are read.
trait Slots {
    fn take(&self, device: DeviceId) -> Option<Slot>;
    fn put(&mut self, device: DeviceId, slot: Slot);
}

struct Fresh<'a> {
    index: &'a Index,
    publication: Publication<'a>,
}

impl Slots for Fresh<'_> {
    fn take(&self, device: DeviceId) -> Option<Slot> {
        self.index.slot(device)
    }

    fn put(&mut self, device: DeviceId, slot: Slot) {
        self.publication.put(device, Some(slot));
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
    let mut scanned = Scanned { rows: 0, next_seq: 1 };
    let rows = snapshot.headers.range::<u64>(..);
    for row in rows.map_err(|error| OpenError::storage(path, error))? {
        let (seq, bytes) = row.map_err(|error| OpenError::storage(path, error))?;
        let seq = seq.value();
        let header = Header::decode(bytes.value()).map_err(|error| match error {
            CodecError::UnknownFormat(format) => OpenError::NewerFormat { format },
            cause => OpenError::damaged(DamagedRow { seq, cause }),
        })?;
        scanned.rows += 1;
        scanned.next_seq = seq.saturating_add(1);
        apply(shared, seq, &header, slots);
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
                amend(seq, header, &mut slot);
                slots.put(device, Slot::Live(slot));
            }
        }
    }
}

/// Applies a row that says something about the record before it.
fn amend(seq: u64, header: &Header<'_>, slot: &mut LiveSlot) {
    match header {
        Header::Touch { last_seen_at, previous_visit_at, .. } => {
            slot.take_use(*last_seen_at, *previous_visit_at);
            slot.touch_seq = seq;
        }
        Header::Intent { version, holder, since, .. } if *version == slot.version => {
            // Its holder went with the process that it lived in.
            let intent = RefreshIntent {
                holder: *holder,
                since: *since,
                leased_until: Timestamp::default(),
                uncertain: true,
            };
            slot.intent = Some(Box::new(IntentSlot { seq, intent }));
        }
        Header::IntentCleared { .. } => slot.intent = None,
        _ => {}
    }
}

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the header in row {seq} cannot be read")]
struct DamagedRow {
    seq: u64,
    #[source]
    cause: CodecError,
}
