//! One commit: rows in, garbage out, on the disk, then in the index, then the answers.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Database, Durability as RedbDurability};
use tokenkeep_core::DeviceId;

use super::Writer;
use super::batch::Batch;
use crate::block::Size;
use crate::disk::{BODIES, HEADERS};
use crate::index::Slot;
use crate::options::Durability;
use crate::shared::Failure;

impl Writer {
    /// Commits a batch, publishes it, and answers everybody.
    pub(super) fn finish(&mut self, mut batch: Batch<'_>) {
        let outcome = if batch.blocks.is_empty() {
            self.publish(&mut batch, Size::default());
            Ok(())
        } else {
            let rows = self.rows_to_look_at(batch.size().rows);
            self.commit(&mut batch, rows)
        };
        batch.answer_all(outcome.as_ref().copied());
    }

    /// Puts everything that was acknowledged or noted on the disk.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.touched.is_empty() && self.unflushed_since.is_none() {
            return self.shared.failure().map_or(Ok(()), Err);
        }
        let shared = Arc::clone(&self.shared);
        self.commit_durably(&mut Batch::new(&shared), 0, RedbDurability::Immediate)?;
        self.unflushed_since = None;
        Ok(())
    }

    /// Commits `batch` with the touches that wait, and takes a step of reclaiming that looks at
    /// so many rows.
    pub(super) fn commit(&mut self, batch: &mut Batch<'_>, rows: u64) -> Result<(), Failure> {
        let durability = match self.shared.options.durability {
            Durability::Immediate => RedbDurability::Immediate,
            Durability::Interval(_) => RedbDurability::None,
        };
        self.commit_durably(batch, rows, durability)?;
        if matches!(durability, RedbDurability::None) && self.unflushed_since.is_none() {
            self.unflushed_since = Some(self.shared.options.clock.monotonic());
        }
        Ok(())
    }

    fn commit_durably(
        &mut self,
        batch: &mut Batch<'_>,
        rows: u64,
        durability: RedbDurability,
    ) -> Result<(), Failure> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        let touched: HashSet<_> = self.touched.drain().chain(batch.touched.drain()).collect();
        let shared = Arc::clone(&self.shared);
        let reclaiming = &mut self.reclaiming;
        // A damaged page can make redb panic; nobody may wait for ever because of that.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            append_touches(batch, &touched)?;
            let step = reclaiming.look(batch, rows).map_err(Failure::new)?;
            batch.tag_blocks().map_err(Failure::new)?;
            let write = |database: &Database| {
                let mut transaction = database.begin_write()?;
                transaction.set_durability(durability)?;
                {
                    let mut headers = transaction.open_table(HEADERS)?;
                    let mut bodies = transaction.open_table(BODIES)?;
                    for block in &batch.blocks {
                        headers.insert(block.number, block.headers.as_slice())?;
                        if let Some(list) = block.bodies() {
                            bodies.insert(block.number, list)?;
                        }
                    }
                    let passed = reclaiming.passed();
                    passed.blocks.iter().try_for_each(|n| headers.remove(n).map(drop))?;
                    passed.bodies.iter().try_for_each(|n| bodies.remove(n).map(drop))?;
                    for (number, list) in &passed.rewritten {
                        headers.insert(number, list.as_slice())?;
                    }
                }
                transaction.commit()?;
                Ok(step)
            };
            shared.disk.write(write).map_err(Failure::new)
        }));
        match attempt.unwrap_or_else(|_| Err(Failure::new(Panicked))) {
            Ok(step) => {
                let dropped = self.reclaiming.advance(step);
                self.publish(batch, dropped.size);
                Ok(())
            }
            Err(failure) => {
                self.touched = touched;
                if !failure.is_damage() || !self.is_undone(batch) {
                    self.fail(&failure);
                } else if self.reclaiming.is_over() {
                    self.stay(&failure);
                } else {
                    self.reclaiming.end(&shared, &failure);
                    return self.commit_durably(batch, 0, durability);
                }
                Err(failure)
            }
        }
    }

    /// Whether nothing of a batch that met a damaged page is in the file. If the end of the file
    /// cannot be read, nothing was put there, either.
    fn is_undone(&self, batch: &Batch<'_>) -> bool {
        let Some(first) = batch.blocks.first() else { return true };
        let list =
            self.shared.disk.snapshot().and_then(|now| Ok(now.headers.list(first.number)?));
        matches!(list, Ok(None) | Err(redb::Error::Corrupted(_)))
    }

    /// Makes the batch visible; so much was dropped with it.
    fn publish(&mut self, batch: &mut Batch<'_>, dropped: Size) {
        self.touched.extend(batch.touched.drain());
        self.shared.next_block.store(batch.next_block, Ordering::Release);
        let mut publication = self.shared.index.publish();
        let counts = &mut publication.lists_mut().counts;
        counts.size.add(batch.size());
        counts.size.subtract(dropped);
        for device in batch.order.drain(..) {
            if let Some(slot) = batch.staged.remove(&device) {
                publication.put(device, Some(slot));
            }
        }
    }
}

/// redb panicked.
#[derive(Debug, thiserror::Error)]
#[error("the data file makes no sense")]
struct Panicked;

/// Appends a row for the last use of each device that is still there.
fn append_touches(batch: &mut Batch<'_>, touched: &HashSet<DeviceId>) -> Result<(), Failure> {
    for device in touched {
        let Some(Slot::Live(mut slot)) = batch.slot(*device) else { continue };
        batch.append_touch(*device, &mut slot).map_err(Failure::new)?;
        batch.stage(*device, Slot::Live(slot));
    }
    Ok(())
}
