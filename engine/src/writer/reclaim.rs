//! Reclaiming: the log gives up rows at its head, in bounded steps.
//!
//! A step looks at the next rows in the order of their sequence numbers. A row that is needed, the
//! newest of its device, is carried to the tail: appended again as it is, with what amends it
//! behind it. Once that is on the disk and published nobody needs the rows that were looked at,
//! and the next commit drops them. So of two rows of a device the older one always goes first, and
//! "the newest row wins" holds at opening after any crash, with no other bookkeeping. A reader
//! that misses a row finds its successor in the index.
//!
//! Steps are taken while a share of the log is garbage. Rows leave in the order in which they
//! came, so whole pages become free at once, and a commit writes pages that are full: dropping
//! single rows where they are would write a page for each. What a row costs, in the worst case,
//! is to be carried as often as live rows stand against garbage, 3 : 2 by default.
//!
//! A row that cannot be read is left where it is, until its device has ended or has a newer one.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use redb::{Error, ReadableTable, StorageError};
use tokenkeep_core::codec::Header;
use tokenkeep_core::{DeviceId, StoreError, Timestamp};

use super::batch::Batch;
use super::{FORGOTTEN_AT_ONCE, Writer};
use crate::disk::guarded;
use crate::index::Slot;
use crate::shared::Failure;

/// Where reclaiming stands.
#[derive(Debug, Default)]
pub(super) struct Reclaiming {
    /// The first row that was not looked at.
    next: u64,
    /// Rows that were looked at and that nobody needs: the next commit drops them.
    passed: Passed,
    /// Needed rows that could not be carried.
    left_behind: BTreeMap<u64, LeftBehind>,
    /// There is enough garbage.
    is_on: bool,
}

/// Rows to drop.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) headers: Vec<u64>,
    pub(super) bodies: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct LeftBehind {
    device: DeviceId,
    has_body: bool,
}

/// What a step came to. It counts when its commit has succeeded.
#[derive(Debug)]
pub(super) struct Step {
    next: u64,
    passed: Passed,
}

impl Passed {
    fn add(&mut self, seq: u64, has_body: bool) {
        self.headers.push(seq);
        if has_body {
            self.bodies.push(seq);
        }
    }
}

impl Reclaiming {
    /// The rows that the next commit drops.
    pub(super) fn passed(&self) -> &Passed {
        &self.passed
    }

    /// Looks at the next `rows` rows that were there before `batch`, and has it carry those that
    /// are needed.
    pub(super) fn look(
        &mut self,
        batch: &mut Batch<'_>,
        headers: &impl ReadableTable<u64, &'static [u8]>,
        bodies: &impl ReadableTable<u64, &'static [u8]>,
        rows: usize,
    ) -> Result<Step, Error> {
        let mut step = Step { next: self.next, passed: self.overtaken(batch) };
        let end = batch.shared.next_seq.load(Ordering::Acquire);
        let mut looked_at = 0;
        for row in headers.range(self.next..end.max(self.next))?.take(rows) {
            let (seq, bytes) = row?;
            let seq = seq.value();
            (step.next, looked_at) = (seq + 1, looked_at + 1);
            // Opening refuses a file with a header that cannot be read.
            let Ok(header) = Header::decode(bytes.value()) else { continue };
            let (device, has_body) = (header.device(), matches!(header, Header::Record(_)));
            let needed = batch.slot(device).filter(|slot| slot.needs(seq));
            let carried = match needed {
                None => true,
                Some(_) if self.left_behind.contains_key(&seq) => false,
                Some(slot) => carry(batch, bodies, seq, bytes.value(), device, slot)
                    .inspect_err(|_| self.leave_behind(seq, device, has_body))?,
            };
            match carried {
                true => step.passed.add(seq, has_body),
                false => self.leave_behind(seq, device, has_body),
            }
        }
        if looked_at < rows {
            step.next = end;
        }
        Ok(step)
    }

    /// Takes the step whose commit has succeeded; returns what that commit has dropped.
    pub(super) fn advance(&mut self, step: Step) -> Passed {
        self.next = step.next;
        for seq in &step.passed.headers {
            self.left_behind.remove(seq);
        }
        std::mem::replace(&mut self.passed, step.passed)
    }

    /// Begins anew: the file may be another than it was thought to be.
    pub(super) fn start_over(&mut self) {
        (self.next, self.passed) = (0, Passed::default());
    }

    /// Whether there is something to do that no batch takes along.
    pub(super) fn has_work(&self) -> bool {
        self.is_on || !self.passed.headers.is_empty()
    }

    fn leave_behind(&mut self, seq: u64, device: DeviceId, has_body: bool) {
        let before = self.left_behind.insert(seq, LeftBehind { device, has_body });
        if before.is_none() {
            tracing::error!(%device, "a row cannot be read; it was left as it is");
        }
    }

    /// Rows that were left behind and are not needed any more.
    fn overtaken(&self, batch: &Batch<'_>) -> Passed {
        let mut passed = Passed::default();
        for (seq, row) in self.left_behind.range(..self.next) {
            if !batch.slot(row.device).is_some_and(|slot| slot.needs(*seq)) {
                passed.add(*seq, row.has_body);
            }
        }
        passed
    }
}

/// Appends the needed row `seq` again, and what amends it; false if it cannot be read.
fn carry(
    batch: &mut Batch<'_>,
    bodies: &impl ReadableTable<u64, &'static [u8]>,
    seq: u64,
    header: &[u8],
    device: DeviceId,
    slot: Slot,
) -> Result<bool, Error> {
    let slot = match slot {
        // What amends a record is carried with it: the record was left behind.
        slot if slot.seq() != seq => return Ok(false),
        Slot::Ended(mut slot) => {
            slot.seq = batch.append_bytes(header.to_vec(), None);
            Slot::Ended(slot)
        }
        Slot::Live(mut slot) => {
            let Some(body) = read(bodies, seq)? else { return Ok(false) };
            slot.seq = batch.append_bytes(header.to_vec(), Some(body));
            batch.amend(device, &mut slot).map_err(unwritten)?;
            Slot::Live(slot)
        }
    };
    batch.stage(device, slot);
    Ok(true)
}

fn read(
    bodies: &impl ReadableTable<u64, &'static [u8]>,
    seq: u64,
) -> Result<Option<Vec<u8>>, StorageError> {
    match guarded(|| Ok(bodies.get(seq)?.map(|row| row.value().to_vec()))) {
        Err(StorageError::Corrupted(_)) => Ok(None),
        read => read,
    }
}

fn unwritten(error: StoreError) -> Error {
    Error::Io(std::io::Error::other(error))
}

impl Writer {
    /// How many rows the commit of a batch looks at.
    pub(super) fn rows_to_look_at(&self, appended: usize) -> usize {
        let rows = appended.saturating_mul(LOOKED_AT_FOR_EACH).clamp(FEWEST_ROWS, MOST_ROWS);
        if self.reclaiming.is_on { rows } else { 0 }
    }

    /// Sees whether reclaiming is worth its while.
    pub(super) fn look_at_the_garbage(&mut self) {
        let counts = self.shared.index.lists().counts;
        let Passed { headers, bodies } = &self.reclaiming.passed;
        let count = |rows: &Vec<u64>| u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let rows = counts.garbage().saturating_sub(count(headers));
        let bodies = counts.garbage_bodies().saturating_sub(count(bodies));
        let options = &self.shared.options;
        let share = weight(counts.rows, counts.bodies).saturating_mul(options.garbage_percent);
        self.reclaiming.is_on = rows >= options.garbage_rows.max(1)
            && weight(rows, bodies).saturating_mul(100) >= share;
    }

    /// Takes a step if there is something to do, with no batch.
    pub(super) fn go_on_reclaiming(&mut self) {
        if self.reclaiming.has_work() {
            let rows = if self.reclaiming.is_on { MOST_ROWS } else { 0 };
            // Whoever writes learns of a failure.
            let _ = self.reclaim(rows);
        }
    }

    /// Lets go of records that expired by `now`, at most `limit`; their rows are garbage.
    pub(super) fn purge(&mut self, limit: usize, now: Timestamp) -> usize {
        let certain = self.guard.certain(&*self.shared.options.clock);
        let Some(certain) = certain.map(|certain| certain.min(now)) else { return 0 };
        let mut freed = 0;
        while freed < limit && self.shared.index.lists().is_anything_due(certain) {
            let step = (limit - freed).min(FORGOTTEN_AT_ONCE);
            freed += self.shared.index.publish().forget_dead(certain, step);
        }
        freed
    }

    /// Drops all garbage and shortens the file.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let end = self.shared.next_seq.load(Ordering::Acquire);
        self.reclaiming.start_over();
        while self.shared.index.lists().counts.garbage() > 0 && self.reclaiming.next < end {
            self.reclaim(MOST_ROWS)?;
        }
        self.reclaim(0)?;
        self.flush()?;
        self.shared.disk.compact().map_err(|error| {
            let failure = Failure::new(error);
            self.fail(&failure);
            failure.into()
        })
    }

    /// Looks at so many rows, and drops those that were passed before.
    fn reclaim(&mut self, rows: usize) -> Result<(), Failure> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.commit(&mut Batch::new(&shared), rows)
    }
}

/// What so many rows take in the file, so many of them with a body, in sizes of a header.
const fn weight(rows: u64, bodies: u64) -> u64 {
    rows.saturating_add(bodies.saturating_mul(BODY_WEIGHT))
}

/// A body is about so many times as long as a header.
const BODY_WEIGHT: u64 = 10;
/// Rows that a batch looks at for each that it appends. The log would have to grow without end
/// if that were fewer than one for each row of garbage that there is at its head.
const LOOKED_AT_FOR_EACH: usize = 3;
const FEWEST_ROWS: usize = 8;
/// Rows that one commit looks at, at most.
const MOST_ROWS: usize = 2048;
