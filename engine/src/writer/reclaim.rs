//! Reclaiming: a pass over the rows in the order of their sequence numbers, in bounded steps.
//!
//! A pass covers the rows that were there when it began, and drops
//! - a record or a tombstone that is not the newest of its device;
//! - a record that expired for certain, or a tombstone that nobody is told of any more, if it is
//!   the newest of its device; then the index lets go of the device;
//! - a touch or an intent that is not the one the index points at; a cleared intent always.
//!
//! The newest row of a device, dropped before an older one of the same device, would bring the
//! older one back at the next opening. That cannot happen: an older row has a smaller number, and
//! if the newest row was there when the pass began, every older one was garbage when the pass came
//! by. A row that was the newest when the pass came by and is superseded later has its successor
//! outside the pass. The same holds for a cleared intent and the intents before it. Touches and
//! intents mean nothing without a record before them, nor once a newer record follows: opening
//! ignores such, so they may go at any time after.

use redb::ReadableTable;
use tokenkeep_core::codec::Header;
use tokenkeep_core::{DeviceId, StoreError, Timestamp};

use super::Writer;
use super::batch::Batch;
use crate::index::Slot;
use crate::shared::Failure;

/// A pass under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// The first row that was not looked at yet.
    pub(super) next: u64,
    /// The first row that is not looked at.
    pub(super) end: u64,
    /// It goes on without being asked to.
    pub(super) in_background: bool,
    /// Garbage when it began, less what it dropped.
    pub(super) left_over: u64,
}

/// One step of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pass: Pass,
    limits: Limits,
}

/// How far a step goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most rows to look at.
    pub(super) rows: usize,
    /// The most expired records to forget.
    pub(super) records: usize,
    /// What expired by then may go; nothing that expired if it is absent.
    pub(super) certain: Option<Timestamp>,
}

/// What a step found.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Rows to drop.
    pub(super) rows: Vec<u64>,
    /// Devices that the index lets go of.
    pub(super) forgotten: Vec<DeviceId>,
    /// How many of them were expired records.
    pub(super) records: usize,
    /// The first row that was not looked at, if the step did anything.
    pub(super) next: Option<u64>,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
    /// Drop it and let go of its device.
    Forget,
}

impl Sweep {
    /// Looks at the next rows. What counts is the index as it is published: a reader who finds
    /// a row gone must find its successor there. No device is forgotten that `batch` stages.
    pub(super) fn step(
        &self,
        batch: &Batch<'_>,
        headers: &impl ReadableTable<u64, &'static [u8]>,
    ) -> Result<Swept, redb::Error> {
        let mut swept = Swept { next: Some(self.pass.end), ..Swept::default() };
        for (row, looked_at) in headers.range(self.pass.next..self.pass.end)?.zip(0..) {
            let (seq, bytes) = row?;
            let seq = seq.value();
            if looked_at == self.limits.rows || swept.records == self.limits.records {
                swept.next = Some(seq);
                break;
            }
            // Opening refuses a file with a header that cannot be read.
            let Ok(header) = Header::decode(bytes.value()) else { continue };
            let device = header.device();
            let certain = self.limits.certain.filter(|_| !batch.staged.contains_key(&device));
            let verdict =
                batch.shared.index.with(device, |slot| verdict(&header, seq, slot, certain));
            match verdict.unwrap_or(Verdict::Drop) {
                Verdict::Keep => {}
                Verdict::Drop => swept.rows.push(seq),
                Verdict::Forget => {
                    swept.rows.push(seq);
                    swept.forgotten.push(device);
                    swept.records += usize::from(matches!(header, Header::Record(_)));
                }
            }
        }
        Ok(swept)
    }
}

fn verdict(header: &Header<'_>, seq: u64, slot: &Slot, certain: Option<Timestamp>) -> Verdict {
    let points_here = match header {
        Header::Record(_) | Header::Tombstone { .. } if slot.seq() == seq => {
            let may_go = slot.is_due() && certain.is_some_and(|certain| slot.due_at() <= certain);
            return if may_go { Verdict::Forget } else { Verdict::Keep };
        }
        Header::Touch { .. } => slot.live().is_some_and(|slot| slot.touch_seq == seq),
        Header::Intent { .. } => {
            slot.live().and_then(|slot| slot.intent.as_ref()).is_some_and(|held| held.seq == seq)
        }
        Header::Record(_) | Header::Tombstone { .. } | Header::IntentCleared { .. } => false,
    };
    if points_here { Verdict::Keep } else { Verdict::Drop }
}

impl Writer {
    /// The step that the next commit takes along.
    pub(super) fn next_sweep(&mut self, limits: Option<Limits>) -> Option<Sweep> {
        let pass = self.pass.filter(|pass| pass.in_background || limits.is_some())?;
        let limits = limits.unwrap_or_else(|| self.limits(ROWS_WITH_A_BATCH));
        Some(Sweep { pass, limits })
    }

    /// Begins a pass if there is enough garbage, besides what the last one could not drop.
    pub(super) fn begin_pass_if_worthwhile(&mut self) {
        let counts = self.shared.index.lists().counts;
        let garbage = counts.garbage();
        self.left_over = self.left_over.min(garbage);
        let options = &self.shared.options;
        let share = counts.rows.saturating_mul(options.garbage_percent) / 100;
        if garbage - self.left_over < share.max(options.garbage_rows).max(1) {
            return;
        }
        if self.pass.is_none() {
            self.begin_pass();
        }
        if let Some(pass) = &mut self.pass {
            pass.in_background = true;
        }
    }

    /// Takes a step that no batch takes along.
    pub(super) fn reclaim_between_batches(&mut self) -> Result<usize, Failure> {
        let limits = self.limits(ROWS_ALONE);
        self.sweep(limits)
    }

    /// Frees records that expired by `now`, at most `limit`.
    pub(super) fn purge(&mut self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let limits = self.limits(ROWS_ALONE);
        let Some(certain) = limits.certain.map(|certain| certain.min(now)) else { return Ok(0) };
        while self.shared.index.publish().mark_due(certain, super::DUE_AT_ONCE) {}
        let mut freed = 0;
        let mut began = false;
        while freed < limit {
            if self.pass.is_none() {
                if began || self.shared.index.lists().counts.due_devices == 0 {
                    break;
                }
                self.begin_pass();
                began = true;
            }
            let limits = Limits { records: limit - freed, certain: Some(certain), ..limits };
            freed += self.sweep(limits)?;
        }
        Ok(freed)
    }

    /// Drops all garbage and shortens the file.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        self.pass = None;
        self.begin_pass();
        while self.pass.is_some() {
            self.reclaim_between_batches()?;
        }
        self.flush()?;
        self.shared.disk.compact().map_err(|error| {
            let failure = Failure::new(error);
            self.fail(&failure);
            failure.into()
        })
    }

    fn begin_pass(&mut self) {
        let end = self.shared.next_seq.load(std::sync::atomic::Ordering::Acquire);
        let left_over = self.shared.index.lists().counts.garbage();
        self.pass = Some(Pass { next: 0, end, in_background: false, left_over });
    }

    fn sweep(&mut self, limits: Limits) -> Result<usize, Failure> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.commit(&mut Batch::new(&shared), Some(limits))
    }

    fn limits(&mut self, rows: usize) -> Limits {
        let certain = self.guard.certain(&*self.shared.options.clock);
        Limits { rows, records: usize::MAX, certain }
    }
}

/// Rows that a batch's commit looks at besides its own work.
const ROWS_WITH_A_BATCH: usize = 1024;
/// Rows that a commit looks at which does nothing else.
const ROWS_ALONE: usize = 8192;

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::time::Duration;

    use tokenkeep_core::{Clock as _, Insert, KeyRing, ManualClock};

    use super::*;
    use crate::testing::{Disk, open_on, record};
    use crate::{Engine, Options};

    const HOUR: Duration = Duration::from_secs(3600);

    /// An engine with one record that is certainly dead, and the time at which it was not.
    fn with_a_dead_record(device: DeviceId) -> (Engine, Timestamp) {
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        let clock = Arc::new(ManualClock::new(now));
        let ring = KeyRing::generate().unwrap();
        let options = Options::new().clock(clock.clone()).key_ring(ring).garbage(100, u64::MAX);
        let engine = open_on(&Disk::new(), options).unwrap();
        let login = Insert { record: record(device, now), replaces: None, ceiling: None };
        engine.blocking().insert(login, now).unwrap();
        clock.advance(2 * HOUR);
        engine.blocking().purge_expired(0, clock.now()).unwrap();
        assert_eq!(engine.blocking().scan(None, NonZeroUsize::MIN, now).unwrap().records.len(), 1);
        (engine, now)
    }

    fn sweep(engine: &Engine, batch: &Batch<'_>, now: Timestamp) -> Swept {
        let limits = Limits { rows: 10, records: 10, certain: Some(now + 2 * HOUR) };
        let pass = Pass { next: 0, end: 10, in_background: true, left_over: 0 };
        let snapshot = engine.shared.snapshot().unwrap();
        Sweep { pass, limits }.step(batch, snapshot.headers.table()).unwrap()
    }

    #[test]
    fn a_device_that_the_batch_saw_alive_is_not_forgotten() {
        let device = DeviceId::from_bytes([1; 16]);
        let (engine, now) = with_a_dead_record(device);
        let mut batch = Batch::new(&engine.shared);
        assert_eq!(sweep(&engine, &batch, now).forgotten, [device]);
        // Its call took the time before the record died, and came late.
        batch.touch(device, now + HOUR / 2);
        let swept = sweep(&engine, &batch, now);
        assert!(swept.forgotten.is_empty() && swept.rows.is_empty(), "{swept:?}");
    }
}
