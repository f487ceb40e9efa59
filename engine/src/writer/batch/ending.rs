//! Ending sessions: what makes them end, and how it is written down that they did.

use tokenkeep_core::codec::Header;
use tokenkeep_core::{
    DeviceId, Email, EndReason, RemoveOutcome, Removed, StoreError, Timestamp, Verifier, Version,
};

use super::Batch;
use crate::index::{EndedSlot, LiveSlot, Slot};

impl Batch<'_> {
    pub(super) fn remove(
        &mut self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        let Some(slot) = self.live(device, now) else {
            let why = self.end_reason(device, now);
            self.bury(device, now, |slot| expected.is_none_or(|version| version == slot.version))?;
            return Ok(RemoveOutcome::Gone(why));
        };
        let record = self.record(device, &slot)?;
        if expected.is_some_and(|expected| expected != slot.version) {
            return Ok(RemoveOutcome::Conflict(record));
        }
        self.end(device, record.verifier, reason, now)?;
        Ok(RemoveOutcome::Removed(record))
    }

    pub(super) fn remove_all_of(
        &mut self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Removed>, StoreError> {
        let mut devices = self.devices_of(email);
        devices.retain(|(device, _)| Some(*device) != except);
        let ends = devices.iter().map(|(device, _)| (*device, reason));
        let mut removed = self.end_all(email, ends, now)?;
        removed.sort_by_key(|removed| (removed.record.created_at, removed.record.device_id));
        Ok(removed)
    }

    /// Ends those of `devices` that are sessions of `email`. One whose record cannot be read ends,
    /// too: it can do no harm any more, should its key be found again; it is not among those
    /// returned. One that is dead stays dead, should the clock go back.
    pub(super) fn end_all(
        &mut self,
        email: &Email,
        devices: impl Iterator<Item = (DeviceId, EndReason)>,
        now: Timestamp,
    ) -> Result<Vec<Removed>, StoreError> {
        let mut removed = Vec::new();
        for (device, reason) in devices {
            let Some(Slot::Live(slot)) = self.slot(device) else { continue };
            if !self.is_of(device, &slot, email)? {
                continue;
            }
            if slot.is_dead(now) {
                self.bury(device, now, |_| true)?;
                continue;
            }
            match self.record(device, &slot) {
                Ok(record) => {
                    self.end(device, record.verifier, reason, now)?;
                    removed.push(Removed { record, reason });
                }
                Err(StoreError::Unreadable { .. }) => {
                    let verifier = self.verifier(device, &slot)?;
                    self.end(device, verifier, reason, now)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Writes down that `device` expired, if it did and `is_meant`: it stays dead, should the
    /// clock go back.
    pub(super) fn bury(
        &mut self,
        device: DeviceId,
        now: Timestamp,
        is_meant: impl FnOnce(&LiveSlot) -> bool,
    ) -> Result<(), StoreError> {
        match self.slot(device) {
            Some(Slot::Live(slot)) if slot.is_dead(now) && is_meant(&slot) => {
                let verifier = self.verifier(device, &slot)?;
                self.end(device, verifier, EndReason::Expired, now)
            }
            _ => Ok(()),
        }
    }

    /// Whether `slot` is a session of `email`. Two emails may have the same hash; the header of
    /// the record, which needs no key, tells them apart. If that is gone, the hash decides.
    fn is_of(&self, device: DeviceId, slot: &LiveSlot, email: &Email) -> Result<bool, StoreError> {
        if slot.user != self.shared.index.user(email.as_str()) {
            return Ok(false);
        }
        if let Some(record) = &slot.cached {
            return Ok(record.email == *email);
        }
        let snapshot = self.shared.snapshot()?;
        match self
            .shared
            .read_header(&snapshot, device, slot.seq, |record| record.email == email.as_str())
        {
            Ok(is_same) => Ok(is_same.unwrap_or(true)),
            Err(StoreError::Unreadable { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The verifier of a record that need not be readable otherwise; one that fits nobody if it
    /// cannot be found out.
    fn verifier(&self, device: DeviceId, slot: &LiveSlot) -> Result<Verifier, StoreError> {
        if let Some(record) = &slot.cached {
            return Ok(record.verifier);
        }
        let snapshot = self.shared.snapshot()?;
        match self.shared.read_verifier(&snapshot, device, slot.seq) {
            Ok(Some(verifier)) => Ok(verifier),
            Ok(None) | Err(StoreError::Unreadable { .. }) => Ok(Verifier::NOBODY),
            Err(error) => Err(error),
        }
    }

    fn end(
        &mut self,
        device: DeviceId,
        verifier: Verifier,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let header = Header::Tombstone { device, reason, ended_at: now, verifier };
        let seq = self.append(&header)?;
        let forget_at = now + self.shared.options.answerable;
        self.stage(device, Slot::Ended(EndedSlot::new(seq, reason, verifier, forget_at)));
        Ok(())
    }

    /// Why there is no live record of `device`, if that can be told.
    pub(in crate::writer) fn end_reason(
        &self,
        device: DeviceId,
        now: Timestamp,
    ) -> Option<EndReason> {
        match self.slot(device)? {
            Slot::Ended(slot) => (now < slot.forget_at).then_some(slot.reason),
            Slot::Live(_) => Some(EndReason::Expired),
        }
    }
}
