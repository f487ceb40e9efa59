//! What callers ask of the writer, and the way back for the answer.

use std::fmt;

use tokenkeep_core::codec::{self, EncodedRecord};
use tokenkeep_core::keyring::{KeyId, RingError};
use tokenkeep_core::{
    Ceiling, DeviceId, Email, EndReason, HolderId, ImportOutcome, InsertOutcome, KeyRing,
    LeaseOutcome, RefreshIntent, Release, RemoveOutcome, Removed, ReplaceOutcome, StoreError,
    StoreId, Timestamp, TokenRecord, Tokens, Version,
};

/// A write, with whom to tell what became of it.
#[derive(Debug)]
pub(crate) enum Command {
    Insert {
        record: Box<Prepared>,
        replaces: Option<DeviceId>,
        ceiling: Option<Ceiling>,
        now: Timestamp,
        reply: Reply<InsertOutcome>,
    },
    Replace {
        expected: Version,
        record: Box<Prepared>,
        tokens: Tokens,
        now: Timestamp,
        reply: Reply<ReplaceOutcome>,
    },
    Remove {
        device: DeviceId,
        expected: Option<Version>,
        reason: EndReason,
        now: Timestamp,
        reply: Reply<RemoveOutcome>,
    },
    RemoveAllOf {
        email: Email,
        except: Option<DeviceId>,
        reason: EndReason,
        now: Timestamp,
        reply: Reply<Vec<Removed>>,
    },
    Import {
        record: Box<Prepared>,
        intent: Option<RefreshIntent>,
        now: Timestamp,
        reply: Reply<ImportOutcome>,
    },
    Touch {
        device: DeviceId,
        now: Timestamp,
        reply: Reply<()>,
    },
    Lease {
        device: DeviceId,
        expected: Version,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
        reply: Reply<LeaseOutcome>,
    },
    ExtendLease {
        device: DeviceId,
        holder: HolderId,
        until: Timestamp,
        now: Timestamp,
        reply: Reply<bool>,
    },
    Release {
        device: DeviceId,
        holder: HolderId,
        release: Release,
        now: Timestamp,
        reply: Reply<()>,
    },
    Upkeep(Upkeep),
}

/// What stands alone, between two batches.
#[derive(Debug)]
pub(crate) enum Upkeep {
    /// Frees at most so many records that died by `now`.
    Purge { limit: usize, now: Timestamp, reply: Reply<usize> },
    /// Puts everything on the disk.
    Flush { reply: Reply<()> },
    /// Gives free space back to the file system.
    Compact { reply: Reply<()> },
    /// Seals with this ring from here on, once the file says so.
    TakeRing { ring: KeyRing, reply: Reply<Result<(), RingError>> },
    /// Carries rows on, sealed with the active key, from the head of the log or from where the
    /// last call came to; says which block is next.
    Reseal { anew: bool, reply: Reply<u64> },
    /// Forgets a key that no row in the file is under, if `active` still is the active one.
    Retire { key: KeyId, active: KeyId, reply: Reply<Result<(), RingError>> },
    /// Puts everything on the disk, closes the file and ends the writer.
    Close { reply: Reply<()> },
}

impl Command {
    /// About how many bytes the command adds to the file.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Insert { record, .. }
            | Self::Replace { record, .. }
            | Self::Import { record, .. } => record.bytes.header.len() + record.bytes.body.len(),
            _ => 128,
        }
    }

    /// Says that the command was not carried out.
    pub(crate) fn refuse(self, error: StoreError) {
        match self {
            Self::Insert { reply, .. } => reply.send(Err(error)),
            Self::Replace { reply, .. } => reply.send(Err(error)),
            Self::Remove { reply, .. } => reply.send(Err(error)),
            Self::RemoveAllOf { reply, .. } => reply.send(Err(error)),
            Self::Import { reply, .. } => reply.send(Err(error)),
            Self::Touch { reply, .. }
            | Self::Release { reply, .. }
            | Self::Upkeep(
                Upkeep::Flush { reply } | Upkeep::Compact { reply } | Upkeep::Close { reply },
            ) => reply.send(Err(error)),
            Self::Lease { reply, .. } => reply.send(Err(error)),
            Self::ExtendLease { reply, .. } => reply.send(Err(error)),
            Self::Upkeep(Upkeep::Purge { reply, .. }) => reply.send(Err(error)),
            Self::Upkeep(Upkeep::Reseal { reply, .. }) => reply.send(Err(error)),
            Self::Upkeep(Upkeep::TakeRing { reply, .. } | Upkeep::Retire { reply, .. }) => {
                reply.send(Err(error));
            }
        }
    }
}

/// A record and its bytes. The caller seals, so that the writer need not.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) record: TokenRecord,
    pub(crate) bytes: EncodedRecord,
}

impl Prepared {
    /// Seals `record` as version `version`.
    pub(crate) fn new(
        mut record: TokenRecord,
        version: Version,
        ring: &KeyRing,
        store: &StoreId,
    ) -> Result<Box<Self>, StoreError> {
        record.version = version;
        record.refresh_intent = None;
        let bytes = codec::encode(&record, ring, store).map_err(StoreError::unavailable)?;
        Ok(Box::new(Self { record, bytes }))
    }

    /// The same, sealed with the key that is active by the time it is written: the ring may have
    /// been rotated while it waited.
    pub(crate) fn sealed_by(self, ring: &KeyRing, store: &StoreId) -> Result<Self, StoreError> {
        if codec::body_key(&self.bytes.body) == Some(ring.active()) {
            return Ok(self);
        }
        let bytes = codec::encode(&self.record, ring, store).map_err(StoreError::unavailable)?;
        Ok(Self { bytes, ..self })
    }
}

/// Takes one answer to whoever waits for it, be it a task or a thread.
pub(crate) struct Reply<T>(Box<dyn FnOnce(Result<T, StoreError>) + Send>);

impl<T> Reply<T> {
    pub(crate) fn new(send: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    pub(crate) fn send(self, answer: Result<T, StoreError>) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
