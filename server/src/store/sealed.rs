//! What one key ring seals: the store, and the outbox beside it.

use std::sync::Arc;

use tokenkeep_core::keyring::{KeyId, RingError, RingUse};
use tokenkeep_core::{Clock, KeyRing, SealedStore as _, StoreError};

use super::outbox::open_outbox_that_is_there;
use super::{AnyStore, StoreFailure, configured, existing_ring, open_configured};
use crate::config::Config;

/// The stores that one key ring seals, and that change their keys together.
#[derive(Clone, Debug)]
pub struct Sealed {
    store: AnyStore,
    outbox: Option<AnyStore>,
    /// The outbox was opened for this.
    owns_outbox: bool,
}

/// Why keys were not changed. The stores go on with those that they had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedFailure {
    /// A store said no.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A store, or the ring, cannot be opened.
    #[error(transparent)]
    Open(#[from] StoreFailure),
    /// The store is not the one of the settings any more.
    #[error("the server was moved: start it with the new settings first")]
    Moved,
}

impl Sealed {
    /// What the ring of these settings seals, opened; no server may use it.
    ///
    /// # Errors
    /// [`StoreFailure`].
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StoreFailure> {
        let store = open_configured(config).await?;
        Self::of(config, clock, store, None)
    }

    /// What the ring seals where `store` is open, and `outbox`, if the server has one. One that it
    /// had once is sealed with the ring, too.
    ///
    /// # Errors
    /// [`StoreFailure`] if the outbox cannot be opened.
    pub fn of(
        config: &Config,
        clock: Arc<dyn Clock>,
        store: AnyStore,
        outbox: Option<AnyStore>,
    ) -> Result<Self, StoreFailure> {
        let owns_outbox = outbox.is_none();
        let outbox = match outbox {
            Some(outbox) => Some(outbox),
            None => open_outbox_that_is_there(config, clock)?,
        };
        Ok(Self { store, outbox, owns_outbox })
    }

    /// The ring as it is now where the settings say.
    ///
    /// # Errors
    /// [`StoreFailure`].
    pub fn read_ring(config: &Config) -> Result<KeyRing, StoreFailure> {
        existing_ring(config, &configured(config)?)
    }

    /// Seals with the active key of `ring` from here on.
    ///
    /// # Errors
    /// [`SealedFailure`].
    pub async fn take_ring(&self, ring: &KeyRing) -> Result<(), SealedFailure> {
        for store in self.all()? {
            store.take_ring(ring.clone()).await?;
        }
        Ok(())
    }

    /// Brings everything under the active key. `progress` is told how much is done, and calls it
    /// off with false.
    ///
    /// # Errors
    /// [`SealedFailure`].
    pub async fn reseal(
        &self,
        mut progress: impl FnMut(u64) -> bool + Send,
    ) -> Result<(), SealedFailure> {
        let mut before = 0;
        for store in self.all()? {
            let mut last = 0;
            store
                .reseal(|resealed| {
                    last = resealed.done;
                    progress(before + last)
                })
                .await?;
            before += last;
        }
        Ok(())
    }

    /// Lets go of `key`, if nothing at all is under it.
    ///
    /// # Errors
    /// [`SealedFailure`]
    pub async fn retire(&self, key: KeyId) -> Result<(), SealedFailure> {
        let mut records = 0;
        for store in self.all()? {
            if store.key_ids().first() == Some(&key) {
                return Err(RingError::Active(key).into());
            }
            let used = store.key_use().await.map_err(RingError::Store)?.into_iter();
            records += used.filter(|used| used.key == key).map(|used| used.records).sum::<u64>();
        }
        if records > 0 {
            return Err(RingError::StillNeeded(RingUse { key, records }).into());
        }
        for store in self.all()? {
            store.retire(key).await?;
        }
        Ok(())
    }

    /// Closes what was opened for this; with `and_store`, the store as well.
    ///
    /// # Errors
    /// [`StoreError`] if something may be missing.
    pub async fn close(self, and_store: bool) -> Result<(), StoreError> {
        if let (true, Some(outbox)) = (self.owns_outbox, &self.outbox) {
            outbox.close().await?;
        }
        if and_store { self.store.close().await } else { Ok(()) }
    }

    /// Those that seal; the store comes first: the outbox has less to lose.
    fn all(&self) -> Result<impl Iterator<Item = &AnyStore>, SealedFailure> {
        let all = std::iter::once(&self.store).chain(&self.outbox);
        let sealed: Vec<_> = all.filter(|store| !store.key_ids().is_empty()).collect();
        if sealed.is_empty() {
            return Err(RingError::NotSealed.into());
        }
        Ok(sealed.into_iter())
    }
}
