//! Records that come from another store, as they are.

use tokenkeep_core::{ImportOutcome, RefreshIntent, StoreError, Timestamp};

use super::batch::Batch;
use crate::command::Prepared;
use crate::index::{LiveSlot, Slot};

impl Batch<'_> {
    pub(super) fn import(
        &mut self,
        new: Prepared,
        intent: Option<RefreshIntent>,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        if new.record.is_dead(now) {
            return Ok(ImportOutcome::Expired);
        }
        let old = match self.slot(new.record.device_id) {
            Some(Slot::Ended(_)) => return Ok(ImportOutcome::Ended),
            // What became of it cannot be known; it may have ended.
            Some(Slot::Live(here)) if here.is_suspect => return Ok(ImportOutcome::Kept),
            Some(Slot::Live(here)) if here.version >= new.record.version => {
                // An intent is bound to its version.
                let intent = intent.filter(|_| here.version == new.record.version);
                self.add_notes(here, &new, intent)?;
                return Ok(ImportOutcome::Kept);
            }
            Some(Slot::Live(mut here)) => {
                // It is bound to the version before.
                here.intent = None;
                Some(here)
            }
            None => None,
        };
        let device = new.record.device_id;
        self.store(new, old, now)?;
        if let (Some(intent), Some(Slot::Live(mut slot))) = (intent, self.slot(device)) {
            slot.intent = Some(Box::new(intent));
            self.append_intent(device, &slot)?;
            slot.complete_cached();
            self.stage(device, Slot::Live(slot));
        }
        Ok(ImportOutcome::Imported)
    }

    /// Adds what `other` knows: a later use, an intent where there is none.
    fn add_notes(
        &mut self,
        mut slot: LiveSlot,
        other: &Prepared,
        intent: Option<RefreshIntent>,
    ) -> Result<(), StoreError> {
        let record = &other.record;
        if record.last_seen_at > slot.last_seen_at {
            slot.take_use(record.last_seen_at, record.previous_visit_at);
            self.append_touch(record.device_id, &mut slot)?;
        }
        if let (None, Some(intent)) = (&slot.intent, intent) {
            slot.intent = Some(Box::new(intent));
            self.append_intent(record.device_id, &slot)?;
        }
        slot.complete_cached();
        self.stage(record.device_id, Slot::Live(slot));
        Ok(())
    }
}
