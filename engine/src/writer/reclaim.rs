//! Reclaiming: the log gives up blocks at its head, in bounded steps.
//!
//! A step looks at the rows of the next blocks. A row that is needed, the newest of its device, is
//! carried to the tail: appended again as it is, with what amends it behind it. Once that is on
//! the disk and published nobody needs the blocks that were looked at, and the next commit drops
//! them. So of two rows of a device the older one always goes first, and "the newest row wins"
//! holds at opening after any crash, with no other bookkeeping. A reader that misses a row finds
//! its successor in the index.
//!
//! Steps are taken while a share of the log is garbage. What a row costs in the worst case is to
//! be carried as often as live rows stand against garbage, 7 : 3 by default; the rows at the head
//! had the longest time to become garbage, so that it is far less for most.
//!
//! A row that cannot be read is left where it is, until its device has ended or has a newer row;
//! see [`super::left_behind`].
//!
//! redb trusts its pages, and a damaged one makes a transaction that writes fail as a whole. So
//! whatever a step is going to touch is read before, where damage does no harm. A damaged page of
//! headers ends reclaiming until the store is opened anew: it hides what would have to go first.
//! Bodies on a damaged page, and beside it, stay when their headers go; nobody asks for them.

mod carrying;
mod passed;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use redb::{Error, StorageError};
use tokenkeep_core::codec::{Header, check_block};
use tokenkeep_core::{StoreError, Timestamp};

use super::batch::Batch;
use super::left_behind::LeftBehind;
use super::{FORGOTTEN_AT_ONCE, Writer};
use crate::block::{Entries, Size};
use crate::disk::Snapshot;
use crate::shared::{Failure, Shared};
use carrying::{Bodies, carry};
use passed::Passed;

/// Where reclaiming stands.
#[derive(Debug, Default)]
pub(super) struct Reclaiming {
    /// The first block that was not looked at.
    next: u64,
    /// Blocks that were looked at and that nobody needs: the next commit drops them.
    passed: Passed,
    /// Blocks with needed rows that could not be carried.
    left_behind: BTreeMap<u64, LeftBehind>,
    /// There is enough garbage.
    is_on: bool,
    /// A page of headers is damaged.
    is_over: bool,
}

/// What a step came to. It counts when its commit has succeeded.
#[derive(Debug)]
pub(super) struct Step {
    next: u64,
    passed: Passed,
}

impl Reclaiming {
    /// The blocks that the next commit drops.
    pub(super) fn passed(&self) -> &Passed {
        &self.passed
    }

    /// Gets ready what the next commit drops, looks at blocks of about `rows` rows that were there
    /// before `batch`, and has it carry the rows that are needed.
    pub(super) fn look(&mut self, batch: &mut Batch<'_>, rows: u64) -> Result<Step, Error> {
        let nothing = Step { next: self.next, passed: Passed::default() };
        let is_off = self.is_over || batch.shared.is_suspect.load(Ordering::Acquire);
        if is_off || (rows == 0 && self.passed.is_empty() && self.left_behind.is_empty()) {
            return Ok(nothing);
        }
        let shared = batch.shared;
        let looked = shared.disk.snapshot().and_then(|snapshot| {
            self.passed.check(&snapshot)?;
            self.look_at(batch, &snapshot, rows)
        });
        match looked {
            Err(Error::Corrupted(cause)) => {
                self.end(shared, &StorageError::Corrupted(cause));
                Ok(nothing)
            }
            looked => looked,
        }
    }

    /// Whether it has ended for good.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Reclaims no more until the store is opened anew.
    pub(super) fn end(&mut self, shared: &Shared, cause: &(dyn std::error::Error + 'static)) {
        shared.unreadable.fetch_add(1, Ordering::Relaxed);
        tracing::error!(cause, "the data file is damaged: no space is reclaimed any more");
        *self = Self { is_over: true, ..Self::default() };
    }

    fn look_at(
        &mut self,
        batch: &mut Batch<'_>,
        snapshot: &Snapshot<'_>,
        rows: u64,
    ) -> Result<Step, Error> {
        let mut step = Step { next: self.next, passed: self.overtaken(batch, snapshot)? };
        let end = batch.shared.next_block.load(Ordering::Acquire).max(self.next);
        let mut looked_at = 0;
        for block in snapshot.headers.range(self.next..end)? {
            if looked_at >= rows {
                return Ok(step);
            }
            let (number, list) = block?;
            let mut left = self.carry_rows(batch, snapshot, number.value(), list.value())?;
            looked_at += left.size.rows;
            step.next = number.value() + 1;
            if left.rows.is_empty() {
                step.passed.add(number.value(), left.size);
            } else {
                tracing::error!(
                    rows = left.rows.len(),
                    "rows cannot be read; they stay as they are"
                );
                step.passed.rewrite(number.value(), list.value(), &mut left, batch.shared)?;
                self.left_behind.insert(number.value(), left);
            }
        }
        step.next = end;
        Ok(step)
    }

    /// Has `batch` carry what is needed of a block; says what could not be.
    fn carry_rows(
        &self,
        batch: &mut Batch<'_>,
        snapshot: &Snapshot<'_>,
        number: u64,
        headers: &[u8],
    ) -> Result<LeftBehind, Error> {
        // What was changed since the store was opened must not be carried on as if it were ours.
        let (ring, store) = (&batch.shared.ring, &batch.shared.store);
        check_block(headers, number, ring, store).map_err(corrupted)?;
        let mut left = LeftBehind::default();
        let known = self.left_behind.get(&number);
        let mut bodies = Bodies::new(snapshot, number);
        for entry in Entries::of_headers(number, headers) {
            let (seq, bytes) = entry.map_err(corrupted)?;
            let header = Header::decode(bytes).map_err(corrupted)?;
            let device = header.device();
            left.size.add_row(matches!(header, Header::Record(_)));
            let Some(slot) = batch.slot(device).filter(|slot| slot.needs(seq)) else { continue };
            // What failed a commit once is not tried again.
            let is_known = known.is_some_and(|left| left.rows.contains_key(&seq));
            let is_carried = !is_known && carry(batch, &mut bodies, seq, bytes, device, slot)?;
            if !is_carried {
                left.rows.insert(seq, device);
            }
        }
        Ok(left)
    }

    /// Takes the step whose commit has succeeded; returns what that commit has dropped.
    pub(super) fn advance(&mut self, step: Step) -> Passed {
        self.next = step.next;
        for block in &step.passed.blocks {
            self.left_behind.remove(block);
        }
        std::mem::replace(&mut self.passed, step.passed)
    }

    /// Begins anew: the file may be another than it was thought to be.
    pub(super) fn start_over(&mut self) {
        (self.next, self.passed) = (0, Passed::default());
    }

    /// Whether there is something to do that no batch takes along.
    pub(super) fn has_work(&self) -> bool {
        self.is_on || !self.passed.is_empty()
    }

    /// Rows that were left behind and are not needed any more.
    fn overtaken(&mut self, batch: &Batch<'_>, snapshot: &Snapshot<'_>) -> Result<Passed, Error> {
        let mut passed = Passed::default();
        for (number, left) in self.left_behind.range_mut(..self.next) {
            let before = left.rows.len();
            left.rows
                .retain(|seq, device| batch.slot(*device).is_some_and(|slot| slot.needs(*seq)));
            if left.rows.is_empty() {
                passed.add(*number, left.size);
            } else if left.rows.len() < before {
                let list = snapshot.headers.list(*number)?.unwrap_or_default();
                passed.rewrite(*number, &list, left, batch.shared)?;
            }
        }
        Ok(passed)
    }

    /// Garbage that is being dropped, or that cannot be.
    fn settled(&self) -> Size {
        let mut settled = self.passed.size;
        settled.rows += self.left_behind.values().map(LeftBehind::useless_rows).sum::<u64>();
        settled
    }
}

/// What damage of a row of headers is to whoever reads it.
fn corrupted(error: impl std::error::Error) -> Error {
    Error::Corrupted(error.to_string())
}

fn unwritten(error: StoreError) -> Error {
    Error::Io(std::io::Error::other(error))
}

impl Writer {
    /// How many rows the commit of a batch looks at.
    pub(super) fn rows_to_look_at(&self, appended: u64) -> u64 {
        if self.reclaiming.is_on { rows_for(appended) } else { 0 }
    }

    /// Sees whether reclaiming is worth its while.
    pub(super) fn look_at_the_garbage(&mut self) {
        let counts = self.shared.index.lists().counts;
        let (all, settled) = (counts.garbage_size(), self.reclaiming.settled());
        let garbage = Size {
            rows: all.rows.saturating_sub(settled.rows),
            bodies: all.bodies.saturating_sub(settled.bodies),
        };
        let options = &self.shared.options;
        let share = weight(counts.size).saturating_mul(options.garbage_percent);
        self.reclaiming.is_on = !self.reclaiming.is_over
            && !self.shared.is_suspect.load(Ordering::Acquire)
            && garbage.rows >= options.garbage_rows.max(1)
            && weight(garbage).saturating_mul(100) >= share;
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
        self.check_reclaims()?;
        let end = self.shared.next_block.load(Ordering::Acquire);
        self.reclaiming.start_over();
        while self.shared.index.lists().counts.garbage() > 0 && self.reclaiming.next < end {
            self.reclaim(MOST_ROWS)?;
            self.check_reclaims()?;
        }
        self.reclaim(0)?;
        self.flush()?;
        self.shared.disk.compact().map_err(|error| {
            let failure = Failure::new(error);
            self.fail(&failure);
            failure.into()
        })
    }

    /// Carries what is needed of the next blocks, from the head of the log if `anew`, and says
    /// which block comes then. What is carried is under the active key.
    pub(super) fn reseal(&mut self, anew: bool) -> Result<u64, StoreError> {
        self.check_reclaims()?;
        if anew {
            self.reclaiming.start_over();
        }
        self.reclaim(RESEALED_AT_ONCE)?;
        self.check_reclaims()?;
        Ok(self.reclaiming.next)
    }

    fn check_reclaims(&self) -> Result<(), StoreError> {
        if self.reclaiming.is_over || self.shared.is_suspect.load(Ordering::Acquire) {
            return Err(StoreError::unavailable(NotReclaimed));
        }
        Ok(())
    }

    /// Looks at so many rows, and drops those that were passed before.
    fn reclaim(&mut self, rows: u64) -> Result<(), Failure> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.commit(&mut Batch::new(&shared), rows)
    }
}

/// How many rows a batch that appends so many looks at.
fn rows_for(appended: u64) -> u64 {
    let most = MOST_ROWS.max(appended.saturating_mul(AT_LEAST_FOR_EACH));
    appended.saturating_mul(LOOKED_AT_FOR_EACH).clamp(FEWEST_ROWS, most)
}

/// A page of headers is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the data file is damaged, and no space is reclaimed: restore a backup of it")]
struct NotReclaimed;

/// What rows take in the file, in sizes of a header.
const fn weight(size: Size) -> u64 {
    size.rows.saturating_add(size.bodies.saturating_mul(BODY_WEIGHT))
}

/// A body is about so many times as long as a header.
const BODY_WEIGHT: u64 = 10;
/// Rows that a batch looks at for each that it appends. The log would have to grow without end
/// if that were fewer than one for each row of garbage that there is at its head.
const LOOKED_AT_FOR_EACH: u64 = 3;
/// So many of them however large the batch is.
const AT_LEAST_FOR_EACH: u64 = 2;
const FEWEST_ROWS: u64 = 8;
/// Rows that are resealed in one commit: each is opened and sealed, and others wait for it.
const RESEALED_AT_ONCE: u64 = 256;
/// Rows that one commit looks at, unless it appends about as many.
const MOST_ROWS: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_batch_appends_faster_than_reclaiming_looks() {
        for appended in [1, 7, 64, 682, 683, 1024, 1025, 4096, 1 << 20] {
            let rows = rows_for(appended);
            assert!(rows >= 2 * appended, "{rows} rows for {appended}");
            assert!(rows <= MOST_ROWS.max(2 * appended), "{rows} rows for {appended}");
        }
    }
}
