//! The port of a store that can be exchanged: reads go to the store in charge, writes pass a gate.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, StoreError, StoreId,
    StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};

use super::{Switchable, Touched};

impl<S: TokenStore> TokenStore for Switchable<S> {
    fn id(&self) -> StoreId {
        self.inner.id
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.in_charge()?.get(device, now).await
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        // It may displace others of its user.
        let touched = Touched::Email(insert.record.email.clone());
        self.write(Some(touched), async move |store: S| store.insert(insert, now).await).await
    }

    async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        let touched = Touched::Device(record.device_id);
        let work = async move |store: S| store.replace(expected, record, tokens, now).await;
        self.write(Some(touched), work).await
    }

    async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        let work = async move |store: S| store.remove(device, expected, reason, now).await;
        self.write(Some(Touched::Device(device)), work).await
    }

    async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        self.in_charge()?.devices_of(email, now).await
    }

    async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let touched = Touched::Email(email.clone());
        let email = email.clone();
        let work = async move |store: S| store.remove_all_of(&email, except, reason, now).await;
        self.write(Some(touched), work).await
    }

    async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        let touched = Touched::Device(record.device_id);
        self.write(Some(touched), async move |store: S| store.import(record, now).await).await
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let touched = Touched::Device(device);
        self.write(Some(touched), async move |store: S| store.touch(device, now).await).await
    }

    async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        let work = async move |store: S| store.lease(device, expected, holder, until, now).await;
        self.write(Some(Touched::Device(device)), work).await
    }

    async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let work = async move |store: S| store.extend_lease(device, holder, until, now).await;
        self.write(Some(Touched::Device(device)), work).await
    }

    async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let work = async move |store: S| store.release(device, holder, release, now).await;
        self.write(Some(Touched::Device(device)), work).await
    }

    async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        self.in_charge()?.open_intents(now).await
    }

    async fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.write(None, async move |store: S| store.purge_expired(limit, now).await).await
    }

    async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        self.in_charge()?.scan(after, limit, now).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        self.in_charge()?.stats(now).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.in_charge()?.check_writable().await
    }
}
