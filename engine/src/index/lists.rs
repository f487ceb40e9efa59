//! What concerns several devices at once: users, open intents, the expiry queue, counts.

use std::collections::BTreeSet;
use std::thread::Builder;

use tokenkeep_core::{DeviceId, Timestamp};

use super::Slot;
use super::slot::Outline;
use crate::block::Size;

/// Users, intents, expiry queue and counts, always in line with the slots.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// Every device with a record by user, dead ones included until they are forgotten.
    users: BTreeSet<(u64, DeviceId)>,
    intents: BTreeSet<DeviceId>,
    /// Each device once, at a second not later than the one at which it may be forgotten. A
    /// device whose life was prolonged is moved when its old second comes: a refresh costs the
    /// queue nothing.
    queue: BTreeSet<(u32, DeviceId)>,
    pub(crate) counts: Counts,
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records.
    pub(crate) devices: u64,
    /// Users with a record.
    pub(crate) users: u64,
    /// Everything that is in the file.
    pub(crate) size: Size,
    /// Rows in the file that must stay.
    pub(crate) needed_rows: u64,
}

impl Counts {
    pub(crate) fn garbage(&self) -> u64 {
        self.garbage_size().rows
    }

    /// What is in the file and nobody needs. Every record that is needed has a body.
    pub(crate) fn garbage_size(&self) -> Size {
        Size {
            rows: self.size.rows.saturating_sub(self.needed_rows),
            bodies: self.size.bodies.saturating_sub(self.devices),
        }
    }
}

impl Lists {
    /// The lists of all of these slots, whose rows are in a file of this size.
    pub(super) fn of(slots: impl Iterator<Item = (DeviceId, Outline)>, size: Size) -> Self {
        let (mut users, mut queue) = (Vec::new(), Vec::new());
        let mut lists = Self::default();
        lists.counts.size = size;
        for (device, slot) in slots {
            lists.counts.needed_rows += slot.rows;
            queue.push((slot.queued, device));
            users.extend(slot.user.map(|user| (user, device)));
            if slot.has_intent {
                lists.intents.insert(device);
            }
        }
        std::thread::scope(|scope| {
            let queue = &mut queue;
            // If no thread is to be had, the set sorts.
            let _ = Builder::new().spawn_scoped(scope, || queue.sort_unstable());
            users.sort_unstable();
        });
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        lists.counts.devices = count(users.len());
        lists.counts.users = count(users.chunk_by(|(a, _), (b, _)| a == b).count());
        // A set that is made of what is sorted is filled, not split.
        (lists.users, lists.queue) = (users.into_iter().collect(), queue.into_iter().collect());
        lists
    }

    /// The second at which the queue looks at `slot`, if it stands nowhere.
    pub(super) fn second_of(slot: &Slot) -> u32 {
        second_after(slot.forget_at())
    }

    pub(crate) fn devices_of(&self, user: u64) -> impl Iterator<Item = DeviceId> + '_ {
        let (first, last) = (DeviceId::from_bytes([0; 16]), DeviceId::from_bytes([255; 16]));
        self.users.range((user, first)..=(user, last)).map(|(_, device)| *device)
    }

    fn has_devices(&self, user: u64) -> bool {
        self.devices_of(user).next().is_some()
    }

    pub(crate) fn intents(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.intents.iter().copied()
    }

    /// The devices that may have died by `now`.
    pub(crate) fn dying(&self, now: Timestamp) -> impl Iterator<Item = DeviceId> + '_ {
        let last = (second_after(now), DeviceId::from_bytes([255; 16]));
        self.queue.range(..=last).map(|(_, device)| *device)
    }

    /// Whether the expiry queue has something to look at.
    pub(crate) fn is_anything_due(&self, certain: Timestamp) -> bool {
        self.queue.first().is_some_and(|(second, _)| starts(*second) <= certain)
    }

    /// Sees to it that `slot` is queued early enough, and once; returns the second. `queued` is
    /// where the device stands.
    pub(super) fn queue(
        &mut self,
        device: DeviceId,
        queued: Option<u32>,
        slot: Option<&Slot>,
    ) -> u32 {
        let second = slot.map(Self::second_of);
        match (queued, second) {
            (Some(queued), Some(second)) if queued <= second => return queued,
            (Some(queued), _) => drop(self.queue.remove(&(queued, device))),
            (None, _) => {}
        }
        if let Some(second) = second {
            self.queue.insert((second, device));
        }
        second.unwrap_or_default()
    }

    /// Takes the first device off the queue if its second has come.
    pub(super) fn pop_due(&mut self, certain: Timestamp) -> Option<DeviceId> {
        let first = *self.queue.first().filter(|(second, _)| starts(*second) <= certain)?;
        self.queue.remove(&first);
        Some(first.1)
    }

    /// Exchanges the old outline of a device for its new one.
    pub(super) fn exchange(
        &mut self,
        device: DeviceId,
        old: Option<&Outline>,
        new: Option<&Outline>,
    ) {
        let rows = |outline: Option<&Outline>| outline.map_or(0, |outline| outline.rows);
        self.counts.needed_rows = self.counts.needed_rows + rows(new) - rows(old);
        let has_intent = |outline: Option<&Outline>| outline.is_some_and(|o| o.has_intent);
        match (has_intent(old), has_intent(new)) {
            (false, true) => drop(self.intents.insert(device)),
            (true, false) => drop(self.intents.remove(&device)),
            _ => {}
        }
        let user = |outline: Option<&Outline>| outline.and_then(|outline| outline.user);
        let (old, new) = (user(old), user(new));
        if old == new {
            return;
        }
        if let Some(user) = old {
            self.users.remove(&(user, device));
            self.counts.devices -= 1;
            self.counts.users -= u64::from(!self.has_devices(user));
        }
        if let Some(user) = new {
            self.counts.devices += 1;
            self.counts.users += u64::from(!self.has_devices(user));
            self.users.insert((user, device));
        }
    }
}

/// The first whole second that is not before `at`.
fn second_after(at: Timestamp) -> u32 {
    let seconds = at.as_unix_micros().max(0).unsigned_abs().div_ceil(1_000_000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn starts(second: u32) -> Timestamp {
    Timestamp::from_unix_seconds(i64::from(second))
}
