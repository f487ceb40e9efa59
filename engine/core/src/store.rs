//! The storage port: what every store of records must promise.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::device::random_bytes;
use crate::{
    DeviceId, Email, EndReason, RandomUnavailable, StoreId, Timestamp, TokenRecord, Verifier,
    Version,
};

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
/// - A store does not trust what it reads: a record that does not open, or whose tag does not
///   match, is [`StoreError::Unreadable`], and stays where it is.
///
/// `store_conformance!` of the `testing` feature is this contract as tests.
///
/// [`remove`]: TokenStore::remove
/// [`remove_all_of`]: TokenStore::remove_all_of
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
    /// The store keeps its own notes of use. With [`Tokens::Renewed`] the refresh intent goes in
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
    /// notes of use and intent included. Never turns time back: what ended here stays ended, a
    /// higher version stays, and to the same version the later use and a missing intent are added.
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
    /// that lives through the whole walk is seen at least once.
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

/// What is known of a device id.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A live record.
    Live(Arc<TokenRecord>),
    /// It ended, recently enough to say why.
    Ended(Ended),
    /// Nothing is known of it.
    Absent,
}

impl Lookup {
    /// The live record, if there is one.
    #[must_use]
    pub fn live(self) -> Option<Arc<TokenRecord>> {
        match self {
            Self::Live(record) => Some(record),
            Self::Ended(_) | Self::Absent => None,
        }
    }
}

/// What stays of a session that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Why it ended.
    pub reason: EndReason,
    /// Tells its owner, who may hear the reason, from a stranger.
    pub verifier: Verifier,
}

/// A login to store.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The fresh record; it gets [`Version::FIRST`].
    pub record: TokenRecord,
    /// The session that the same browser had before; it ends as replaced, if it is of the same
    /// email, and does not count towards the ceiling.
    pub replaces: Option<DeviceId>,
    /// How many devices a user may have.
    pub ceiling: Option<Ceiling>,
}

/// How many devices a user may have, and what happens to a login beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The number of devices.
    pub devices: NonZeroUsize,
    /// What happens to a login beyond.
    pub policy: CeilingPolicy,
}

/// What happens to a login over the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CeilingPolicy {
    /// The login is refused.
    Reject,
    /// The devices that were not seen for the longest time make place.
    EvictLeastRecentlySeen,
}

/// What became of an insert.
#[derive(Clone, Debug)]
pub enum InsertOutcome {
    /// The login is stored; these sessions ended for it.
    Inserted {
        /// The record as it is stored.
        record: Arc<TokenRecord>,
        /// What it displaced.
        displaced: Vec<Removed>,
    },
    /// The device id is taken, by a live record or one that ended a while ago.
    Taken,
    /// The user has as many devices as the ceiling allows.
    CeilingReached,
}

/// A record that ended, and why.
#[derive(Clone, Debug)]
pub struct Removed {
    /// The record as it was.
    pub record: Arc<TokenRecord>,
    /// Why it ended.
    pub reason: EndReason,
}

/// Whether a replace brings other tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// The tokens are as they were: another label, for example.
    Kept,
    /// A refresh brought new ones.
    Renewed,
}

/// What became of a replace.
#[derive(Clone, Debug)]
pub enum ReplaceOutcome {
    /// The record as it is stored.
    Replaced(Arc<TokenRecord>),
    /// Another version is there.
    Conflict(Arc<TokenRecord>),
    /// No live record is there; why, if that is known.
    Gone(Option<EndReason>),
}

/// What became of a remove.
#[derive(Clone, Debug)]
pub enum RemoveOutcome {
    /// The record as it was.
    Removed(Arc<TokenRecord>),
    /// Another version is there.
    Conflict(Arc<TokenRecord>),
    /// No live record was there; why, if that is known.
    Gone(Option<EndReason>),
}

/// What became of a record that was to be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is stored.
    Imported,
    /// The same version or a higher one was here.
    Kept,
    /// The session ended here.
    Ended,
    /// The record is dead.
    Expired,
}

/// Names one holder of one lease, so that only it can release it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HolderId([u8; 16]);

impl HolderId {
    /// Draws a fresh holder.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomUnavailable> {
        random_bytes().map(Self)
    }

    /// The holder made of these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the holder.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What became of taking a lease.
#[derive(Clone, Debug)]
pub enum LeaseOutcome {
    /// The lease is taken and durable; the record as it is, its intent included.
    Granted(Arc<TokenRecord>),
    /// Somebody else is at work until then, unless they are done earlier.
    Held {
        /// When the other lease ends at the latest.
        until: Timestamp,
    },
    /// The record has another version: somebody was faster.
    Conflict(Arc<TokenRecord>),
    /// No live record is there; why, if that is known.
    Gone(Option<EndReason>),
}

/// In what state a lease is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The request was not sent: nothing is owed. An older uncertainty stays.
    NotSent,
    /// The request may have been understood: the refresh token may be spent.
    Uncertain,
}

/// A part of a walk over the store.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Arc<TokenRecord>>,
    /// Where to go on; absent at the end.
    pub next: Option<Cursor>,
}

/// A place in a walk over a store; only the store that made it understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Box<[u8]>);

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Live records.
    pub devices: u64,
    /// Emails with a live record.
    pub users: u64,
    /// Bytes on disk, as far as the store can tell.
    pub size_bytes: u64,
    /// Rows that wait for their space to be reclaimed.
    pub garbage_rows: u64,
    /// Records that could not be read since the store was opened.
    pub unreadable: u64,
}

/// Why a store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot work at the moment; the same call may work later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The record is there and cannot be read: damaged, tampered with, or sealed with a key
    /// that is not in the ring. It was left as it is.
    #[error("the record of device {device} cannot be read")]
    Unreadable {
        /// The device whose record it is.
        device: DeviceId,
        /// What is wrong with it.
        #[source]
        cause: crate::codec::CodecError,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The store cannot work because of `cause`.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into())
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
