//! A store that can be exchanged for another one while it is used.

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, StoreError, StoreId,
    StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

/// A store that can be exchanged for another one of the same id, without anybody noticing.
///
/// Reads go to the store in charge. Writes pass a gate, which is shut for the moment in which
/// the stores change places; while a move is under way, every write notes what it touches,
/// before it begins and after it ended.
pub struct Switchable<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    id: StoreId,
    current: RwLock<S>,
    gate: Arc<tokio::sync::RwLock<()>>,
    /// What was written since a move began; absent while there is none.
    dirty: Mutex<Option<Dirty>>,
}

/// What writes have touched.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) devices: HashSet<DeviceId>,
    pub(super) emails: HashSet<Email>,
}

impl Dirty {
    pub(super) fn len(&self) -> usize {
        self.devices.len() + self.emails.len()
    }
}

/// What a write touches: a device, or any device of an email.
#[derive(Clone, Debug)]
enum Touched {
    Device(DeviceId),
    Email(Email),
}

/// The gate is shut: no write is under way, and none begins.
pub(super) struct Shut<S> {
    store: Switchable<S>,
    _gate: OwnedRwLockWriteGuard<()>,
}

impl<S: TokenStore> Switchable<S> {
    /// `store` is in charge.
    pub fn new(store: S) -> Self {
        let inner = Inner {
            id: store.id(),
            current: RwLock::new(store),
            gate: Arc::default(),
            dirty: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store in charge.
    #[must_use]
    pub fn current(&self) -> S {
        self.inner.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets every write note what it touches, from here on; false if a move is under way.
    pub(super) async fn begin(&self, now: Timestamp) -> Result<bool, StoreError> {
        let shut = self.shut().await;
        {
            let mut dirty = self.inner.dirty();
            if dirty.is_some() {
                return Ok(false);
            }
            *dirty = Some(Dirty::default());
        }
        drop(shut);
        // A write whose caller went away is still on its way to the store: a store takes writes
        // in their order, so what comes after it waits for it.
        let barrier = self.current().touch(DeviceId::from_bytes([0; 16]), now).await;
        if barrier.is_err() {
            self.give_up();
        }
        barrier.map(|()| true)
    }

    /// What was touched since this was asked last.
    pub(super) fn take_dirty(&self) -> Dirty {
        self.inner.dirty().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes a device as if it had been written.
    pub(super) fn mark(&self, device: DeviceId) {
        self.inner.mark(&Touched::Device(device));
    }

    /// Writes note nothing any more.
    pub(super) fn give_up(&self) {
        *self.inner.dirty() = None;
    }

    /// Shuts the gate: waits until no write is under way.
    pub(super) async fn shut(&self) -> Shut<S> {
        let gate = Arc::clone(&self.inner.gate).write_owned().await;
        Shut { store: self.clone(), _gate: gate }
    }

    async fn write<T, F>(
        &self,
        touched: Option<Touched>,
        work: impl FnOnce(S) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let pass = Arc::clone(&self.inner.gate).read_owned().await;
        let store = self.current();
        let touched = touched.filter(|_| self.inner.dirty().is_some());
        let Some(touched) = touched else { return work(store).await };
        self.inner.mark(&touched);
        let noting = Noting { inner: Arc::clone(&self.inner), touched, _pass: pass };
        // If the caller goes away, the write is still noted when it is over, not before.
        let writing = tokio::spawn(async move {
            let outcome = work(store).await;
            drop(noting);
            outcome
        });
        writing.await.unwrap_or_else(|error| Err(StoreError::unavailable(error)))
    }
}

impl<S: TokenStore> Shut<S> {
    /// Puts `store` in charge.
    pub(super) fn switch(&self, store: S) {
        let mut current = self.store.inner.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = store;
        drop(current);
        self.store.give_up();
    }
}

impl<S> Inner<S> {
    fn dirty(&self) -> std::sync::MutexGuard<'_, Option<Dirty>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, touched: &Touched) {
        if let Some(dirty) = self.dirty().as_mut() {
            match touched {
                Touched::Device(device) => drop(dirty.devices.insert(*device)),
                Touched::Email(email) => drop(dirty.emails.insert(email.clone())),
            }
        }
    }
}

/// Notes what a write has touched when it is over, however it ended, and then lets it pass out.
struct Noting<S> {
    inner: Arc<Inner<S>>,
    touched: Touched,
    _pass: OwnedRwLockReadGuard<()>,
}

impl<S> Drop for Noting<S> {
    fn drop(&mut self) {
        self.inner.mark(&self.touched);
    }
}

impl<S> Clone for Switchable<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: fmt::Debug> fmt::Debug for Switchable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Switchable").field(&self.inner.current).finish()
    }
}

impl<S: TokenStore> TokenStore for Switchable<S> {
    fn id(&self) -> StoreId {
        self.inner.id
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.current().get(device, now).await
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
        self.current().devices_of(email, now).await
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
        self.current().open_intents(now).await
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
        self.current().scan(after, limit, now).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        self.current().stats(now).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.current().check_writable().await
    }
}
