//! What a store answers: what it knows of a device, and what became of a write.

use std::sync::Arc;

use crate::{EndReason, Timestamp, TokenRecord, Verifier};

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
