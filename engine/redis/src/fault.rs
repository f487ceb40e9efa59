//! What goes wrong between the store and Redis, one sentence each.

use std::error::Error;

use tokenkeep_core::keyring::{KeyId, Unfit};
use tokenkeep_core::{RandomUnavailable, StoreError};

/// Why Redis could not do what it was asked to. The store recovers by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no connection.
    #[error("redis cannot be reached: check that it runs, its address and the network")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// There is a connection, and no answer.
    #[error("redis does not answer in time: check its load, and whether it speaks TLS if it is to")]
    TimedOut,
    /// It starts.
    #[error("redis is loading its data: it will answer when that is done")]
    Loading,
    /// It is a replica, or lost its master.
    #[error("redis takes no writes: it is a replica, or its master is gone")]
    ReadOnly,
    /// `maxmemory` is reached.
    #[error("redis is out of memory: raise its maxmemory")]
    OutOfMemory,
    /// It cannot save.
    #[error("redis refuses writes: it cannot save to its disk")]
    CannotSave,
    /// It has fewer replicas than `min-replicas-to-write`.
    #[error("redis refuses writes: too few of its replicas follow it")]
    NoReplicas,
    /// Wrong user or password, or none.
    #[error("redis refuses the user or the password")]
    Unauthenticated,
    /// The user may not do that.
    #[error("redis does not permit that: check commands and keys in the ACL of the user")]
    NotPermitted,
    /// Slots are not served, or keys move.
    #[error("the redis cluster does not serve all of its slots")]
    ClusterDown,
    /// Redis Sentinel does not know the master.
    #[error("the sentinels know no such master, or it is down")]
    NoMaster,
    /// A single server was taken for a cluster.
    #[error("this redis is not a cluster")]
    NoCluster,
    /// The certificate is not one that is trusted, or for another name.
    #[error("the certificate of redis is not trusted: check its authority, name and dates")]
    Certificate(#[source] Box<dyn Error + Send + Sync>),
    /// TLS could not be set up.
    #[error("no secure connection to redis: check that it speaks TLS at this address")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// It hangs up, or answers in another protocol: it expects TLS, or takes no more connections.
    #[error("redis hangs up at once: check its maxclients, and use rediss:// if it speaks TLS")]
    NotRedis(#[source] Box<dyn Error + Send + Sync>),
    /// Anything else.
    #[error("redis failed")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::unavailable(fault)
    }
}

/// What was written of a login is taken back: it took longer than others waited for it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the login took too long and was given up")]
pub(crate) struct GivenUp;

/// This server seals with a key that the store has let go of.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the key {key} was retired, and this server still seals with it: have it read the key ring \
     again"
)]
pub(crate) struct Retired {
    pub(crate) key: KeyId,
}

/// An answer of a script that does not have the form of one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("redis gave an answer that is not understood")]
pub(crate) struct NotUnderstood;

impl From<NotUnderstood> for StoreError {
    fn from(error: NotUnderstood) -> Self {
        Self::unavailable(error)
    }
}

/// Why a store was not opened. Nothing was taken from it, nor put in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An address is not one.
    #[error("not an address of redis: redis://host:port or rediss://host:port is expected")]
    Address,
    /// The certificate authorities are none.
    #[error("there is no certificate authority to trust: PEM certificates are expected")]
    Authorities,
    /// The prefix has braces in it.
    #[error("the prefix of keys must not have braces in it")]
    Prefix,
    /// Redis cannot help.
    #[error("the store on redis cannot be opened")]
    Redis(#[source] Fault),
    /// The store was written by a newer version.
    #[error("the store has format {format}: open it with the newer version that wrote it")]
    NewerFormat {
        /// The format of the store.
        format: u8,
    },
    /// What the store says of itself cannot be read.
    #[error("what the store says of itself is damaged: restore a backup of redis")]
    Damaged,
    /// The key ring belongs to another store.
    #[error("the key ring does not fit this store: key {key} is missing in it or another one")]
    WrongKeyRing {
        /// The key that is missing or different.
        key: KeyId,
    },
    /// The key ring lacks a key that records may be sealed with.
    #[error(
        "the key {key} is missing in the key ring, and records may be sealed with it: put it back"
    )]
    KeyMissing {
        /// The key that is missing.
        key: KeyId,
    },
    /// The store is sealed, and it was asked for without sealing.
    #[error("the store is sealed: open it with sealing on")]
    Sealed,
    /// No id could be drawn for a fresh store.
    #[error("no fresh store can be made")]
    Random(#[source] RandomUnavailable),
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self::Redis(fault)
    }
}

impl From<Unfit> for OpenError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Missing(key) => Self::KeyMissing { key },
            Unfit::Different(key) => Self::WrongKeyRing { key },
        }
    }
}
