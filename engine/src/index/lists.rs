//! What concerns several devices at once: users, open intents, the expiry queue, counts.

use std::collections::BTreeSet;

use tokenkeep_core::{DeviceId, Timestamp};

use super::Slot;
use super::slot::Outline;

/// Users, intents, expiry queue and counts, always in line with the slots.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// Every device with a record by user, expired ones included until they are forgotten.
    users: BTreeSet<(u64, DeviceId)>,
    intents: BTreeSet<DeviceId>,
    /// Each device that is not due, once, at a second not later than the one it is due at. A
    /// device whose life was prolonged is moved when its old second comes: a refresh costs the
    /// queue nothing.
    queue: BTreeSet<(u32, DeviceId)>,
    pub(crate) counts: Counts,
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records that are not due.
    pub(crate) devices: u64,
    /// Users with a record that is not due.
    pub(crate) users: u64,
    /// Records that are due and not forgotten yet.
    pub(crate) due_devices: u64,
    /// Rows in the file.
    pub(crate) rows: u64,
    /// Rows in the file that must stay.
    pub(crate) needed_rows: u64,
}

impl Counts {
    pub(crate) fn garbage(&self) -> u64 {
        self.rows.saturating_sub(self.needed_rows)
    }
}

impl Lists {
    pub(crate) fn devices_of(&self, user: u64) -> impl Iterator<Item = DeviceId> + '_ {
        let (first, last) = (DeviceId::from_bytes([0; 16]), DeviceId::from_bytes([255; 16]));
        self.users.range((user, first)..=(user, last)).map(|(_, device)| *device)
    }

    pub(crate) fn intents(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.intents.iter().copied()
    }

    /// The devices that may have died by `now` and are not known to be due.
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
        let due_at = slot.filter(|slot| !slot.is_due()).map(|slot| second_after(slot.due_at()));
        match (queued, due_at) {
            (Some(queued), Some(due_at)) if queued <= due_at => return queued,
            (Some(queued), _) => drop(self.queue.remove(&(queued, device))),
            (None, _) => {}
        }
        if let Some(second) = due_at {
            self.queue.insert((second, device));
        }
        due_at.unwrap_or_default()
    }

    /// Takes the first device off the queue if its second has come.
    pub(super) fn pop_due(&mut self, certain: Timestamp) -> Option<DeviceId> {
        let first = *self.queue.first().filter(|(second, _)| starts(*second) <= certain)?;
        self.queue.remove(&first);
        Some(first.1)
    }

    /// Exchanges the old outline of a device for its new one. `is_counted` tells of the other
    /// devices of a user.
    pub(super) fn exchange(
        &mut self,
        device: DeviceId,
        old: Option<&Outline>,
        new: Option<&Outline>,
        is_counted: impl Fn(DeviceId) -> bool,
    ) {
        let rows = |outline: Option<&Outline>| {
            outline.map_or(0, |outline| if outline.due { 0 } else { outline.rows })
        };
        self.counts.needed_rows = self.counts.needed_rows + rows(new) - rows(old);
        let has_intent = |outline: Option<&Outline>| outline.is_some_and(|o| o.has_intent);
        match (has_intent(old), has_intent(new)) {
            (false, true) => drop(self.intents.insert(device)),
            (true, false) => drop(self.intents.remove(&device)),
            _ => {}
        }
        let due = |outline: Option<&Outline>| {
            u64::from(outline.is_some_and(|o| o.due && o.user.is_some()))
        };
        self.counts.due_devices = self.counts.due_devices + due(new) - due(old);
        let counted = |outline: Option<&Outline>| outline.filter(|o| !o.due).and_then(|o| o.user);
        let user = |outline: Option<&Outline>| outline.and_then(|outline| outline.user);
        if (user(old), counted(old)) == (user(new), counted(new)) {
            return;
        }
        if let Some(user) = user(old) {
            self.users.remove(&(user, device));
        }
        if let Some(user) = counted(old) {
            self.counts.devices -= 1;
            let is_only = !self.devices_of(user).any(&is_counted);
            self.counts.users -= u64::from(is_only);
        }
        if let Some(user) = counted(new) {
            self.counts.devices += 1;
            let is_only = !self.devices_of(user).any(&is_counted);
            self.counts.users += u64::from(is_only);
        }
        if let Some(user) = user(new) {
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
