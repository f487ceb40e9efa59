//! Refresh leases: who may refresh a record, durable as an intent before the request goes out.
//!
//! Of an intent the file holds holder, version and `since`. How long the lease runs is in memory
//! only: whoever held it is gone after a restart, because one process owns the file. So every
//! intent that is found at opening is uncertain and nobody holds it, and neither prolonging a
//! lease nor giving it back as uncertain needs a row.

use std::sync::Arc;

use tokenkeep_core::codec::Header;
use tokenkeep_core::{
    DeviceId, HolderId, LeaseOutcome, RefreshIntent, Release, StoreError, Timestamp, TokenRecord,
    Version,
};

use super::batch::Batch;
use crate::index::Slot;

impl Batch<'_> {
    pub(super) fn lease(
        &mut self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        let Some(mut slot) = self.live(device, now) else {
            return Ok(LeaseOutcome::Gone(self.end_reason(device, now)));
        };
        if slot.version != expected {
            return Ok(LeaseOutcome::Conflict(self.record(device, &slot)?));
        }
        let intent = match slot.intent() {
            Some(old) if old.is_held(now) && old.holder != holder => {
                return Ok(LeaseOutcome::Held { until: old.leased_until });
            }
            Some(old) if old.is_held(now) => RefreshIntent { leased_until: until, ..old },
            Some(old) => {
                RefreshIntent { holder, since: old.since, leased_until: until, uncertain: true }
            }
            None => RefreshIntent { holder, since: now, leased_until: until, uncertain: false },
        };
        // The record first: what cannot be read is not leased.
        let record = self.record(device, &slot)?;
        slot.intent = Some(Box::new(intent));
        self.append_intent(device, &slot)?;
        let record = Arc::new(slot.completed(TokenRecord::clone(&record)));
        slot.cached = Some(Arc::clone(&record));
        self.stage(device, Slot::Live(slot));
        Ok(LeaseOutcome::Granted(record))
    }

    pub(super) fn extend_lease(
        &mut self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.change_intent(device, holder, now, |intent| {
            let held = intent.is_held(now);
            if held {
                intent.leased_until = until;
            }
            held
        })
    }

    pub(super) fn release(
        &mut self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(mut slot) = self.live(device, now) else { return Ok(()) };
        let Some(intent) = slot.intent().filter(|intent| intent.holder == holder) else {
            return Ok(());
        };
        if release == Release::NotSent && !intent.uncertain {
            slot.intent = None;
            self.append(&Header::IntentCleared { device })?;
            slot.complete_cached();
            self.stage(device, Slot::Live(slot));
            return Ok(());
        }
        self.change_intent(device, holder, now, |intent| {
            intent.leased_until = intent.leased_until.min(now);
            intent.uncertain = true;
            true
        });
        Ok(())
    }

    /// Changes what memory alone holds of the intent that `holder` has.
    fn change_intent(
        &mut self,
        device: DeviceId,
        holder: HolderId,
        now: Timestamp,
        change: impl FnOnce(&mut RefreshIntent) -> bool,
    ) -> bool {
        let Some(mut slot) = self.live(device, now) else { return false };
        let Some(held) = slot.intent.as_mut().filter(|held| held.holder == holder) else {
            return false;
        };
        let changed = change(held);
        if changed {
            slot.complete_cached();
            self.stage(device, Slot::Live(slot));
        }
        changed
    }
}
