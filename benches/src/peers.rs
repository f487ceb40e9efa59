//! The stores under comparison, each doing the same work in its own natural way.
//!
//! [`Peer`] is what the benches see. Most embedded peers are three ordered trees ([`trees`]) behind
//! the same group commit ([`group_commit`]), both written once.

pub mod append;
pub mod fjall;
pub mod group_commit;
pub mod lmdb;
pub mod map;
pub mod redb;
pub mod redis;
pub(crate) mod redis_server;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
pub mod row;
pub mod sled;
pub mod sqlite;
#[cfg(test)]
mod tests;
pub mod tokenkeep;
pub mod trees;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::Entry;

/// A store under comparison, open on a directory of its own.
pub trait Peer: Sized + Send + Sync {
    /// What one thread works with.
    type Client: Client;

    /// A fresh store in `directory`.
    ///
    /// # Errors
    /// What the store says.
    fn create(directory: &Path) -> Result<Self>;

    /// A handle for one more thread.
    ///
    /// # Errors
    /// What the store says.
    fn client(&self) -> Result<Self::Client>;

    /// Stores many logins; durable when this returns.
    ///
    /// # Errors
    /// What the store says.
    fn load(&self, entries: &[Entry]) -> Result<()>;

    /// Lets the clock go on to `now` seconds after [`NOW`](crate::NOW) and frees what died until
    /// then, from records and indexes. It is `dead`: a store that keeps its own time is told.
    ///
    /// # Errors
    /// What the store says.
    fn expire(&self, now: u64, dead: &[Entry]) -> Result<Expired>;
}

/// One thread's way to a [`Peer`]. Every method fails with what the store says.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Client {
    /// What a read hands out.
    type Record: Versioned;

    /// Stores a login with its email index and its expiry; durable when this returns.
    fn insert(&mut self, entry: Entry) -> Result<()>;

    /// Reads the record of the device, and puts `entry` in its place if nobody else did in
    /// between; otherwise it does so again. Durable when this returns.
    fn refresh(&mut self, entry: Entry) -> Result<()>;

    /// The live record of device `number`.
    fn get(&mut self, number: u64) -> Result<Option<Self::Record>>;

    /// The live records of the user of device `number`.
    fn list(&mut self, number: u64) -> Result<Vec<Self::Record>>;
}

/// A record that says how often it was written.
pub trait Versioned {
    /// 1 for a login, one more for each refresh.
    fn version(&self) -> u64;
}

/// What became of dead records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// How many are gone.
    pub freed: u64,
    /// How long that took.
    pub took: Duration,
}

/// How much memory a store may use to keep what it read.
pub const CACHE_BYTES: usize = 4 << 30;
/// How many dead records a store frees in one transaction.
pub const PURGED_AT_ONCE: usize = 1000;
