//! The store as the session flow knows it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, StoreError, StoreId,
    StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};

use crate::decide::{self, Displacing, Prepared};
use crate::reading::first_after;
use crate::store::SqliteStore;
use crate::take_over;

impl TokenStore for SqliteStore {
    fn id(&self) -> StoreId {
        self.store_id()
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.read(move |shared, connection| shared.lookup(connection, device, now)).await
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        let Insert { record, replaces, ceiling } = insert;
        let login = Prepared::new(record, Version::FIRST, &self.shared.form)?;
        let displacing = Displacing { replaces, ceiling };
        self.write(move |rows| decide::insert(rows, login, displacing, now)).await
    }

    async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        let new = Prepared::new(record, expected.next(), &self.shared.form)?;
        self.write(move |rows| decide::replace(rows, expected, new, tokens, now)).await
    }

    async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        self.write(move |rows| decide::remove(rows, device, expected, reason, now)).await
    }

    async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let email = email.clone();
        self.read(move |shared, connection| shared.devices_of(connection, &email, now)).await
    }

    async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let email = email.clone();
        self.write(move |rows| decide::remove_all_of(rows, &email, except, reason, now)).await
    }

    async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        let version = record.version;
        let new = Prepared::new(record, version, &self.shared.form)?;
        self.write(move |rows| decide::import(rows, new, now)).await
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |rows| decide::touch(rows, device, now)).await
    }

    async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        self.write(move |rows| decide::lease(rows, device, expected, (holder, until), now)).await
    }

    async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |rows| decide::extend_lease(rows, device, holder, until, now)).await
    }

    async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |rows| decide::release(rows, device, holder, release, now)).await
    }

    async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        self.read(move |shared, connection| shared.open_intents(connection, now)).await
    }

    async fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        match self.shared.certain() {
            Some(certain) => self.write(move |rows| rows.purge(limit, certain.min(now))).await,
            None => self.shared.check_open().map(|()| 0),
        }
    }

    async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        match first_after(after.as_ref())? {
            Some(first) => {
                self.read(move |shared, connection| shared.scan(connection, first, limit, now))
                    .await
            }
            None => Ok(Page { records: Vec::new(), next: None }),
        }
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        if self.shared.form.is_shared() {
            // What the original application wrote does not count before it is known when it dies.
            while self.write(move |rows| take_over::what_was_written(rows, now)).await? {}
        }
        self.read(move |shared, connection| shared.stats(connection, now)).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.shared.check_open()?;
        self.shared.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }
}
