//! The store that a server was told to use: one type over all kinds.

mod address;
mod failure;
mod keys;
mod login;
mod marker;
mod opening;
mod outbox;
mod sealed;
mod source;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use tokenkeep::Engine;
use tokenkeep_core::keyring::{KeyId, ResealProgress, RingError, RingUse};
use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome, KeyRing,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, SealedStore, StoreError,
    StoreId, StoreStats, Timestamp, TokenRecord, TokenStore, Tokens, Version,
};

use crate::config::StoreKind;

pub(crate) use keys::make_private;
pub(crate) use marker::mark_moved;

pub use address::{Address, InvalidAddress, RedisAddress};
pub use failure::StoreFailure;
pub use keys::{existing_ring, ring, ring_file};
pub use marker::{Moved, refuse_moved};
pub use opening::{configured, open_backup, open_configured, open_destination};
pub use outbox::open_outbox;
pub use sealed::{Sealed, SealedFailure};
pub use source::{Source, open_source};

/// The data file of the embedded engine, in its directory.
pub const REDB_FILE: &str = "tokens.redb";

/// A store of any kind.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// The embedded engine.
    Redb(Engine),
    /// Redis, however many servers it has.
    #[cfg(feature = "redis")]
    Redis(tokenkeep_redis::RedisStore),
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(tokenkeep_sqlite::SqliteStore),
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFailure {
    /// The embedded engine gave none.
    #[error("no backup was made")]
    Redb(#[source] tokenkeep::BackupError),
    /// Redis makes backups of its own.
    #[cfg(feature = "redis")]
    #[error("no backup was made: redis makes its own, and `tokenkeep export` writes a file")]
    Redis,
    /// SQLite gave none.
    #[cfg(feature = "sqlite")]
    #[error("no backup was made")]
    Sqlite(#[source] tokenkeep_sqlite::BackupError),
}

/// A store in files did not do what it was asked to: that is the disk's doing.
#[derive(Debug)]
struct OnDisk(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for OnDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OnDisk {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Whether `error` is the doing of a disk.
pub(crate) fn is_of_a_disk(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(cause) if cause.is::<OnDisk>())
}

fn on_disk(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(cause) => StoreError::unavailable(OnDisk(cause)),
        error => error,
    }
}

/// Does the same with whatever store it is.
macro_rules! with_store {
    ($any:expr, $store:ident => $work:expr) => {
        match $any {
            AnyStore::Redb($store) => $work.map_err(on_disk),
            // Its futures are large: they must not make everybody's as large.
            #[cfg(feature = "redis")]
            AnyStore::Redis($store) => Box::pin(async move { $work }).await,
            #[cfg(feature = "sqlite")]
            AnyStore::Sqlite($store) => $work.map_err(on_disk),
        }
    };
}

impl AnyStore {
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> StoreKind {
        match self {
            Self::Redb(_) => StoreKind::Redb,
            #[cfg(feature = "redis")]
            Self::Redis(_) => StoreKind::Redis,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => StoreKind::Sqlite,
        }
    }

    /// The embedded engine, for what only it can do.
    #[must_use]
    pub const fn engine(&self) -> Option<&Engine> {
        match self {
            Self::Redb(engine) => Some(engine),
            #[cfg(feature = "redis")]
            Self::Redis(_) => None,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
        }
    }

    /// Copies the store as it is at one instant into the file `path`, which must not be there.
    /// `progress` calls it off with false.
    ///
    /// # Errors
    /// [`BackupFailure`]; nothing is left of what was begun.
    pub async fn back_up(
        &self,
        path: &Path,
        mut progress: impl FnMut(u64) -> bool + Send + 'static,
    ) -> Result<(), BackupFailure> {
        match self {
            Self::Redb(engine) => {
                let backed_up = engine.backup(path, move |copied| progress(copied.done)).await;
                backed_up.map_err(BackupFailure::Redb)
            }
            #[cfg(feature = "redis")]
            Self::Redis(_) => Err(BackupFailure::Redis),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.backup(path).await.map_err(BackupFailure::Sqlite),
        }
    }

    /// Puts everything in its place and closes the store.
    ///
    /// # Errors
    /// [`StoreError`] if something may be missing.
    pub async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Redb(store) => store.close().await.map_err(on_disk),
            // It keeps nothing back; the other servers hear that this one is gone.
            #[cfg(feature = "redis")]
            Self::Redis(store) => {
                if let Err(error) = Box::pin(store.close()).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the other servers were not told that this one ends");
                }
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.close().await.map_err(on_disk),
        }
    }
}

/// Does the same with whatever store it is, and leaves its errors as they are.
macro_rules! with_sealed {
    ($any:expr, $store:ident => $work:expr) => {
        match $any {
            AnyStore::Redb($store) => $work,
            #[cfg(feature = "redis")]
            AnyStore::Redis($store) => $work,
            #[cfg(feature = "sqlite")]
            AnyStore::Sqlite($store) => $work,
        }
    };
}

impl SealedStore for AnyStore {
    async fn take_ring(&self, ring: KeyRing) -> Result<(), RingError> {
        with_sealed!(self, store => Box::pin(store.take_ring(ring)).await)
    }

    fn key_ids(&self) -> Vec<KeyId> {
        with_sealed!(self, store => store.key_ids())
    }

    async fn reseal(
        &self,
        progress: impl FnMut(ResealProgress) -> bool + Send,
    ) -> Result<(), RingError> {
        with_sealed!(self, store => Box::pin(store.reseal(progress)).await)
    }

    async fn key_use(&self) -> Result<Vec<RingUse>, StoreError> {
        with_store!(self, store => store.key_use().await)
    }

    async fn retire(&self, key: KeyId) -> Result<(), RingError> {
        with_sealed!(self, store => Box::pin(store.retire(key)).await)
    }
}

impl TokenStore for AnyStore {
    fn id(&self) -> StoreId {
        match self {
            Self::Redb(store) => TokenStore::id(store),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.id(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.id(),
        }
    }

    async fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        with_store!(self, store => store.get(device, now).await)
    }

    async fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        with_store!(self, store => store.insert(insert, now).await)
    }

    async fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        with_store!(self, store => store.replace(expected, record, tokens, now).await)
    }

    async fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        with_store!(self, store => store.remove(device, expected, reason, now).await)
    }

    async fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        with_store!(self, store => store.devices_of(email, now).await)
    }

    async fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        with_store!(self, store => store.remove_all_of(email, except, reason, now).await)
    }

    async fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> Result<ImportOutcome, StoreError> {
        with_store!(self, store => store.import(record, now).await)
    }

    async fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        with_store!(self, store => store.touch(device, now).await)
    }

    async fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        with_store!(self, store => store.lease(device, expected, holder, until, now).await)
    }

    async fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        with_store!(self, store => store.extend_lease(device, holder, until, now).await)
    }

    async fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        with_store!(self, store => store.release(device, holder, release, now).await)
    }

    async fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        with_store!(self, store => store.open_intents(now).await)
    }

    async fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        with_store!(self, store => store.purge_expired(limit, now).await)
    }

    async fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        with_store!(self, store => store.scan(after, limit, now).await)
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        with_store!(self, store => store.stats(now).await)
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        with_store!(self, store => store.check_writable().await)
    }
}
