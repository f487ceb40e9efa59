//! The engine as a [`TokenStore`]: the async face.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, StoreError, StoreId,
    StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};

use crate::command::{Command, Prepared, Upkeep};
use crate::engine::Engine;

impl TokenStore for Engine {
    fn id(&self) -> StoreId {
        Self::id(self)
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.shared.check_open()?;
        match self.shared.glance(device, now) {
            Some(lookup) => Ok(lookup),
            None => self.read(move |shared| shared.lookup(device, now)).await,
        }
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        let command = insert_command(self, insert, now)?;
        self.ask(command).await
    }

    async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        let command = replace_command(self, expected, record, tokens, now)?;
        self.ask(command).await
    }

    async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        self.ask(|reply| Command::Remove { device, expected, reason, now, reply }).await
    }

    async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        self.shared.check_open()?;
        if let Some(records) = self.shared.glance_devices_of(email, now) {
            return Ok(records);
        }
        let email = email.clone();
        self.read(move |shared| shared.devices_of(&email, now)).await
    }

    async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let email = email.clone();
        let removed =
            self.ask(|reply| Command::RemoveAllOf { email, except, reason, now, reply }).await?;
        Ok(removed.into_iter().map(|removed| removed.record).collect())
    }

    async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        let command = import_command(self, record, now)?;
        self.ask(command).await
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.ask(|reply| Command::Touch { device, now, reply }).await
    }

    async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        self.ask(|reply| Command::Lease { device, expected, holder, until, now, reply }).await
    }

    async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.ask(|reply| Command::ExtendLease { device, holder, until, now, reply }).await
    }

    async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.ask(|reply| Command::Release { device, holder, release, now, reply }).await
    }

    async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        self.shared.check_open()?;
        Ok(self.shared.open_intents(now))
    }

    async fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.ask(|reply| Command::Upkeep(Upkeep::Purge { limit, now, reply })).await
    }

    async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        self.shared.check_open()?;
        self.read(move |shared| shared.scan(after.as_ref(), limit, now)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        self.shared.check_open()?;
        Ok(self.stats_at(now))
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.shared.check_writable()
    }
}

/// Seals the login on the caller's thread.
pub(crate) fn insert_command(
    engine: &Engine,
    insert: Insert,
    now: Timestamp,
) -> Result<impl FnOnce(crate::command::Reply<InsertOutcome>) -> Command, StoreError> {
    let Insert { record, replaces, ceiling } = insert;
    let shared = &engine.shared;
    let record = Prepared::new(record, Version::FIRST, &shared.ring, &shared.store)?;
    Ok(move |reply| Command::Insert { record, replaces, ceiling, now, reply })
}

/// Seals the record on the caller's thread, as the version that it has.
pub(crate) fn import_command(
    engine: &Engine,
    record: TokenRecord,
    now: Timestamp,
) -> Result<impl FnOnce(crate::command::Reply<ImportOutcome>) -> Command, StoreError> {
    let shared = &engine.shared;
    let (version, intent) = (record.version, record.refresh_intent);
    let record = Prepared::new(record, version, &shared.ring, &shared.store)?;
    Ok(move |reply| Command::Import { record, intent, now, reply })
}

/// Seals the replacement on the caller's thread.
pub(crate) fn replace_command(
    engine: &Engine,
    expected: Version,
    record: TokenRecord,
    tokens: Tokens,
    now: Timestamp,
) -> Result<impl FnOnce(crate::command::Reply<ReplaceOutcome>) -> Command, StoreError> {
    let shared = &engine.shared;
    let record = Prepared::new(record, expected.next(), &shared.ring, &shared.store)?;
    Ok(move |reply| Command::Replace { expected, record, tokens, now, reply })
}
