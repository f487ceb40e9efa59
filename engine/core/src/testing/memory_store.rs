//! The store contract in a map: the model that other stores are compared with.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{
    CeilingPolicy, Cursor, DeviceId, Email, EndReason, Ended, HolderId, ImportOutcome, Insert,
    InsertOutcome, LeaseOutcome, Lookup, Page, RefreshIntent, Release, RemoveOutcome, Removed,
    ReplaceOutcome, StoreError, StoreId, StoreStats, Timestamp, TokenRecord, TokenStore, Tokens,
    Version,
};

/// Keeps records in memory. Nothing is sealed, nothing survives.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rows: HashMap<DeviceId, Row>,
    failing: bool,
}

#[derive(Debug)]
enum Row {
    Live(Arc<TokenRecord>),
    Ended(Ended),
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every write fail, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.state.lock().unwrap().failing = failing;
    }

    async fn read(&self) -> MutexGuard<'_, State> {
        // A real store waits here: others get their turn.
        tokio::task::yield_now().await;
        self.state.lock().unwrap()
    }

    async fn write(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        tokio::task::yield_now().await;
        let state = self.state.lock().unwrap();
        if state.failing {
            return Err(StoreError::unavailable("told to fail"));
        }
        Ok(state)
    }
}

impl State {
    fn live(&self, device: DeviceId, now: Timestamp) -> Option<Arc<TokenRecord>> {
        match self.rows.get(&device)? {
            Row::Live(record) if !record.is_dead(now) => Some(Arc::clone(record)),
            _ => None,
        }
    }

    fn lookup(&self, device: DeviceId, now: Timestamp) -> Lookup {
        match self.rows.get(&device) {
            Some(Row::Live(record)) if record.is_dead(now) => {
                Lookup::Ended(Ended { reason: EndReason::Expired, verifier: record.verifier })
            }
            Some(Row::Live(record)) => Lookup::Live(Arc::clone(record)),
            Some(Row::Ended(ended)) => Lookup::Ended(*ended),
            None => Lookup::Absent,
        }
    }

    fn reason(&self, device: DeviceId, now: Timestamp) -> Option<EndReason> {
        match self.lookup(device, now) {
            Lookup::Ended(ended) => Some(ended.reason),
            _ => None,
        }
    }

    fn of_email(&self, email: &Email, now: Timestamp) -> Vec<Arc<TokenRecord>> {
        let mut records = self.all_of(email);
        records.retain(|record| !record.is_dead(now));
        records.sort_by_key(|record| (record.created_at, record.device_id));
        records
    }

    fn put(&mut self, record: TokenRecord) -> Arc<TokenRecord> {
        let record = Arc::new(record);
        self.rows.insert(record.device_id, Row::Live(Arc::clone(&record)));
        record
    }

    fn end(&mut self, record: Arc<TokenRecord>, reason: EndReason) -> Removed {
        let ended = Ended { reason, verifier: record.verifier };
        self.rows.insert(record.device_id, Row::Ended(ended));
        Removed { record, reason }
    }

    /// Sees to it that `device` stays dead if it is.
    fn bury(&mut self, device: DeviceId, now: Timestamp) {
        if let Some(Row::Live(record)) = self.rows.get(&device)
            && record.is_dead(now)
        {
            let record = Arc::clone(record);
            self.end(record, EndReason::Expired);
        }
    }

    /// Every record of `email` that is there, be it dead.
    fn all_of(&self, email: &Email) -> Vec<Arc<TokenRecord>> {
        let there = self.rows.values().filter_map(|row| match row {
            Row::Live(record) if record.email == *email => Some(Arc::clone(record)),
            _ => None,
        });
        there.collect()
    }

    /// What must go so that the login of `insert` fits under its ceiling.
    fn evicted(&self, insert: &Insert, now: Timestamp) -> Option<Vec<Arc<TokenRecord>>> {
        let Some(ceiling) = insert.ceiling else { return Some(Vec::new()) };
        let mut others = self.of_email(&insert.record.email, now);
        others.retain(|other| Some(other.device_id) != insert.replaces);
        let surplus = (others.len() + 1).saturating_sub(ceiling.devices.get());
        if surplus > 0 && ceiling.policy == CeilingPolicy::Reject {
            return None;
        }
        others.sort_by_key(|other| (other.last_seen_at, other.created_at));
        others.truncate(surplus);
        Some(others)
    }
}

impl TokenStore for MemoryStore {
    fn id(&self) -> StoreId {
        StoreId::from_bytes([0; 16])
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        Ok(self.read().await.lookup(device, now))
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        let mut state = self.write().await?;
        if state.rows.contains_key(&insert.record.device_id) {
            return Ok(InsertOutcome::Taken);
        }
        let Some(evicted) = state.evicted(&insert, now) else {
            return Ok(InsertOutcome::CeilingReached);
        };
        let replaced = insert
            .replaces
            .and_then(|device| state.live(device, now))
            .filter(|before| before.email == insert.record.email);
        if let Some(before) = insert.replaces
            && state.all_of(&insert.record.email).iter().any(|record| record.device_id == before)
        {
            state.bury(before, now);
        }
        let mut displaced: Vec<Removed> =
            replaced.into_iter().map(|record| state.end(record, EndReason::Replaced)).collect();
        displaced.extend(evicted.into_iter().map(|record| state.end(record, EndReason::Evicted)));
        let fresh = TokenRecord { version: Version::FIRST, refresh_intent: None, ..insert.record };
        Ok(InsertOutcome::Inserted { record: state.put(fresh), displaced })
    }

    async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        let mut state = self.write().await?;
        let Some(current) = state.live(record.device_id, now) else {
            return Ok(ReplaceOutcome::Gone(state.reason(record.device_id, now)));
        };
        if current.version != expected {
            return Ok(ReplaceOutcome::Conflict(current));
        }
        let intent = current.refresh_intent.filter(|_| tokens == Tokens::Kept);
        let next = TokenRecord {
            version: expected.next(),
            last_seen_at: current.last_seen_at,
            previous_visit_at: current.previous_visit_at,
            refresh_intent: intent,
            ..record
        };
        Ok(ReplaceOutcome::Replaced(state.put(next)))
    }

    async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        let mut state = self.write().await?;
        let Some(current) = state.live(device, now) else {
            let why = state.reason(device, now);
            state.bury(device, now);
            return Ok(RemoveOutcome::Gone(why));
        };
        if expected.is_some_and(|expected| expected != current.version) {
            return Ok(RemoveOutcome::Conflict(current));
        }
        Ok(RemoveOutcome::Removed(state.end(current, reason).record))
    }

    async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        Ok(self.read().await.of_email(email, now))
    }

    async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let mut state = self.write().await?;
        let mut records = state.of_email(email, now);
        records.retain(|record| Some(record.device_id) != except);
        for record in state.all_of(email) {
            if Some(record.device_id) != except {
                state.bury(record.device_id, now);
            }
        }
        Ok(records.into_iter().map(|record| state.end(record, reason).record).collect())
    }

    async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        let mut state = self.write().await?;
        if record.is_dead(now) {
            return Ok(ImportOutcome::Expired);
        }
        match state.rows.get(&record.device_id) {
            Some(Row::Ended(_)) => Ok(ImportOutcome::Ended),
            Some(Row::Live(here)) if here.version >= record.version => {
                if here.version == record.version {
                    let merged = with_notes_of(here, &record);
                    state.put(merged);
                }
                Ok(ImportOutcome::Kept)
            }
            _ => {
                state.put(record);
                Ok(ImportOutcome::Imported)
            }
        }
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.write().await?;
        if let Some(record) = state.live(device, now) {
            let mut touched = TokenRecord::clone(&record);
            touched.touch(now);
            state.put(touched);
        }
        Ok(())
    }

    async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        let mut state = self.write().await?;
        let Some(current) = state.live(device, now) else {
            return Ok(LeaseOutcome::Gone(state.reason(device, now)));
        };
        if current.version != expected {
            return Ok(LeaseOutcome::Conflict(current));
        }
        let left_over = match current.refresh_intent {
            Some(intent) if intent.is_held(now) && intent.holder != holder => {
                return Ok(LeaseOutcome::Held { until: intent.leased_until });
            }
            left_over => left_over,
        };
        let mut leased = TokenRecord::clone(&current);
        leased.refresh_intent = Some(RefreshIntent {
            holder,
            since: left_over.map_or(now, |intent| intent.since),
            leased_until: until,
            uncertain: left_over.is_some(),
        });
        Ok(LeaseOutcome::Granted(state.put(leased)))
    }

    async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.write().await?;
        let Some(current) = state.live(device, now) else { return Ok(false) };
        match current.refresh_intent {
            Some(intent) if intent.holder == holder => {
                let mut extended = TokenRecord::clone(&current);
                extended.refresh_intent = Some(RefreshIntent { leased_until: until, ..intent });
                state.put(extended);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.write().await?;
        let Some(current) = state.live(device, now) else { return Ok(()) };
        let Some(intent) = current.refresh_intent.filter(|intent| intent.holder == holder) else {
            return Ok(());
        };
        let uncertain = intent.uncertain || release == Release::Uncertain;
        let mut released = TokenRecord::clone(&current);
        released.refresh_intent =
            uncertain.then_some(RefreshIntent { leased_until: now, uncertain, ..intent });
        state.put(released);
        Ok(())
    }

    async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        let state = self.read().await;
        let open = state.rows.keys().filter(|device| {
            let live = state.live(**device, now);
            live.and_then(|r| r.refresh_intent).is_some_and(|intent| !intent.is_held(now))
        });
        Ok(open.copied().collect())
    }

    async fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.write().await?;
        let dead = state.rows.iter().filter_map(|(device, row)| match row {
            Row::Live(record) if record.is_dead(now) => Some(*device),
            _ => None,
        });
        let dead: Vec<DeviceId> = dead.take(limit).collect();
        for device in &dead {
            state.rows.remove(device);
        }
        Ok(dead.len())
    }

    async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        let state = self.read().await;
        let after = after.map(|cursor| cursor.0);
        let mut devices: Vec<&DeviceId> = state.rows.keys().collect();
        devices.sort();
        let live = devices
            .into_iter()
            .filter(|device| after.as_ref().is_none_or(|after| device.as_bytes()[..] > after[..]))
            .filter_map(|device| state.live(*device, now));
        let records: Vec<_> = live.take(limit.get()).collect();
        let full = records.len() == limit.get();
        let next = records.last().filter(|_| full);
        let next = next.map(|record| Cursor(record.device_id.as_bytes().as_slice().into()));
        Ok(Page { records, next })
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        let state = self.read().await;
        let live = state.rows.keys().filter_map(|device| state.live(*device, now));
        let emails: Vec<Email> = live.map(|record| record.email.clone()).collect();
        let users: std::collections::HashSet<&Email> = emails.iter().collect();
        Ok(StoreStats {
            devices: emails.len() as u64,
            users: users.len() as u64,
            ..StoreStats::default()
        })
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.write().await.map(|_| ())
    }
}

/// `here` with the later use and the intent that `other` knows of the same version.
fn with_notes_of(here: &TokenRecord, other: &TokenRecord) -> TokenRecord {
    let mut merged = here.clone();
    if other.last_seen_at > here.last_seen_at {
        merged.last_seen_at = other.last_seen_at;
        merged.previous_visit_at = other.previous_visit_at;
    }
    merged.refresh_intent = here.refresh_intent.or(other.refresh_intent);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use crate::testing::conformance::{Fixture, START};

    struct InMemory(MemoryStore, ManualClock);

    impl Fixture for InMemory {
        const SHARED: bool = true;
        type Store = MemoryStore;

        async fn open() -> Self {
            Self(MemoryStore::new(), ManualClock::new(START))
        }

        async fn reopen(self) -> Self {
            self
        }

        fn store(&self) -> &MemoryStore {
            &self.0
        }

        fn clock(&self) -> &ManualClock {
            &self.1
        }

        fn written(&self) -> Vec<u8> {
            Vec::new()
        }
    }

    crate::store_conformance!(InMemory);
}
