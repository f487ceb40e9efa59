//! The store: what every operation shares, and the port.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokenkeep_core::codec::{CodecError, Sealing};
use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome, KeyRing,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, StoreError, StoreId,
    StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};

use crate::driver::{Driver, Reply, Script};
use crate::fault::OpenError;
use crate::keys::Keys;
use crate::meta;
use crate::rotation::Sealers;
use crate::row::{Row, hex};
use crate::settings::Settings;
use crate::walking::Place;

/// Keeps records on Redis. Cloning is cheap; every clone and every process shares the store.
///
/// It has nothing in memory that it decides by, so any process may be killed at any time.
#[derive(Clone, Debug)]
pub struct RedisStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) driver: Driver,
    pub(crate) settings: Settings,
    /// Names this process among those that share the store.
    pub(crate) instance: String,
    pub(crate) keys: Keys,
    pub(crate) id: StoreId,
    pub(crate) sealing: Sealing,
    pub(crate) sealers: Sealers,
    pub(crate) answerable: Duration,
    /// Records that could not be read.
    pub(crate) unreadable: AtomicU64,
    /// Where the walk that purges is.
    pub(crate) purging: tokio::sync::Mutex<Option<Place>>,
}

impl RedisStore {
    /// Connects to the store that `settings` name, or makes a fresh one there, sealed by `ring`.
    ///
    /// # Errors
    /// [`OpenError`] if Redis cannot help, or the store was sealed with another key ring or
    /// written by a newer version.
    pub async fn open(settings: Settings, ring: KeyRing) -> Result<Self, OpenError> {
        if settings.prefix.contains(['{', '}']) {
            return Err(OpenError::Prefix);
        }
        let driver = Driver::connect(&settings).await?;
        let keys = Keys::new(&settings.prefix);
        let sealing = if settings.sealing { Sealing::On(ring.detached()) } else { Sealing::Off };
        if matches!(sealing, Sealing::Off) {
            tracing::warn!("sealing is off: tokens lie in redis in the clear");
        }
        let id = meta::open(&driver, &keys.meta(), &sealing, settings.store_id).await?;
        meta::check_durability(&driver).await;
        Self::assemble(driver, keys, settings, sealing, id)
    }

    /// The store behind `driver`, as it was found.
    pub(crate) fn assemble(
        driver: Driver,
        keys: Keys,
        settings: Settings,
        sealing: Sealing,
        id: StoreId,
    ) -> Result<Self, OpenError> {
        let (unreadable, purging) = (AtomicU64::new(0), tokio::sync::Mutex::new(None));
        let instance = StoreId::random().map_err(OpenError::Random)?.to_string();
        let answerable = settings.answerable;
        let inner = Inner {
            driver,
            settings,
            instance,
            keys,
            id,
            sealing,
            sealers: Sealers::default(),
            answerable,
            unreadable,
            purging,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// Runs `script` on the record and the note of `device`.
    pub(crate) async fn on_record(
        &self,
        script: &Script,
        device: DeviceId,
        args: &[Vec<u8>],
    ) -> Result<Reply, StoreError> {
        Ok(self.driver.run(script, &self.keys.of(device), args).await?)
    }

    /// Runs `script` on the index `user`.
    pub(crate) async fn on_index(
        &self,
        script: &Script,
        user: &str,
        args: &[Vec<u8>],
    ) -> Result<Reply, StoreError> {
        Ok(self.driver.run(script, &[user.to_owned()], args).await?)
    }

    /// The row of `device`, whoever wrote it.
    pub(crate) async fn row(&self, device: DeviceId) -> Result<Option<Row>, StoreError> {
        let key = self.keys.record(device);
        Ok(Row::read(&self.driver.command(&[b"HGETALL", key.as_bytes()]).await?))
    }

    /// The note why the session of `device` ended, as text.
    pub(crate) async fn note(&self, device: DeviceId) -> Result<Option<String>, StoreError> {
        let key = self.keys.ended(device);
        let reply = self.driver.command(&[b"GET", key.as_bytes()]).await?;
        Ok(reply.text().map(str::to_owned))
    }

    /// The record in `row`.
    pub(crate) fn decode(
        &self,
        device: DeviceId,
        row: &Row,
        now: Timestamp,
    ) -> Result<TokenRecord, StoreError> {
        row.decode(device, &self.sealing, &self.id, now)
            .map_err(|cause| self.unreadable(device, cause))
    }

    /// The record in a reply of a script.
    pub(crate) fn record(
        &self,
        device: DeviceId,
        reply: &Reply,
        now: Timestamp,
    ) -> Result<Arc<TokenRecord>, StoreError> {
        let row = Row::read(reply).ok_or_else(|| self.unreadable(device, CodecError::Missing))?;
        self.decode(device, &row, now).map(Arc::new)
    }

    pub(crate) fn unreadable(&self, device: DeviceId, cause: CodecError) -> StoreError {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%device, %cause, "a record cannot be read");
        StoreError::Unreadable { device, cause }
    }
}

/// Names one operation, so that what it did is known when it is repeated or completed.
pub(crate) fn nonce() -> Result<String, StoreError> {
    HolderId::random().map(|id| hex(id.as_bytes())).map_err(StoreError::unavailable)
}

impl TokenStore for RedisStore {
    fn id(&self) -> StoreId {
        self.inner.id
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.inner.get(device, now).await
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        self.inner.insert(insert, now).await
    }

    async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        self.inner.replace(expected, record, tokens, now).await
    }

    async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        self.inner.remove(device, expected, reason, now).await
    }

    async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        self.inner.devices_of(email, now).await
    }

    async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        self.inner.remove_all_of(email, except, reason, now).await
    }

    async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        self.inner.import(record, now).await
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.inner.touch(device, now).await
    }

    async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        self.inner.lease(device, expected, holder, until, now).await
    }

    async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.inner.extend_lease(device, holder, until, now).await
    }

    async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.release(device, holder, release, now).await
    }

    async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        self.inner.open_intents(now).await
    }

    async fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.inner.purge_expired(limit, now).await
    }

    async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        self.inner.scan(after, limit, now).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        self.inner.stats(now).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        let driver = &self.inner.driver;
        let probes = driver.tags().await?.into_iter().map(async |tag| {
            let key = self.inner.keys.probe(&tag);
            driver.command(&[b"SET", key.as_bytes(), b"1", b"PX", b"60000"]).await
        });
        try_join_all(probes).await?;
        Ok(())
    }
}
