//! The store as the contract has it, as simply as can be.

use std::collections::BTreeMap;
use std::time::Duration;

use tokenkeep_core::{
    CeilingPolicy, DeviceId, Email, EndReason, HolderId, Insert, RefreshIntent, Release, Timestamp,
    TokenRecord, Tokens, Version,
};

use super::known::Known;

/// The whole store.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) devices: BTreeMap<DeviceId, Known>,
    /// Devices that were let go of because they were dead for certain. They are not there, until
    /// the store is opened the next time. After a failure it may be unknown what they were.
    pub(super) gone: BTreeMap<DeviceId, Vec<Known>>,
    /// Devices that were there and are not to be seen; their ids may be taken, or free again:
    /// rows of them that were still there were found again when the store was opened, and why
    /// a session ended may be forgotten or not.
    pub(super) faded: BTreeMap<DeviceId, Vec<Known>>,
}

/// How an operation went, in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Went {
    Done,
    Taken,
    Ceiling,
    Conflict,
    Gone(Option<EndReason>),
    Held(Timestamp),
    /// These sessions ended, in order.
    Ended(Vec<(DeviceId, EndReason)>),
    Answer(bool),
}

impl Went {
    /// The word for it in a tally.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Taken => "taken",
            Self::Ceiling => "ceiling",
            Self::Conflict => "conflict",
            Self::Gone(None) => "gone",
            Self::Gone(Some(_)) => "gone for a reason",
            Self::Held(_) => "held",
            Self::Ended(ended) if ended.is_empty() => "ended nothing",
            Self::Ended(ended) if ended.len() == 1 => "ended one",
            Self::Ended(_) => "ended several",
            Self::Answer(true) => "true",
            Self::Answer(false) => "false",
        }
    }
}

impl Model {
    /// Lets go of a device.
    pub(super) fn fade(&mut self, device: DeviceId) {
        match self.devices.remove(&device) {
            Some(known @ Known::Live { .. }) => drop(self.gone.insert(device, vec![known])),
            Some(known) => drop(self.faded.insert(device, vec![known])),
            None => {}
        }
    }

    /// Takes into account that `other` explains what is seen as well: what is gone may have been
    /// what it says.
    pub(super) fn doubt(&mut self, other: &Self) {
        for (device, known) in &mut self.gone {
            let gone = other.gone.get(device).into_iter().flatten();
            for other in gone.chain(other.devices.get(device)) {
                if !known.iter().any(|known| known.is_like(other)) {
                    known.push(other.clone());
                }
            }
        }
    }

    pub(super) fn live(&self, device: DeviceId, now: Timestamp) -> Option<&TokenRecord> {
        match self.devices.get(&device) {
            Some(Known::Live { record, .. }) if !record.is_dead(now) => Some(record),
            _ => None,
        }
    }

    pub(super) fn live_of(&self, email: &Email, now: Timestamp) -> Vec<&TokenRecord> {
        let mut records: Vec<_> = self
            .devices
            .keys()
            .filter_map(|device| self.live(*device, now))
            .filter(|record| record.email == *email)
            .collect();
        records.sort_by_key(|record| (record.created_at, record.device_id));
        records
    }

    fn live_mut(&mut self, device: DeviceId, now: Timestamp) -> Option<&mut TokenRecord> {
        match self.devices.get_mut(&device) {
            Some(Known::Live { record, .. }) if !record.is_dead(now) => Some(record),
            _ => None,
        }
    }

    fn put(&mut self, record: TokenRecord) {
        let synced_last_seen_at = record.last_seen_at;
        let device = record.device_id;
        self.gone.remove(&device);
        self.faded.remove(&device);
        self.devices.insert(device, Known::Live { record: Box::new(record), synced_last_seen_at });
    }

    fn end(&mut self, device: DeviceId, reason: EndReason, now: Timestamp) {
        let forget_at = now + ANSWERABLE;
        self.devices.insert(device, Known::Ended { reason, forget_at });
    }

    /// What expired stays so, whatever the clock says later.
    fn bury(&mut self, device: DeviceId, now: Timestamp) {
        if matches!(self.devices.get(&device), Some(Known::Live { record, .. }) if record.is_dead(now))
        {
            self.end(device, EndReason::Expired, now);
        }
    }

    fn all_of(&self, email: &Email) -> Vec<DeviceId> {
        let is_of =
            |known: &Known| matches!(known, Known::Live { record, .. } if record.email == *email);
        self.devices.iter().filter(|(_, known)| is_of(known)).map(|(device, _)| *device).collect()
    }

    fn gone(&self, device: DeviceId, now: Timestamp) -> Went {
        Went::Gone(match self.devices.get(&device) {
            None => None,
            Some(Known::Live { .. }) => Some(EndReason::Expired),
            Some(Known::Ended { reason, forget_at }) => (now < *forget_at).then_some(*reason),
        })
    }

    pub(super) fn insert(&mut self, insert: Insert, now: Timestamp) -> Went {
        let Insert { mut record, replaces, ceiling } = insert;
        if self.devices.contains_key(&record.device_id) {
            return Went::Taken;
        }
        let others: Vec<_> = self
            .live_of(&record.email, now)
            .iter()
            .map(|r| (r.last_seen_at, r.created_at, r.device_id))
            .collect();
        let replaced = replaces.filter(|old| others.iter().any(|(_, _, device)| device == old));
        let mut counted: Vec<_> =
            others.into_iter().filter(|(_, _, d)| Some(*d) != replaced).collect();
        counted.sort_unstable();
        let mut ended: Vec<_> = replaced.map(|d| (d, EndReason::Replaced)).into_iter().collect();
        if let Some(ceiling) = ceiling {
            let excess = (counted.len() + 1).saturating_sub(ceiling.devices.get());
            if excess > 0 && ceiling.policy == CeilingPolicy::Reject {
                return Went::Ceiling;
            }
            ended.extend(counted.iter().take(excess).map(|(_, _, d)| (*d, EndReason::Evicted)));
        }
        for (device, reason) in &ended {
            self.end(*device, *reason, now);
        }
        if let Some(before) = replaces.filter(|old| self.all_of(&record.email).contains(old)) {
            self.bury(before, now);
        }
        (record.version, record.refresh_intent) = (Version::FIRST, None);
        self.put(record);
        Went::Ended(ended)
    }

    pub(super) fn replace(
        &mut self,
        expected: Version,
        mut new: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Went {
        let Some(old) = self.live(new.device_id, now) else { return self.gone(new.device_id, now) };
        if old.version != expected {
            return Went::Conflict;
        }
        new.version = expected.next();
        if old.last_seen_at > new.last_seen_at {
            (new.last_seen_at, new.previous_visit_at) = (old.last_seen_at, old.previous_visit_at);
        }
        new.refresh_intent = old.refresh_intent.filter(|_| tokens == Tokens::Kept);
        self.put(new);
        Went::Done
    }

    pub(super) fn remove(
        &mut self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Went {
        let Some(record) = self.live(device, now) else {
            let gone = self.gone(device, now);
            if let Some(Known::Live { record, .. }) = self.devices.get(&device)
                && expected.is_none_or(|expected| expected == record.version)
            {
                self.bury(device, now);
            }
            return gone;
        };
        if expected.is_some_and(|expected| expected != record.version) {
            return Went::Conflict;
        }
        self.end(device, reason, now);
        Went::Done
    }

    pub(super) fn remove_all_of(
        &mut self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Went {
        let ended: Vec<_> = self
            .live_of(email, now)
            .iter()
            .filter(|record| Some(record.device_id) != except)
            .map(|record| (record.device_id, reason))
            .collect();
        for (device, reason) in &ended {
            self.end(*device, *reason, now);
        }
        for device in self.all_of(email) {
            if Some(device) != except {
                self.bury(device, now);
            }
        }
        Went::Ended(ended)
    }

    pub(super) fn touch(&mut self, device: DeviceId, now: Timestamp) {
        if let Some(record) = self.live_mut(device, now) {
            record.touch(now);
        }
    }

    pub(super) fn lease(
        &mut self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Went {
        let gone = self.gone(device, now);
        let Some(record) = self.live_mut(device, now) else { return gone };
        if record.version != expected {
            return Went::Conflict;
        }
        let (mut since, mut uncertain) = (now, false);
        if let Some(old) = record.refresh_intent {
            if old.is_held(now) && old.holder != holder {
                return Went::Held(old.leased_until);
            }
            since = old.since;
            uncertain = old.uncertain || !old.is_held(now);
        }
        let intent = RefreshIntent { holder, since, leased_until: until, uncertain };
        record.refresh_intent = Some(intent);
        Went::Done
    }

    pub(super) fn extend_lease(
        &mut self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Went {
        let intent = self.live_mut(device, now).and_then(|record| record.refresh_intent.as_mut());
        let held = intent.filter(|intent| intent.holder == holder && intent.is_held(now));
        Went::Answer(held.map(|intent| intent.leased_until = until).is_some())
    }

    pub(super) fn release(
        &mut self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) {
        let Some(record) = self.live_mut(device, now) else { return };
        let Some(intent) = record.refresh_intent.filter(|intent| intent.holder == holder) else {
            return;
        };
        let leased_until = intent.leased_until.min(now);
        record.refresh_intent = match release {
            Release::NotSent if !intent.uncertain => None,
            _ => Some(RefreshIntent { leased_until, uncertain: true, ..intent }),
        };
    }

    /// What becomes of a failed commit that is on the disk all the same: of a lease that was
    /// there `before`, memory knows more than the file; of another one nobody knows.
    pub(super) fn found_on_disk(&mut self, before: &Self) {
        for (device, known) in &mut self.devices {
            let Known::Live { record, .. } = known else { continue };
            let Some(intent) = &mut record.refresh_intent else { continue };
            let old = match before.devices.get(device) {
                Some(Known::Live { record, .. }) => record.refresh_intent,
                _ => None,
            };
            match old {
                Some(old) if (old.holder, old.since) == (intent.holder, intent.since) => {
                    *intent = old
                }
                _ => (intent.leased_until, intent.uncertain) = (Timestamp::default(), true),
            }
        }
    }

    /// What opening does: nobody holds a lease any more, and nothing is gone for good.
    pub(super) fn reopen(&mut self) {
        self.faded.append(&mut self.gone);
        self.devices.values_mut().for_each(Known::reopen);
    }
}

pub(super) const ANSWERABLE: Duration = Duration::from_secs(24 * 60 * 60);
