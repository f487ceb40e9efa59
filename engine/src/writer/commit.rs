//! One commit: rows in, garbage out, on the disk, then in the index, then the answers.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Database, Durability as RedbDurability};
use tokenkeep_core::DeviceId;

use super::Writer;
use super::batch::{Batch, Row};
use super::reclaim::{Limits, Swept};
use crate::disk::{BODIES, HEADERS};
use crate::index::Slot;
use crate::options::Durability;
use crate::shared::Failure;

impl Writer {
    /// Commits a batch, publishes it, and answers everybody.
    pub(super) fn finish(&mut self, mut batch: Batch<'_>) {
        let outcome = if batch.rows.is_empty() {
            self.publish(&mut batch, Swept::default());
            Ok(())
        } else {
            self.commit(&mut batch, None).map(|_| ())
        };
        batch.answer_all(outcome.as_ref().map(|_| ()));
    }

    /// Puts everything that was acknowledged or noted on the disk.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.touched.is_empty() && self.unflushed_since.is_none() {
            return self.shared.failure().map_or(Ok(()), Err);
        }
        let shared = Arc::clone(&self.shared);
        self.commit_durably(&mut Batch::new(&shared), None, RedbDurability::Immediate)?;
        self.unflushed_since = None;
        Ok(())
    }

    /// Commits `batch` with the touches that wait, and a step of the pass that is under way.
    /// Returns how many expired records the step forgot.
    pub(super) fn commit(
        &mut self,
        batch: &mut Batch<'_>,
        limits: Option<Limits>,
    ) -> Result<usize, Failure> {
        let durability = match self.shared.options.durability {
            Durability::Immediate => RedbDurability::Immediate,
            Durability::Interval(_) => RedbDurability::None,
        };
        let forgotten = self.commit_durably(batch, limits, durability)?;
        if matches!(durability, RedbDurability::None) && self.unflushed_since.is_none() {
            self.unflushed_since = Some(self.shared.options.clock.monotonic());
        }
        Ok(forgotten)
    }

    fn commit_durably(
        &mut self,
        batch: &mut Batch<'_>,
        limits: Option<Limits>,
        durability: RedbDurability,
    ) -> Result<usize, Failure> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        let touched: HashSet<_> = self.touched.drain().chain(batch.touched.drain()).collect();
        let shared = Arc::clone(&self.shared);
        let sweep = self.next_sweep(limits);
        // A damaged page can make redb panic; nobody may wait for ever because of that.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            append_touches(batch, &touched)?;
            let write = |database: &Database| {
                let mut transaction = database.begin_write()?;
                transaction.set_durability(durability)?;
                let mut swept = Swept::default();
                {
                    let mut headers = transaction.open_table(HEADERS)?;
                    let mut bodies = transaction.open_table(BODIES)?;
                    for Row { seq, header, body } in &batch.rows {
                        headers.insert(seq, header.as_slice())?;
                        if let Some(body) = body {
                            bodies.insert(seq, body.as_slice())?;
                        }
                    }
                    if let Some(sweep) = &sweep {
                        swept = sweep.step(batch, &headers)?;
                        for seq in &swept.rows {
                            headers.remove(seq)?;
                            bodies.remove(seq)?;
                        }
                    }
                }
                transaction.commit()?;
                Ok(swept)
            };
            shared.disk.write(write).map_err(Failure::new)
        }));
        match attempt.unwrap_or_else(|_| Err(Failure::new(Panicked))) {
            Ok(swept) => {
                let forgotten = swept.records;
                self.publish(batch, swept);
                Ok(forgotten)
            }
            Err(failure) => {
                self.touched = touched;
                self.fail(&failure);
                Err(failure)
            }
        }
    }

    /// Makes the batch visible.
    fn publish(&mut self, batch: &mut Batch<'_>, swept: Swept) {
        self.touched.extend(batch.touched.drain());
        self.shared.next_seq.store(batch.next_seq, Ordering::Release);
        let mut publication = self.shared.index.publish();
        let counts = &mut publication.lists_mut().counts;
        counts.rows += u64::try_from(batch.rows.len()).unwrap_or(0);
        counts.rows -= u64::try_from(swept.rows.len()).unwrap_or(0);
        for device in batch.order.drain(..) {
            if let Some(slot) = batch.staged.remove(&device) {
                publication.put(device, slot);
            }
        }
        for device in swept.forgotten {
            publication.put(device, None);
        }
        drop(publication);
        if let (Some(pass), Some(next)) = (&mut self.pass, swept.next) {
            pass.next = next;
            let dropped = u64::try_from(swept.rows.len()).unwrap_or(u64::MAX);
            pass.left_over = pass.left_over.saturating_sub(dropped);
            if pass.next >= pass.end {
                self.left_over = pass.left_over;
                self.pass = None;
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
        if slot.is_due() {
            continue;
        }
        slot.touch_seq = batch.append_touch(*device, &slot).map_err(Failure::new)?;
        batch.stage(*device, Slot::Live(slot));
    }
    Ok(())
}
