//! The store contract in a map: the model that other stores are compared with.

mod state;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome,
    LeaseOutcome, Lookup, Page, RefreshIntent, Release, RemoveOutcome, Removed, ReplaceOutcome,
    StoreError, StoreId, StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};
use state::{Row, State, take_later_use};

/// Keeps records in memory. Nothing is sealed, nothing survives.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
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

    /// Makes every record that is there unreadable, as damage or a lost key does.
    pub fn spoil(&self) {
        let mut state = self.state.lock().unwrap();
        let live = state.rows.iter().filter(|(_, row)| matches!(row, Row::Live(_)));
        state.spoilt = live.map(|(device, _)| *device).collect();
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

impl TokenStore for MemoryStore {
    fn id(&self) -> StoreId {
        StoreId::from_bytes([0; 16])
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.read().await.lookup(device, now)
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        let mut state = self.write().await?;
        if state.rows.contains_key(&insert.record.device_id) {
            return Ok(InsertOutcome::Taken);
        }
        let Some(evicted) = state.evicted(&insert, now) else {
            return Ok(InsertOutcome::CeilingReached);
        };
        let mut replaced = state.all_of(&insert.record.email);
        replaced.retain(|record| Some(record.device_id) == insert.replaces);
        let replaced = replaced.into_iter().map(|record| (record, EndReason::Replaced));
        let evicted = evicted.into_iter().map(|record| (record, EndReason::Evicted));
        let ends = replaced.chain(evicted);
        let displaced =
            ends.filter_map(|(record, reason)| state.end(record, reason, now)).collect();
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
        let Some(current) = state.live(record.device_id, now)? else {
            return Ok(ReplaceOutcome::Gone(state.reason(record.device_id, now)?));
        };
        if current.version != expected {
            return Ok(ReplaceOutcome::Conflict(current));
        }
        let intent = current.refresh_intent.filter(|_| tokens == Tokens::Kept);
        let mut next = TokenRecord { version: expected.next(), refresh_intent: intent, ..record };
        take_later_use(&mut next, &current);
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
        let Some(current) = state.live(device, now)? else {
            let why = state.reason(device, now)?;
            if let Some(Row::Live(dead)) = state.rows.get(&device) {
                let dead = Arc::clone(dead);
                state.end(dead, reason, now);
            }
            return Ok(RemoveOutcome::Gone(why));
        };
        if expected.is_some_and(|expected| expected != current.version) {
            return Ok(RemoveOutcome::Conflict(current));
        }
        state.end(Arc::clone(&current), reason, now);
        Ok(RemoveOutcome::Removed(current))
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
        let mut records = state.all_of(email);
        records.retain(|record| Some(record.device_id) != except);
        records.sort_by_key(|record| (record.created_at, record.device_id));
        let ended = records.into_iter().filter_map(|record| state.end(record, reason, now));
        Ok(ended.map(|Removed { record, .. }| record).collect())
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
        Ok(state.import(record))
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.write().await?;
        if let Some(record) = state.live(device, now)? {
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
        let Some(current) = state.live(device, now)? else {
            return Ok(LeaseOutcome::Gone(state.reason(device, now)?));
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
        let Some(current) = state.live(device, now)? else { return Ok(false) };
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
        let Some(current) = state.live(device, now)? else { return Ok(()) };
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
        let open = state
            .all_live(now)
            .filter(|record| record.refresh_intent.is_some_and(|intent| !intent.is_held(now)));
        Ok(open.map(|record| record.device_id).collect())
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
            state.spoilt.remove(device);
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
        let after = match after.map(|Cursor(bytes)| <[u8; 16]>::try_from(&*bytes)) {
            Some(Ok(bytes)) => Some(DeviceId::from_bytes(bytes)),
            Some(Err(_)) => return Err(StoreError::unavailable("the cursor is of another store")),
            None => None,
        };
        let live = state.all_live(now).filter(|record| Some(record.device_id) > after);
        let mut records: Vec<_> = live.cloned().collect();
        records.sort_by_key(|record| record.device_id);
        let is_full = records.len() >= limit.get();
        records.truncate(limit.get());
        let next = records.last().filter(|_| is_full);
        let next = next.map(|record| Cursor(record.device_id.as_bytes().as_slice().into()));
        Ok(Page { records, next })
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        let state = self.read().await;
        let users: HashSet<&Email> = state.all_live(now).map(|record| &record.email).collect();
        Ok(StoreStats {
            devices: state.all_live(now).count() as u64,
            users: users.len() as u64,
            unreadable: state.unreadable,
            ..StoreStats::default()
        })
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.write().await.map(|_| ())
    }
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

        async fn spoil(self) -> Self {
            self.0.spoil();
            self
        }

        fn written(&self) -> Vec<u8> {
            Vec::new()
        }
    }

    crate::store_conformance!(InMemory);
}
