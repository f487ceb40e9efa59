//! Reads the headers of the whole log: the newest row of a device wins.
//!
//! The log is read in parts, side by side: a disk answers many readers as fast as one, and
//! processors share the work. A row that comes late to a slot finds a newer one there and gives
//! way, so that the order of the parts does not matter. What amends a record of another part waits
//! until all parts were read.

use std::ops::RangeInclusive;
use std::thread::Builder;

use tokenkeep_core::codec::{CodecError, Header, check_block};
use tokenkeep_core::{DeviceId, HolderId, RefreshIntent, Timestamp, Version};

use crate::block::{Entries, Size, block_of};
use crate::disk::Snapshot;
use crate::index::{EndedSlot, LiveSlot, Slot, Slots};
use crate::open::OpenError;
use crate::shared::Shared;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) size: Size,
    /// The number that the next block gets.
    pub(super) next_block: u64,
    blocks: u64,
    /// Blocks that nobody vouches for.
    pub(super) suspect_blocks: u64,
    /// What amends records of other parts, in the order of the rows.
    waiting: Vec<(u64, DeviceId, Amendment)>,
}

/// Puts what the log says of each device into `slots`.
pub(super) fn scan(shared: &Shared, slots: &Slots) -> Result<Scanned, OpenError> {
    let path = shared.disk.path();
    let snapshot = shared.disk.snapshot().map_err(|error| OpenError::storage(path, error))?;
    let read = |blocks| Part { shared, snapshot: &snapshot, slots, blocks }.read();
    let parts = parts(&snapshot);
    // Threads that make a map grow while they fill it get in each other's way.
    slots.pin().reserve(about_how_many_rows(&snapshot, &parts));
    let scanned = std::thread::scope(|scope| {
        let start = |blocks| Builder::new().spawn_scoped(scope, move || read(blocks));
        let reading: Vec<_> = parts.into_iter().map(start).collect();
        reading.into_iter().try_fold(Scanned::default(), |scanned, part| {
            let part = part.map_err(OpenError::NoThread)?.join();
            let makes_no_sense = |_| Err(OpenError::damaged(path, "the file makes no sense"));
            Ok::<_, OpenError>(scanned.and(part.unwrap_or_else(makes_no_sense)?))
        })
    })?;
    // A damaged page may well read as one with fewer rows, and redb does not look.
    let there = snapshot.headers.count().map_err(|error| OpenError::storage(path, error))?;
    if scanned.blocks != there {
        return Err(OpenError::damaged(path, BlocksMissing));
    }
    for (seq, device, amendment) in &scanned.waiting {
        amendment.apply_to(slots, *device, *seq, u64::MIN);
    }
    Ok(scanned)
}

/// Blocks that are read by one thread each; together they are all that there can be.
fn parts(snapshot: &Snapshot<'_>) -> Vec<RangeInclusive<u64>> {
    let (first, last) = snapshot.headers.ends().ok().flatten().unwrap_or_default();
    // On a damaged page the last may come before the first.
    let length = last.saturating_sub(first) / READERS + 1;
    if length < WORTH_A_THREAD {
        return vec![u64::MIN..=u64::MAX];
    }
    let begin = |part: u64| if part == 0 { 0 } else { first.saturating_add(part * length) };
    let end = |part: u64| if part + 1 == READERS { u64::MAX } else { begin(part + 1) - 1 };
    (0..READERS).map(|part| begin(part)..=end(part)).collect()
}

/// Judged by the first block of each part. What is wrong with it is found when it is read.
fn about_how_many_rows(snapshot: &Snapshot<'_>, parts: &[RangeInclusive<u64>]) -> usize {
    let first_block = |part: &RangeInclusive<u64>| {
        let block = snapshot.headers.range(part.clone()).ok()?.next()?.ok()?;
        Some(Entries::of_headers(block.0.value(), block.1.value()).count())
    };
    let rows: usize = parts.iter().filter_map(first_block).sum();
    let blocks = usize::try_from(snapshot.headers.count().unwrap_or(0)).unwrap_or(0);
    // On a damaged page the count may be anything.
    (rows / parts.len()).saturating_mul(blocks).min(MOST_RESERVED)
}

impl Scanned {
    /// What was read of this part and the one that follows it.
    fn and(mut self, mut next: Self) -> Self {
        self.size.add(next.size);
        self.next_block = self.next_block.max(next.next_block);
        self.blocks += next.blocks;
        self.suspect_blocks += next.suspect_blocks;
        self.waiting.append(&mut next.waiting);
        self
    }
}

/// A part of the log.
struct Part<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot<'a>,
    slots: &'a Slots,
    blocks: RangeInclusive<u64>,
}

impl Part<'_> {
    /// Reads the rows in their order.
    fn read(&self) -> Result<Scanned, OpenError> {
        let path = self.shared.disk.path();
        let mut scanned =
            Scanned { next_block: (*self.blocks.start()).max(1), ..Scanned::default() };
        let blocks = self.snapshot.headers.range(self.blocks.clone());
        for block in blocks.map_err(|error| OpenError::storage(path, error))? {
            let (number, list) = block.map_err(|error| OpenError::storage(path, error))?;
            let is_expected = scanned.next_block..=(*self.blocks.end()).min(LAST_BLOCK);
            if !is_expected.contains(&number.value()) {
                return Err(OpenError::damaged(path, BlocksMissing));
            }
            scanned.next_block = number.value().saturating_add(1);
            scanned.blocks += 1;
            self.read_block(number.value(), list.value(), &mut scanned)?;
        }
        if scanned.blocks == 0 {
            scanned.next_block = 1;
        }
        Ok(scanned)
    }

    fn read_block(&self, number: u64, list: &[u8], scanned: &mut Scanned) -> Result<(), OpenError> {
        let path = self.shared.disk.path();
        let vouched = check_block(list, number, &self.shared.ring, &self.shared.store);
        if let Err(cause) = vouched {
            scanned.suspect_blocks += 1;
            tracing::error!(number, %cause, "a block of rows was changed or planted; it is kept, and nothing in it believed");
        }
        for row in Entries::of_headers(number, list) {
            let (seq, bytes) = row.map_err(|error| OpenError::damaged(path, error))?;
            let header = Header::decode(bytes).map_err(|error| match error {
                CodecError::UnknownFormat(format) => {
                    OpenError::NewerFormat { path: path.to_owned(), format }
                }
                cause => OpenError::damaged(path, DamagedRow { seq, cause }),
            })?;
            scanned.size.add_row(matches!(header, Header::Record(_)));
            match vouched {
                Ok(_) => self.take(seq, &header, scanned),
                Err(_) => {
                    put(self.slots, header.device(), &Slot::Live(LiveSlot::suspect(seq)));
                }
            }
        }
        Ok(())
    }

    fn take(&self, seq: u64, header: &Header<'_>, scanned: &mut Scanned) {
        let amendment = match header {
            Header::Record(record) => {
                let user = self.shared.index.user(record.email);
                let slot = LiveSlot::new(seq, record, user);
                return put(self.slots, record.device, &Slot::Live(slot));
            }
            Header::Tombstone { device, reason, ended_at, verifier } => {
                let forget_at = *ended_at + self.shared.options.answerable;
                let slot = EndedSlot::new(seq, *reason, *verifier, forget_at);
                return put(self.slots, *device, &Slot::Ended(slot));
            }
            Header::Touch { last_seen_at, previous_visit_at, .. } => {
                Amendment::Touch(*last_seen_at, *previous_visit_at)
            }
            Header::Intent { version, holder, since, .. } => {
                Amendment::Intent(*version, *holder, *since)
            }
            Header::IntentCleared { .. } => Amendment::IntentCleared,
        };
        let device = header.device();
        if !amendment.apply_to(self.slots, device, seq, *self.blocks.start()) {
            scanned.waiting.push((seq, device, amendment));
        }
    }
}

/// Puts `slot` in place of what is there, unless that is newer.
fn put(slots: &Slots, device: DeviceId, slot: &Slot) {
    slots.pin().compute(device, |entry| match entry {
        Some((_, there)) if there.seq() > slot.seq() => papaya::Operation::Abort(()),
        _ => papaya::Operation::Insert(slot.clone().queued()),
    });
}

/// What a row says about the record before it.
#[derive(Clone, Copy, Debug)]
enum Amendment {
    Touch(Timestamp, Option<Timestamp>),
    Intent(Version, HolderId, Timestamp),
    IntentCleared,
}

impl Amendment {
    /// Amends what is known of `device`, if that is not newer than the row `seq`; false if its
    /// newest row may be one before the block `first`, which others read.
    fn apply_to(&self, slots: &Slots, device: DeviceId, seq: u64, first: u64) -> bool {
        let slots = slots.pin();
        let outcome = slots.compute(device, |entry| match entry {
            Some((_, there)) if there.seq() > seq => papaya::Operation::Abort(true),
            Some((_, Slot::Ended(there))) if block_of(there.seq) >= first => {
                papaya::Operation::Abort(true)
            }
            Some((_, Slot::Live(there))) if block_of(there.seq) >= first => {
                papaya::Operation::Insert(Slot::Live(self.applied(there.clone())).queued())
            }
            _ => papaya::Operation::Abort(false),
        });
        !matches!(outcome, papaya::Compute::Aborted(false))
    }

    fn applied(&self, mut slot: LiveSlot) -> LiveSlot {
        if slot.is_suspect {
            return slot;
        }
        match *self {
            Self::Touch(last_seen_at, previous_visit_at) => {
                slot.take_use(last_seen_at, previous_visit_at);
                slot.has_touch = true;
            }
            Self::Intent(version, holder, since) if version == slot.version => {
                // Its holder went with the process that it lived in.
                let leased_until = Timestamp::default();
                let intent = RefreshIntent { holder, since, leased_until, uncertain: true };
                slot.intent = Some(Box::new(intent));
            }
            Self::Intent(..) => {}
            Self::IntentCleared => slot.intent = None,
        }
        slot
    }
}

/// How many read at once.
const READERS: u64 = 24;
/// Places of the map that are made before it is known that they are needed.
const MOST_RESERVED: usize = 1 << 25;
/// Blocks that are read by one thread before others could help. Tests, whose stores are small,
/// are to see several.
const WORTH_A_THREAD: u64 = if cfg!(any(test, feature = "testing")) { 1 } else { 1000 };

/// Behind it the numbers of rows would begin anew some time. No store comes near it.
const LAST_BLOCK: u64 = 1 << 48;

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
