//! A store that can be exchanged for another one while it is used.

mod port;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokenkeep_core::{DeviceId, Email, StoreError, StoreId, Timestamp, TokenStore};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, watch};

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
    current: RwLock<InCharge<S>>,
    /// Tells the number of the store in charge.
    changes: watch::Sender<u64>,
    gate: Arc<tokio::sync::RwLock<()>>,
    /// What was written since a move began; absent while there is none.
    dirty: Mutex<Option<Dirty>>,
}

/// The store in charge.
#[derive(Clone, Debug)]
struct InCharge<S> {
    store: S,
    /// The how-manieth it is.
    number: u64,
    /// Others took the sessions elsewhere.
    gone: Option<Gone>,
}

/// Others took the sessions elsewhere: what is here is stale.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the sessions were moved to {to}: start this server with the settings of that store")]
struct Gone {
    to: Arc<str>,
}

/// What writes have touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    pub(super) devices: HashSet<DeviceId>,
    pub(super) emails: HashSet<Email>,
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
            current: RwLock::new(InCharge { store, number: 0, gone: None }),
            changes: watch::Sender::new(0),
            gate: Arc::default(),
            dirty: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store in charge.
    #[must_use]
    pub fn current(&self) -> S {
        self.inner.current().store.clone()
    }

    /// The store in charge and its number, by which [`give_away`](Self::give_away) knows it.
    #[must_use]
    pub fn numbered(&self) -> (u64, S) {
        let current = self.inner.current();
        (current.number, current.store.clone())
    }

    /// Tells whenever another store is put in charge.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Refuses everything from here on, because others took the sessions of store `number` to
    /// `to`; false if that store is not in charge any more.
    pub async fn give_away(&self, number: u64, to: &str) -> bool {
        // Whoever moves them from here marks the store, and then puts the other one in charge.
        let _pass = Arc::clone(&self.inner.gate).read_owned().await;
        let mut current = self.inner.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.number == number {
            current.gone = Some(Gone { to: to.into() });
        }
        current.number == number
    }

    /// The store in charge, unless its sessions are elsewhere.
    fn in_charge(&self) -> Result<S, StoreError> {
        let current = self.inner.current();
        match &current.gone {
            Some(gone) => Err(StoreError::unavailable(gone.clone())),
            None => Ok(current.store.clone()),
        }
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

    /// Notes what was touched once more.
    pub(super) fn mark_again(&self, touched: Dirty) {
        if let Some(dirty) = self.inner.dirty().as_mut() {
            dirty.devices.extend(touched.devices);
            dirty.emails.extend(touched.emails);
        }
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
        let store = self.in_charge()?;
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
        let inner = &self.store.inner;
        let mut current = inner.current.write().unwrap_or_else(PoisonError::into_inner);
        let number = current.number + 1;
        *current = InCharge { store, number, gone: None };
        drop(current);
        self.store.give_up();
        inner.changes.send_replace(number);
    }
}

impl<S> Inner<S> {
    fn current(&self) -> std::sync::RwLockReadGuard<'_, InCharge<S>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

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
