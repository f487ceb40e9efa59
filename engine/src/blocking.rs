//! The engine for threads: the same operations as [`TokenStore`](tokenkeep_core::TokenStore),
//! without a runtime.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokenkeep_core::keyring::{KeyId, ResealProgress, RingError, RingUse};
use tokenkeep_core::{
    Cursor, DeviceId, Email, EndReason, HolderId, ImportOutcome, Insert, InsertOutcome, KeyRing,
    LeaseOutcome, Lookup, Page, Release, RemoveOutcome, ReplaceOutcome, SealedStore as _,
    StoreError, StoreStats, Timestamp, TokenRecord, Tokens, Version,
};

use crate::command::{Command, Upkeep};
use crate::engine::Engine;
use crate::port::{import_command, insert_command, replace_command};

/// An [`Engine`] whose operations wait instead of being awaited. Not for async tasks.
///
/// Each operation keeps the promise of its namesake in
/// [`TokenStore`](tokenkeep_core::TokenStore), and fails with [`StoreError`] as it does.
#[derive(Clone, Copy, Debug)]
pub struct Blocking<'a> {
    engine: &'a Engine,
}

#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl<'a> Blocking<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// Finds the record of `device`, or why it is gone.
    pub fn get(&self, device: DeviceId, now: Timestamp) -> Result<Lookup, StoreError> {
        self.engine.shared.check_open()?;
        self.engine.shared.lookup(device, now)
    }

    /// Stores a fresh login.
    pub fn insert(&self, insert: Insert, now: Timestamp) -> Result<InsertOutcome, StoreError> {
        self.engine.ask_blocking(insert_command(self.engine, insert, now)?)
    }

    /// Replaces the live record of `record.device_id` if it still has version `expected`.
    pub fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<ReplaceOutcome, StoreError> {
        self.engine.ask_blocking(replace_command(self.engine, expected, record, tokens, now)?)
    }

    /// Ends the live record of `device`, if `expected` is absent or its version.
    pub fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<RemoveOutcome, StoreError> {
        self.engine.ask_blocking(|reply| Command::Remove { device, expected, reason, now, reply })
    }

    /// Lists the live records of `email`, oldest login first.
    pub fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        self.engine.shared.check_open()?;
        self.engine.shared.devices_of(email, now)
    }

    /// Ends every live record of `email` but `except`, and returns them.
    pub fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<Arc<TokenRecord>>, StoreError> {
        let email = email.clone();
        let removed = self.engine.ask_blocking(|reply| Command::RemoveAllOf {
            email,
            except,
            reason,
            now,
            reply,
        })?;
        Ok(removed.into_iter().map(|removed| removed.record).collect())
    }

    /// Takes a record over as another store of the same id kept it.
    pub fn import(&self, record: TokenRecord, now: Timestamp) -> Result<ImportOutcome, StoreError> {
        self.engine.ask_blocking(import_command(self.engine, record, now)?)
    }

    /// Notes that `device` was used at `now`.
    pub fn touch(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.engine.ask_blocking(|reply| Command::Touch { device, now, reply })
    }

    /// Takes the refresh lease of `device` until `until`.
    pub fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        self.engine.ask_blocking(|reply| Command::Lease {
            device,
            expected,
            holder,
            until,
            now,
            reply,
        })
    }

    /// Moves the end of a lease that `holder` has to `until`; false if it has it no longer.
    pub fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.engine.ask_blocking(|reply| Command::ExtendLease { device, holder, until, now, reply })
    }

    /// Gives the lease of `device` back, if `holder` has it.
    pub fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.engine.ask_blocking(|reply| Command::Release { device, holder, release, now, reply })
    }

    /// The live records with an intent that nobody holds.
    pub fn open_intents(&self, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
        self.engine.shared.check_open()?;
        Ok(self.engine.shared.open_intents(now))
    }

    /// Frees the space of at most `limit` dead records; returns how many it freed.
    pub fn purge_expired(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.engine.ask_blocking(|reply| Command::Upkeep(Upkeep::Purge { limit, now, reply }))
    }

    /// Reads the live records in the store's own order, at most `limit` after `after`.
    pub fn scan(
        &self,
        after: Option<&Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        self.engine.shared.check_open()?;
        self.engine.shared.scan(after, limit, now)
    }

    /// Counts what the store holds.
    pub fn stats(&self, now: Timestamp) -> Result<StoreStats, StoreError> {
        self.engine.shared.check_open()?;
        Ok(self.engine.stats_at(now))
    }

    /// Whether a write would be taken.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.engine.shared.check_writable()
    }

    /// See [`Engine::flush`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.engine.ask_blocking(|reply| Command::Upkeep(Upkeep::Flush { reply }))
    }

    /// See [`Engine::compact`].
    pub fn compact(&self) -> Result<(), StoreError> {
        self.engine.ask_blocking(|reply| Command::Upkeep(Upkeep::Compact { reply }))
    }

    /// See [`SealedStore::take_ring`](tokenkeep_core::SealedStore::take_ring).
    pub fn take_ring(&self, ring: KeyRing) -> Result<(), RingError> {
        pollster::block_on(self.engine.take_ring(ring))
    }

    /// See [`SealedStore::reseal`](tokenkeep_core::SealedStore::reseal).
    pub fn reseal(
        &self,
        progress: impl FnMut(ResealProgress) -> bool + Send,
    ) -> Result<(), RingError> {
        pollster::block_on(self.engine.reseal(progress))
    }

    /// See [`SealedStore::key_use`](tokenkeep_core::SealedStore::key_use).
    pub fn key_use(&self) -> Result<Vec<RingUse>, StoreError> {
        pollster::block_on(self.engine.key_use())
    }

    /// See [`SealedStore::retire`](tokenkeep_core::SealedStore::retire).
    pub fn retire(&self, key: KeyId) -> Result<(), RingError> {
        pollster::block_on(self.engine.retire(key))
    }

    /// See [`Engine::close`].
    pub fn close(&self) -> Result<(), StoreError> {
        self.engine.ask_blocking(|reply| Command::Upkeep(Upkeep::Close { reply }))
    }
}
