//! What a store is asked for: a login and its ceiling, a lease and its holder.

use std::num::NonZeroUsize;

use crate::device::random_bytes;
use crate::{DeviceId, RandomUnavailable, TokenRecord};

/// A login to store.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The fresh record; it gets [`Version::FIRST`](crate::Version::FIRST).
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
    /// The devices that were not seen for the longest time make place; of those that were seen
    /// at the same time, the oldest login.
    EvictLeastRecentlySeen,
}

/// Whether a replace brings other tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// The tokens are as they were: another label, for example.
    Kept,
    /// A refresh brought new ones.
    Renewed,
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

/// In what state a lease is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The request was not sent: nothing is owed. An older uncertainty stays.
    NotSent,
    /// The request may have been understood: the refresh token may be spent.
    Uncertain,
}
