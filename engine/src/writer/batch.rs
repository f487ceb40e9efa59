//! Writes that share one commit: each is decided against the index and what was decided before.

mod ending;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokenkeep_core::codec::{CodecError, RecordHeader};
use tokenkeep_core::{
    Ceiling, CeilingPolicy, DeviceId, Email, EndReason, InsertOutcome, ReplaceOutcome, StoreError,
    Timestamp, TokenRecord, Tokens, Version,
};

use crate::block::Block;
use crate::command::{Command, Prepared, Reply};
use crate::index::{LiveSlot, Slot};
use crate::shared::{Failure, Shared};

/// What was decided and is not on the disk yet.
pub(super) struct Batch<'a> {
    pub(super) shared: &'a Shared,
    /// What the index will say.
    pub(super) staged: HashMap<DeviceId, Slot>,
    /// The devices in the order in which they were first decided upon.
    pub(super) order: Vec<DeviceId>,
    /// Devices that a user gets in this batch.
    logins: HashMap<u64, Vec<DeviceId>>,
    /// Devices whose last use is to go to the disk some time.
    pub(super) touched: HashSet<DeviceId>,
    /// Rows to append.
    pub(super) blocks: Vec<Block>,
    pub(super) next_block: u64,
    answers: Vec<Answer>,
}

/// Tells a caller, when it is known whether the commit succeeded.
type Answer = Box<dyn FnOnce(Result<(), &Failure>) + Send>;

impl<'a> Batch<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            staged: HashMap::new(),
            order: Vec::new(),
            logins: HashMap::new(),
            touched: HashSet::new(),
            blocks: Vec::new(),
            next_block: shared.next_block.load(std::sync::atomic::Ordering::Acquire),
            answers: Vec::new(),
        }
    }

    /// Decides `command`; the answer waits for the commit.
    pub(super) fn carry_out(&mut self, command: Command) {
        match command {
            Command::Insert { record, replaces, ceiling, now, reply } => {
                let outcome = self.insert(*record, replaces, ceiling, now);
                self.answer(reply, outcome);
            }
            Command::Replace { expected, record, tokens, now, reply } => {
                let outcome = self.replace(expected, *record, tokens, now);
                self.answer(reply, outcome);
            }
            Command::Remove { device, expected, reason, now, reply } => {
                let outcome = self.remove(device, expected, reason, now);
                self.answer(reply, outcome);
            }
            Command::RemoveAllOf { email, except, reason, now, reply } => {
                let outcome = self.remove_all_of(&email, except, reason, now);
                self.answer(reply, outcome);
            }
            Command::Import { record, intent, now, reply } => {
                let outcome = self.import(*record, intent, now);
                self.answer(reply, outcome);
            }
            Command::Touch { device, now, reply } => {
                self.touch(device, now);
                self.answer(reply, Ok(()));
            }
            Command::Lease { device, expected, holder, until, now, reply } => {
                let outcome = self.lease(device, expected, holder, until, now);
                self.answer(reply, outcome);
            }
            Command::ExtendLease { device, holder, until, now, reply } => {
                let extended = self.extend_lease(device, holder, until, now);
                self.answer(reply, Ok(extended));
            }
            Command::Release { device, holder, release, now, reply } => {
                let outcome = self.release(device, holder, release, now);
                self.answer(reply, outcome);
            }
            // The writer keeps these for itself.
            Command::Upkeep(_) => {}
        }
    }

    /// Answers everybody.
    pub(super) fn answer_all(self, outcome: Result<(), &Failure>) {
        for answer in self.answers {
            answer(outcome);
        }
    }

    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, StoreError>) {
        self.answers.push(Box::new(|outcome| match outcome {
            Ok(()) => reply.send(answer),
            Err(failure) => reply.send(Err(failure.clone().into())),
        }));
    }

    fn insert(
        &mut self,
        login: Prepared,
        replaces: Option<DeviceId>,
        ceiling: Option<Ceiling>,
        now: Timestamp,
    ) -> Result<InsertOutcome, StoreError> {
        let device = login.record.device_id;
        if self.slot(device).is_some() {
            return Ok(InsertOutcome::Taken);
        }
        let email = &login.record.email;
        let Some(evicted) = self.over_ceiling(email, replaces, ceiling, now)? else {
            return Ok(InsertOutcome::CeilingReached);
        };
        let evicted = evicted.into_iter().map(|device| (device, EndReason::Evicted));
        let ends = replaces.map(|device| (device, EndReason::Replaced)).into_iter().chain(evicted);
        let displaced = self.end_all(email, ends, now)?;
        let record = self.store(login, None, now)?;
        Ok(InsertOutcome::Inserted { record, displaced })
    }

    fn replace(
        &mut self,
        expected: Version,
        new: Prepared,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        let device = new.record.device_id;
        let Some(mut slot) = self.live(device, now) else {
            return Ok(ReplaceOutcome::Gone(self.end_reason(device, now)));
        };
        if slot.version != expected {
            return Ok(ReplaceOutcome::Conflict(self.record(device, &slot)?));
        }
        if tokens == Tokens::Renewed {
            slot.intent = None;
        }
        Ok(ReplaceOutcome::Replaced(self.store(new, Some(slot), now)?))
    }

    pub(super) fn touch(&mut self, device: DeviceId, now: Timestamp) {
        let Some(mut slot) = self.live(device, now) else { return };
        if now > slot.last_seen_at && !slot.is_suspect {
            slot.touch(now);
            slot.complete_cached();
            self.stage(device, Slot::Live(slot));
            self.touched.insert(device);
        }
    }

    /// Appends the rows of a record that takes the place of `old`, and stages its slot.
    pub(super) fn store(
        &mut self,
        new: Prepared,
        old: Option<LiveSlot>,
        now: Timestamp,
    ) -> Result<Arc<TokenRecord>, StoreError> {
        let Prepared { record, bytes } = new.sealed_by(&self.shared.ring, &self.shared.store)?;
        let device = record.device_id;
        let user = self.shared.index.user(record.email.as_str());
        let seq = self.append_bytes(&bytes.header, &bytes.body);
        let mut slot = LiveSlot::new(seq, &RecordHeader::of(&record), user);
        if old.as_ref().is_none_or(|old| old.user != user) {
            self.logins.entry(user).or_default().push(device);
        }
        if let Some(old) = old {
            if old.last_seen_at > slot.last_seen_at {
                // The caller sealed an earlier time, and cannot be asked again.
                slot.take_use(old.last_seen_at, old.previous_visit_at());
                self.append_touch(device, &mut slot)?;
            }
            // It is bound to the version before.
            slot.intent = old.intent;
            self.append_intent(device, &slot)?;
        }
        let record = Arc::new(slot.completed(record));
        slot.cached = Some(Arc::clone(&record));
        debug_assert!(slot.is_dead(now) == record.is_dead(now), "slot and record agree");
        self.stage(device, Slot::Live(slot));
        Ok(record)
    }

    /// What the index says of `device` once this batch is published.
    pub(super) fn slot(&self, device: DeviceId) -> Option<Slot> {
        match self.staged.get(&device) {
            Some(staged) => Some(staged.clone()),
            None => self.shared.index.slot(device),
        }
    }

    pub(super) fn live(&self, device: DeviceId, now: Timestamp) -> Option<LiveSlot> {
        match self.slot(device) {
            Some(Slot::Live(slot)) if !slot.is_dead(now) => Some(slot),
            _ => None,
        }
    }

    /// The record of `slot`; one that this batch has staged is always at hand.
    pub(super) fn record(
        &self,
        device: DeviceId,
        slot: &LiveSlot,
    ) -> Result<Arc<TokenRecord>, StoreError> {
        if let Some(record) = &slot.cached {
            return Ok(Arc::clone(record));
        }
        let record = self.shared.read(&self.shared.snapshot()?, device, slot)?;
        record.ok_or_else(|| self.shared.unreadable(device, CodecError::Missing))
    }

    pub(super) fn stage(&mut self, device: DeviceId, slot: Slot) {
        if self.staged.insert(device, slot).is_none() {
            self.order.push(device);
        }
    }

    /// Which devices of `email` must go for one more; `None` if there is no place.
    fn over_ceiling(
        &self,
        email: &Email,
        replaced: Option<DeviceId>,
        ceiling: Option<Ceiling>,
        now: Timestamp,
    ) -> Result<Option<Vec<DeviceId>>, StoreError> {
        let Some(Ceiling { devices: most, policy }) = ceiling else { return Ok(Some(Vec::new())) };
        let mut counted = self.devices_of(email);
        counted.retain(|(device, slot)| Some(*device) != replaced && !slot.is_dead(now));
        if counted.len() < most.get() {
            return Ok(Some(Vec::new()));
        }
        let mut records = Vec::new();
        for (device, slot) in counted {
            match self.record(device, &slot) {
                Ok(record) => records.push(record),
                // It takes nobody's place.
                Err(StoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        records.retain(|record| record.email == *email);
        let excess = (records.len() + 1).saturating_sub(most.get());
        if excess > 0 && policy == CeilingPolicy::Reject {
            return Ok(None);
        }
        records.sort_by_key(|record| (record.last_seen_at, record.created_at, record.device_id));
        Ok(Some(records.iter().take(excess).map(|record| record.device_id).collect()))
    }

    /// The devices of `email` that have not ended, be they dead, and those of an email with the
    /// same hash.
    fn devices_of(&self, email: &Email) -> Vec<(DeviceId, LiveSlot)> {
        let user = self.shared.index.user(email.as_str());
        let lists = self.shared.index.lists();
        let mut devices: Vec<DeviceId> = lists.devices_of(user).collect();
        devices.extend(self.logins.get(&user).into_iter().flatten());
        devices.sort_unstable();
        devices.dedup();
        let there = |device| match self.slot(device) {
            Some(Slot::Live(slot)) if slot.user == user => Some((device, slot)),
            _ => None,
        };
        devices.into_iter().filter_map(there).collect()
    }
}
