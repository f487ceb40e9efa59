//! The index in memory: which row is the newest of a device, and what follows from it.

mod cache;
mod lists;
#[cfg(test)]
mod schedules;
mod slot;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokenkeep_core::{DeviceId, Email, Timestamp, TokenRecord};

use crate::block::Size;
use cache::Cache;
pub(crate) use lists::Lists;
use slot::Outline;
pub(crate) use slot::{EndedSlot, LiveSlot, Slot};

/// What is known of each device. Ids are drawn at random by us, so a quick hash will do.
pub(crate) type Slots = papaya::HashMap<DeviceId, Slot, foldhash::fast::RandomState>;

/// Everything that is known without reading the disk.
///
/// `slots` is read without a lock. `lists` is what concerns several devices at once; whoever
/// publishes holds it, so that a list is never seen half done. Only the writer changes either,
/// but for the cached records.
#[derive(Debug)]
pub(crate) struct Index {
    slots: Slots,
    lists: RwLock<Lists>,
    cache: Cache,
    hasher: RandomState,
    /// What is kept of a hash: all of it, but in tests.
    hash_mask: u64,
}

impl Index {
    pub(crate) fn new(cache_bytes: usize, hash_mask: u64) -> Self {
        Self {
            slots: Slots::default(),
            lists: RwLock::default(),
            cache: Cache::new(cache_bytes),
            hasher: RandomState::new(),
            hash_mask,
        }
    }

    /// Stands for an email in the index: a keyed hash, so that nobody can make two collide. Should
    /// two do so by chance, whoever looks at the records tells them apart.
    pub(crate) fn user(&self, email: &str) -> u64 {
        self.hasher.hash_one(email) & self.hash_mask
    }

    /// Looks at the slot of `device`, if there is one.
    pub(crate) fn with<T>(&self, device: DeviceId, look: impl FnOnce(&Slot) -> T) -> Option<T> {
        self.slots.pin().get(&device).map(look)
    }

    /// A copy of the slot of `device`.
    pub(crate) fn slot(&self, device: DeviceId) -> Option<Slot> {
        self.with(device, Slot::clone)
    }

    pub(crate) fn lists(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks out whoever looks at several devices at once.
    pub(crate) fn publish(&self) -> Publication<'_> {
        Publication {
            index: self,
            lists: self.lists.write().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The slots, for whoever fills the index of a store that is opened.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Makes the lists of slots that were filled in; so much is in the file. In one go, it is far
    /// cheaper than keeping them in line with each slot.
    pub(crate) fn make_lists(&self, size: Size) {
        let slots = self.slots.pin();
        let outlines = slots.iter().map(|(device, slot)| (*device, slot.outline()));
        *self.publish().lists_mut() = Lists::of(outlines, size);
    }

    /// Every device with a slot.
    pub(crate) fn devices(&self) -> Vec<DeviceId> {
        self.slots.pin().keys().copied().collect()
    }

    /// Keeps a record that was read from the row `seq`, unless the slot has moved on.
    pub(crate) fn keep(&self, device: DeviceId, seq: u64, record: &Arc<TokenRecord>) {
        let intent = record.refresh_intent;
        let slots = self.slots.pin();
        let outcome = slots.compute(device, |entry| match entry {
            Some((_, Slot::Live(slot)))
                if slot.seq == seq
                    && slot.cached.is_none()
                    && slot.last_seen_at == record.last_seen_at
                    && slot.intent() == intent =>
            {
                papaya::Operation::Insert(slot.caching(Some(Arc::clone(record))))
            }
            _ => papaya::Operation::Abort(()),
        });
        if let papaya::Compute::Updated { .. } = outcome {
            self.cache.exchange(device, None, Some(record));
            self.evict();
        }
    }

    /// Lets go of cached records until they fit the budget: those that were not read since the
    /// hand last came by.
    pub(crate) fn evict(&self) {
        // Two rounds: in the second, nothing has been used since the first.
        for _ in 0..2 * self.cache.entries() {
            let Some(candidate) = self.cache.candidate() else { return };
            let slots = self.slots.pin();
            let outcome = slots.compute(candidate.device, |entry| match entry {
                Some((_, Slot::Live(slot))) if slot.cached.is_some() => {
                    if slot.used.take() || !candidate.over_budget {
                        return papaya::Operation::Abort(true);
                    }
                    papaya::Operation::Insert(slot.caching(None))
                }
                _ => papaya::Operation::Abort(false),
            });
            match outcome {
                papaya::Compute::Updated { old: (_, old), .. } => {
                    self.cache.exchange(candidate.device, old.cached().map(AsRef::as_ref), None);
                }
                papaya::Compute::Aborted(true) => self.cache.second_chance(candidate.device),
                _ => {}
            }
        }
    }

    /// Records and bytes that are cached.
    pub(crate) fn cached(&self) -> (u64, u64) {
        self.cache.size()
    }

    /// An estimate of the memory that the index takes without cached records, in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        let devices = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        devices.saturating_mul(BYTES_PER_DEVICE)
    }

    /// The devices of `email` with a slot that is no tombstone.
    pub(crate) fn devices_of(&self, lists: &Lists, email: &Email) -> Vec<(DeviceId, LiveSlot)> {
        let live = |device| match self.slot(device) {
            Some(Slot::Live(slot)) => Some((device, slot)),
            _ => None,
        };
        lists.devices_of(self.user(email.as_str())).filter_map(live).collect()
    }
}

/// Measured with a million devices, one or three of each user: 172 to 182 allocated, 192 to 200
/// resident.
const BYTES_PER_DEVICE: u64 = 190;

/// The index while it is changed.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    index: &'a Index,
    lists: RwLockWriteGuard<'a, Lists>,
}

impl Publication<'_> {
    /// Puts a slot in place of what is there, or takes it away.
    pub(crate) fn put(&mut self, device: DeviceId, slot: Option<Slot>) {
        let old = self.index.with(device, Slot::outline);
        self.exchange(device, slot, old, old.map(|old| old.queued));
    }

    /// Lets go of what died by `certain`, of at most `limit` devices; says how many had a record.
    pub(crate) fn forget_dead(&mut self, certain: Timestamp, limit: usize) -> usize {
        let mut records = 0;
        for _ in 0..limit {
            let Some(device) = self.lists.pop_due(certain) else { break };
            let Some(slot) = self.index.slot(device) else { continue };
            let old = slot.outline();
            let lives = slot.forget_at() > certain;
            records += usize::from(!lives && old.user.is_some());
            self.exchange(device, Some(slot).filter(|_| lives), Some(old), None);
        }
        records
    }

    /// `queued` is the second at which the device stands in the queue.
    fn exchange(
        &mut self,
        device: DeviceId,
        slot: Option<Slot>,
        old: Option<Outline>,
        queued: Option<u32>,
    ) {
        let queued = self.lists.queue(device, queued, slot.as_ref());
        let slot = slot.map(|slot| slot.queued_at(queued));
        let new = slot.as_ref().map(Slot::outline);
        let record = slot.as_ref().and_then(Slot::cached).cloned();
        let slots = self.index.slots.pin();
        let before = match slot {
            Some(slot) => slots.insert(device, slot),
            None => slots.remove(&device),
        };
        let before = before.and_then(Slot::cached).map(AsRef::as_ref);
        self.index.cache.exchange(device, before, record.as_deref());
        self.lists.exchange(device, old.as_ref(), new.as_ref());
    }

    pub(crate) fn lists_mut(&mut self) -> &mut Lists {
        &mut self.lists
    }
}

impl Drop for Publication<'_> {
    fn drop(&mut self) {
        self.index.evict();
    }
}

#[cfg(any(test, feature = "testing"))]
impl Index {
    /// The counts as they are kept, and as they are found by looking at every slot.
    pub(crate) fn recount(&self) -> (lists::Counts, lists::Counts) {
        let lists = self.lists();
        let mut found = Lists::default();
        for device in self.devices() {
            let outline = self.with(device, Slot::outline);
            found.exchange(device, None, outline.as_ref());
        }
        (lists.counts, lists::Counts { size: lists.counts.size, ..found.counts })
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::codec::RecordHeader;

    use super::*;
    use crate::testing::record;

    #[test]
    fn a_record_that_was_superseded_while_it_was_read_is_not_cached() {
        let index = Index::new(1 << 20, u64::MAX);
        let device = DeviceId::from_bytes([1; 16]);
        let read = Arc::new(record(device, Timestamp::from_unix_seconds(1)));
        let slot = |seq| Some(Slot::Live(LiveSlot::new(seq, &RecordHeader::of(&read), 0)));
        index.publish().put(device, slot(2));
        index.keep(device, 1, &read);
        assert_eq!(index.cached(), (0, 0));
        index.keep(device, 2, &read);
        assert_eq!(index.cached().0, 1);
        index.publish().put(device, None);
        index.keep(device, 2, &read);
        assert_eq!(index.cached(), (0, 0));
    }
}
