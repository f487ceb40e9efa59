//! Reads: from the index where it can answer, from the file where it cannot.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokenkeep_core::codec::{CodecError, Header};
use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, Ended, Lookup, Page, StoreError, StoreStats, Timestamp,
    TokenRecord,
};

use crate::block::{Entries, block_of};
use crate::disk::Snapshot;
use crate::index::{LiveSlot, Slot};
use crate::shared::Shared;

/// What the index knows of a device.
enum Probe {
    Known(Lookup),
    /// A live record that is not cached.
    Uncached(LiveSlot),
    /// An expired record that is not cached.
    Expired {
        seq: u64,
    },
}

impl Shared {
    /// What the index alone can answer; `None` if the file must be read.
    pub(crate) fn glance(&self, device: DeviceId, now: Timestamp) -> Option<Lookup> {
        match self.probe(device, now) {
            Probe::Known(lookup) => Some(lookup),
            Probe::Uncached(_) | Probe::Expired { .. } => None,
        }
    }

    /// Finds the record of `device`, reading the file if need be.
    pub(crate) fn lookup(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        let mut missing = None;
        loop {
            let slot = match self.probe(device, now) {
                Probe::Known(lookup) => return Ok(lookup),
                Probe::Uncached(slot) => slot,
                Probe::Expired { seq } => {
                    let verifier = self.read_verifier(&self.snapshot()?, device, seq)?;
                    return Ok(verifier.map_or(Lookup::Absent, expired));
                }
            };
            if let Some(record) = self.read(&self.snapshot()?, device, &slot)? {
                self.index.keep(device, slot.seq, &record);
                return Ok(Lookup::Live(record));
            }
            // Between the look at the index and the look at the file the row went, because
            // another took its place.
            if missing.replace(slot.seq) == Some(slot.seq) {
                return Err(self.unreadable(device, CodecError::Missing));
            }
        }
    }

    fn probe(&self, device: DeviceId, now: Timestamp) -> Probe {
        let probe = self.index.with(device, |slot| match slot {
            Slot::Live(slot) => match &slot.cached {
                Some(record) if slot.is_dead(now) => Probe::Known(expired(record.verifier)),
                Some(record) => {
                    slot.used.set();
                    Probe::Known(Lookup::Live(Arc::clone(record)))
                }
                None if slot.is_dead(now) => Probe::Expired { seq: slot.seq },
                None => Probe::Uncached(slot.clone()),
            },
            Slot::Ended(slot) if now < slot.forget_at => {
                Probe::Known(Lookup::Ended(Ended { reason: slot.reason, verifier: slot.verifier }))
            }
            Slot::Ended(_) => absent(),
        });
        probe.unwrap_or_else(absent)
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        self.disk.snapshot().map_err(|error| self.read_failed(error))
    }

    /// Lists the live records of `email` from the index alone; `None` if the file must be read.
    pub(crate) fn glance_devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Option<Vec<Arc<TokenRecord>>> {
        let slots = self.index.devices_of(&self.index.lists(), email);
        let live = slots.into_iter().filter(|(_, slot)| !slot.is_dead(now));
        let records = live.map(|(_, slot)| slot.cached).collect::<Option<Vec<_>>>()?;
        Some(sorted(records, email))
    }

    /// Lists the live records of `email`. A record that cannot be read is left out.
    pub(crate) fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        // The snapshot is taken while nothing is published: it has every row that is listed,
        // because a row is dropped only after its successor was published.
        let lists = self.index.lists();
        let slots = self.index.devices_of(&lists, email);
        let snapshot = self.snapshot()?;
        drop(lists);
        let mut records = Vec::new();
        for (device, slot) in slots.into_iter().filter(|(_, slot)| !slot.is_dead(now)) {
            match slot
                .cached
                .clone()
                .map_or_else(|| self.read(&snapshot, device, &slot), |record| Ok(Some(record)))
            {
                Ok(Some(record)) => records.push(record),
                Ok(None) => drop(self.unreadable(device, CodecError::Missing)),
                Err(StoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sorted(records, email))
    }

    /// The live records with an intent that nobody holds.
    pub(crate) fn open_intents(&self, now: Timestamp) -> Vec<DeviceId> {
        let is_open = |device: &DeviceId| {
            self.index.with(*device, |slot| {
                slot.live().is_some_and(|slot| {
                    let held = slot.intent().is_none_or(|intent| intent.is_held(now));
                    !held && !slot.is_dead(now)
                })
            }) == Some(true)
        };
        self.index.lists().intents().filter(is_open).collect()
    }

    /// Reads the live records after `after` in the order of their rows.
    ///
    /// A record that is written meanwhile moves to the end, so that the walk meets it there.
    pub(crate) fn scan(
        &self,
        after: Option<&Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        let mut at = after.map_or(Ok(0), position)?;
        let mut records = Vec::new();
        loop {
            let end = self.next_block.load(Ordering::Acquire);
            let snapshot = self.snapshot()?;
            let blocks = snapshot.headers.range(block_of(at)..);
            for block in blocks.map_err(|error| self.read_failed(error))? {
                let (number, list) = block.map_err(|error| self.read_failed(error))?;
                for entry in Entries::of_headers(number.value(), list.value()) {
                    let (seq, header) = entry.map_err(StoreError::unavailable)?;
                    if seq <= at {
                        continue;
                    }
                    at = seq;
                    records.extend(self.scanned(&snapshot, at, header, now)?);
                    if records.len() == limit.get() {
                        return Ok(Page { records, next: Some(cursor(at)) });
                    }
                }
            }
            if end == self.next_block.load(Ordering::Acquire) {
                return Ok(Page { records, next: None });
            }
        }
    }

    /// The record in row `seq`, if it is the newest row of a live device and can be read.
    fn scanned(
        &self,
        snapshot: &Snapshot<'_>,
        seq: u64,
        header: &[u8],
        now: Timestamp,
    ) -> Result<Option<Arc<TokenRecord>>, StoreError> {
        let Ok(Header::Record(head)) = Header::decode(header) else { return Ok(None) };
        let device = head.device;
        let Some(Slot::Live(slot)) = self.index.slot(device) else { return Ok(None) };
        if slot.seq != seq || slot.is_dead(now) {
            return Ok(None);
        }
        if slot.cached.is_some() {
            return Ok(slot.cached);
        }
        match self.read(snapshot, device, &slot) {
            Err(StoreError::Unreadable { .. }) => Ok(None),
            answer => answer,
        }
    }

    pub(crate) fn stats(&self, now: Timestamp) -> StoreStats {
        let lists = self.index.lists();
        let mut stats = StoreStats {
            devices: lists.counts.devices,
            users: lists.counts.users,
            size_bytes: self.disk.size_bytes(),
            garbage_rows: lists.counts.garbage(),
            unreadable: self.unreadable.load(Ordering::Relaxed),
        };
        // What died since the writer last looked is taken off here.
        let mut bereaved = BTreeSet::new();
        for device in lists.dying(now) {
            let user = self.index.with(device, |slot| {
                slot.live().filter(|slot| slot.is_dead(now)).map(|slot| slot.user)
            });
            if let Some(Some(user)) = user {
                stats.devices = stats.devices.saturating_sub(1);
                bereaved.insert(user);
            }
        }
        let lives = |device: DeviceId| {
            let lives = |slot: &Slot| slot.live().is_some_and(|slot| !slot.is_dead(now));
            self.index.with(device, lives) == Some(true)
        };
        let gone = bereaved.into_iter().filter(|user| !lists.devices_of(*user).any(lives)).count();
        stats.users = stats.users.saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX));
        stats
    }
}

fn expired(verifier: tokenkeep_core::Verifier) -> Lookup {
    Lookup::Ended(Ended { reason: EndReason::Expired, verifier })
}

fn absent() -> Probe {
    Probe::Known(Lookup::Absent)
}

/// Oldest login first. Two emails with the same keyed hash are told apart here.
pub(crate) fn sorted(mut records: Vec<Arc<TokenRecord>>, email: &Email) -> Vec<Arc<TokenRecord>> {
    records.retain(|record| record.email == *email);
    records.sort_by_key(|record| (record.created_at, record.device_id));
    records
}

pub(crate) fn cursor(seq: u64) -> Cursor {
    Cursor(Box::new(seq.to_be_bytes()))
}

pub(crate) fn position(cursor: &Cursor) -> Result<u64, StoreError> {
    let bytes: [u8; 8] = cursor
        .0
        .as_ref()
        .try_into()
        .map_err(|_| StoreError::unavailable("the cursor is of another store"))?;
    Ok(u64::from_be_bytes(bytes))
}
