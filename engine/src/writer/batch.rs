//! Writes that share one commit: each is decided against the index and what was decided before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokenkeep_core::codec::{CodecError, Header, RecordHeader};
use tokenkeep_core::{
    Ceiling, CeilingPolicy, DeviceId, Email, EndReason, InsertOutcome, RefreshIntent,
    RemoveOutcome, Removed, ReplaceOutcome, StoreError, Timestamp, TokenRecord, Tokens, Verifier,
    Version,
};

use crate::block::{Block, Size};
use crate::command::{Command, Prepared, Reply};
use crate::index::{EndedSlot, LiveSlot, Slot};
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
        let others = self.live_devices_of(&login.record.email, now);
        let replaced = replaces.filter(|old| others.iter().any(|(device, _)| device == old));
        let counted: Vec<_> = others.iter().filter(|(d, _)| Some(*d) != replaced).collect();
        let Some(evicted) = over_ceiling(&counted, ceiling) else {
            return Ok(InsertOutcome::CeilingReached);
        };
        let ends = replaced.map(|device| (device, EndReason::Replaced));
        let ends = ends.into_iter().chain(evicted.into_iter().map(|d| (d, EndReason::Evicted)));
        let displaced = self.end_all(ends, now)?;
        let user = self.shared.index.user(login.record.email.as_str());
        if let Some(before) = replaces {
            self.bury(before, now, |slot| slot.user == user)?;
        }
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

    fn remove(
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

    fn remove_all_of(
        &mut self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Removed>, StoreError> {
        let mut devices = self.devices_of(email);
        devices.retain(|(device, _)| Some(*device) != except);
        let ends = devices.iter().map(|(device, _)| (*device, reason));
        let mut removed = self.end_all(ends, now)?;
        for (device, _) in devices {
            self.bury(device, now, |_| true)?;
        }
        removed.sort_by_key(|removed| (removed.record.created_at, removed.record.device_id));
        Ok(removed)
    }

    pub(super) fn touch(&mut self, device: DeviceId, now: Timestamp) {
        let Some(mut slot) = self.live(device, now) else { return };
        if now > slot.last_seen_at {
            slot.touch(now);
            slot.complete_cached();
            self.stage(device, Slot::Live(slot));
            self.touched.insert(device);
        }
    }

    /// Ends sessions of one user. One whose record cannot be read ends, too: it can do no harm
    /// any more, should its key be found again; it is not among those returned.
    fn end_all(
        &mut self,
        devices: impl Iterator<Item = (DeviceId, EndReason)>,
        now: Timestamp,
    ) -> Result<Vec<Removed>, StoreError> {
        let mut removed = Vec::new();
        for (device, reason) in devices {
            let Some(slot) = self.live(device, now) else { continue };
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
    fn bury(
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

    /// The verifier of a record that need not be readable otherwise; one that fits nobody if it
    /// cannot be found out.
    fn verifier(&self, device: DeviceId, slot: &LiveSlot) -> Result<Verifier, StoreError> {
        if let Some(record) = &slot.cached {
            return Ok(record.verifier);
        }
        let snapshot = self.shared.snapshot()?;
        match self.shared.read_verifier(&snapshot, device, slot.seq) {
            Ok(Some(verifier)) => Ok(verifier),
            Ok(None) | Err(StoreError::Unreadable { .. }) => Ok(Verifier::from_bytes([0; 32])),
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

    /// Appends the rows of a record that takes the place of `old`, and stages its slot.
    pub(super) fn store(
        &mut self,
        new: Prepared,
        old: Option<LiveSlot>,
        now: Timestamp,
    ) -> Result<Arc<TokenRecord>, StoreError> {
        let Prepared { record, bytes } = new;
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

    /// Why there is no live record of `device`, if that can be told.
    pub(super) fn end_reason(&self, device: DeviceId, now: Timestamp) -> Option<EndReason> {
        match self.slot(device)? {
            Slot::Ended(slot) => (now < slot.forget_at).then_some(slot.reason),
            Slot::Live(_) => Some(EndReason::Expired),
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

    /// Appends what amends the record of `slot` again, behind it.
    pub(super) fn amend(
        &mut self,
        device: DeviceId,
        slot: &mut LiveSlot,
    ) -> Result<(), StoreError> {
        if slot.has_touch {
            self.append_touch(device, slot)?;
        }
        self.append_intent(device, slot)
    }

    /// Appends a row for the last use that `slot` knows of.
    pub(super) fn append_touch(
        &mut self,
        device: DeviceId,
        slot: &mut LiveSlot,
    ) -> Result<(), StoreError> {
        let (last_seen_at, previous_visit_at) = (slot.last_seen_at, slot.previous_visit_at());
        self.append(&Header::Touch { device, last_seen_at, previous_visit_at })?;
        slot.has_touch = true;
        Ok(())
    }

    /// Appends a row for the intent of `slot`, if it has one.
    pub(super) fn append_intent(
        &mut self,
        device: DeviceId,
        slot: &LiveSlot,
    ) -> Result<(), StoreError> {
        let Some(RefreshIntent { holder, since, .. }) = slot.intent() else { return Ok(()) };
        self.append(&Header::Intent { device, version: slot.version, holder, since })?;
        Ok(())
    }

    /// Appends a row without a body.
    pub(super) fn append(&mut self, header: &Header<'_>) -> Result<u64, StoreError> {
        let header = header.encode().map_err(StoreError::unavailable)?;
        Ok(self.append_bytes(&header, &[]))
    }

    /// How much there is to append.
    pub(super) fn size(&self) -> Size {
        let mut size = Size::default();
        self.blocks.iter().for_each(|block| size.add(block.size));
        size
    }

    /// Appends a row that is bytes already.
    pub(super) fn append_bytes(&mut self, header: &[u8], body: &[u8]) -> u64 {
        match self.blocks.last_mut() {
            Some(last) if !last.is_full_for(header, body) => last.append(header, body),
            _ => {
                let mut block = Block::new(self.next_block);
                let seq = block.append(header, body);
                self.blocks.push(block);
                self.next_block += 1;
                seq
            }
        }
    }

    fn live_devices_of(&self, email: &Email, now: Timestamp) -> Vec<(DeviceId, LiveSlot)> {
        let mut devices = self.devices_of(email);
        devices.retain(|(_, slot)| !slot.is_dead(now));
        devices
    }

    /// The devices of `email` that have not ended, be they dead.
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

/// Which devices must go for one more; `None` if there is no place.
fn over_ceiling(
    devices: &[&(DeviceId, LiveSlot)],
    ceiling: Option<Ceiling>,
) -> Option<Vec<DeviceId>> {
    let Some(ceiling) = ceiling else { return Some(Vec::new()) };
    let excess = (devices.len() + 1).saturating_sub(ceiling.devices.get());
    match ceiling.policy {
        _ if excess == 0 => Some(Vec::new()),
        CeilingPolicy::Reject => None,
        CeilingPolicy::EvictLeastRecentlySeen => {
            let mut oldest = devices.to_vec();
            oldest.sort_by_key(|(device, slot)| (slot.last_seen_at, *device));
            Some(oldest.into_iter().take(excess).map(|(device, _)| *device).collect())
        }
    }
}
