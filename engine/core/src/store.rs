//! The storage port: what every store of records must promise.

mod answer;
mod error;
mod request;
mod sealed;
mod walk;

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::{DeviceId, Email, EndReason, StoreId, Timestamp, TokenRecord, Version};

pub use answer::{
    Ended, ImportOutcome, InsertOutcome, LeaseOutcome, Lookup, RemoveOutcome, Removed,
    ReplaceOutcome,
};
pub use error::StoreError;
pub use request::{Ceiling, CeilingPolicy, HolderId, Insert, Release, Tokens};
pub use sealed::SealedStore;
pub use walk::{Cursor, Page, StoreStats};

/// Keeps the records of devices. Cloning a handle is cheap.
///
/// # Contract
///
/// - **Expired means absent.** Every operation takes `now` and treats a record with
///   `now >= record.dies_at()` as gone, whatever still lies on the disk. What ends a session
///   ([`remove`], [`remove_all_of`], [`Insert::replaces`]) also sees to it that a record which is
///   dead by `now` stays dead, should the clock have been wrong and go back; its reason stays
///   [`EndReason::Expired`], and it is not among those that are returned.
/// - **Atomic and linearisable.** For each device, and for the list of each email, an operation
///   happens at one instant, for every handle and every instance that shares the store. What ends
///   several devices is one write: all of them ended or none, whatever fails. Who looks at them one
///   by one while it becomes visible may still see some and not others.
/// - **Acknowledged is durable.** When a write returns `Ok`, it survives a crash and a power
///   loss. A write that returned an error is there whole or not at all. Only [`touch`] and
///   [`extend_lease`] may be lost.
/// - **Record and index are one.** [`devices_of`] lists exactly the live records of an email.
/// - **Sealed.** Nothing that the store writes shows a token; see [`crate::codec`].
/// - **The later use counts.** Notes of use (`last_seen_at`, and `previous_visit_at` with it)
///   belong to no version. Of two that meet, in a [`touch`], a [`replace`] or an [`import`], the
///   later one stays.
/// - **An email reaches its own records.** Two emails that an index takes for one are still two:
///   neither lists, counts nor ends what is the other's.
/// - **What cannot be read harms itself alone.** A store does not trust what it reads: a record
///   that does not open, or whose tag does not match, is [`StoreError::Unreadable`] to whoever
///   asks for it, and stays where it is. It is left out of lists and walks, it neither counts
///   towards the ceiling nor is it evicted, and its id stays taken. What ends it without asking
///   for it ([`remove_all_of`], [`Insert::replaces`]) does end it: it can do no harm any more,
///   should its key be found again. It is not among those that are returned.
///
/// `store_conformance!` of the `testing` feature is this contract as tests.
///
/// [`import`]: TokenStore::import
/// [`remove`]: TokenStore::remove
/// [`remove_all_of`]: TokenStore::remove_all_of
/// [`replace`]: TokenStore::replace
/// [`touch`]: TokenStore::touch
/// [`extend_lease`]: TokenStore::extend_lease
/// [`devices_of`]: TokenStore::devices_of
pub trait TokenStore: Clone + Send + Sync + 'static {
    /// The name of this store: verifiers and sealed tokens are bound to it.
    fn id(&self) -> StoreId;

    /// Finds the record of `device`, or why it is gone.
    fn get(
        &self,
        device: DeviceId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Lookup, StoreError>> + Send;

    /// Stores a fresh login, in one write with what it displaces: the session that the same
    /// browser had before, and what the device ceiling asks for. Fails if the id is taken.
    fn insert(
        &self,
        insert: Insert,
        now: Timestamp,
    ) -> impl Future<Output = Result<InsertOutcome, StoreError>> + Send;

    /// Replaces the live record of `record.device_id` if it still has version `expected`.
    ///
    /// The stored version becomes `expected.next()`, whatever `record.version` says.
    /// The later notes of use stay, the store's or the record's. With [`Tokens::Renewed`] the refresh intent goes in
    /// the same write, whoever holds it: it speaks of tokens that are not there any more. With
    /// [`Tokens::Kept`] the store keeps its intent.
    fn replace(
        &self,
        expected: Version,
        record: TokenRecord,
        tokens: Tokens,
        now: Timestamp,
    ) -> impl Future<Output = Result<ReplaceOutcome, StoreError>> + Send;

    /// Ends the live record of `device`, if `expected` is absent or its version; the reason and
    /// the verifier stay answerable for a while.
    fn remove(
        &self,
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
    ) -> impl Future<Output = Result<RemoveOutcome, StoreError>> + Send;

    /// Lists the live records of `email`, oldest login first.
    fn devices_of(
        &self,
        email: &Email,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Arc<TokenRecord>>, StoreError>> + Send;

    /// Ends every live record of `email` but `except`, in one write, and returns them.
    fn remove_all_of(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Arc<TokenRecord>>, StoreError>> + Send;

    /// Takes a record over as another store of the same [`id`](TokenStore::id) kept it: version,
    /// notes of use and intent included. Never turns time back: what ended here stays ended, the
    /// higher version and the later use stay, whichever side has them, and to the same version a
    /// missing intent is added. What is dead by its own times is not taken.
    fn import(
        &self,
        record: TokenRecord,
        now: Timestamp,
    ) -> impl Future<Output = Result<ImportOutcome, StoreError>> + Send;

    /// Notes that `device` was used at `now`, as [`TokenRecord::touch`] says. Never changes the
    /// version; may be lost.
    fn touch(
        &self,
        device: DeviceId,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes the refresh lease of `device` until `until`, if its record still has version
    /// `expected` and nobody else holds it. The intent is durable when this returns
    /// [`LeaseOutcome::Granted`]. An intent that is left over is taken over: it keeps its
    /// `since`, and becomes uncertain.
    fn lease(
        &self,
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<LeaseOutcome, StoreError>> + Send;

    /// Moves the end of a lease that `holder` has to `until`; false if it has it no longer.
    fn extend_lease(
        &self,
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives the lease of `device` back, if `holder` has it.
    fn release(
        &self,
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The live records with an intent that nobody holds: refreshes to settle.
    ///
    /// A store that only one process can have open takes no lease over from the process before:
    /// every intent that it finds at opening is uncertain and not held.
    fn open_intents(
        &self,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<DeviceId>, StoreError>> + Send;

    /// Frees the space of at most `limit` dead records; returns how many it freed. The records
    /// were absent already.
    fn purge_expired(
        &self,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Reads the live records in the store's own order, at most `limit` after `after`. A record
    /// that lives through the whole walk is seen at least once. A cursor that is none of this
    /// store's is an error.
    fn scan(
        &self,
        after: Option<Cursor>,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Counts what the store holds.
    fn stats(&self, now: Timestamp) -> impl Future<Output = Result<StoreStats, StoreError>> + Send;

    /// Whether a write would be taken.
    ///
    /// # Errors
    /// Why it would not.
    fn check_writable(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
