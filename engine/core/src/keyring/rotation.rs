//! How a ring changes: a key is added, made active, taken up by a running store, and retired.

use std::sync::{Arc, PoisonError};

use super::{KeyId, KeyRing, Shared};
use crate::{StoreError, StoreId};

impl KeyRing {
    /// This ring without the key `id`, unless that is the active one.
    #[must_use]
    pub fn without(&self, id: KeyId) -> Option<Self> {
        let rest = || self.keys().iter().filter(|key| key.id != id).cloned().collect();
        (self.active() != id).then(|| Self::of(rest()))
    }

    /// The same keys as a ring of its own; what is taken up there is not here.
    #[must_use]
    pub fn detached(&self) -> Self {
        let reread = self.shared.reread.clone();
        Self { shared: Arc::new(Shared { keys: std::sync::RwLock::new(self.keys()), reread }) }
    }

    /// The same keys as a ring of its own that asks `reread` for a key which it does not have:
    /// another server may seal with one that this process has not read yet. What it finds opens,
    /// and seals nothing.
    #[must_use]
    pub fn rereading(&self, reread: impl Fn() -> Option<Self> + Send + Sync + 'static) -> Self {
        let keys = std::sync::RwLock::new(self.keys());
        Self { shared: Arc::new(Shared { keys, reread: Some(Arc::new(reread)) }) }
    }

    /// Takes the keys of `other` in place of its own, in every clone. For stores, which see to it
    /// first that what they hold can be opened with them.
    pub fn take_up(&self, other: &Self) {
        let keys = other.keys();
        *self.shared.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Whether the ring fits `store`, of which `checks` are the check values of all keys that
    /// anything may be sealed with: it has each of them, and none goes by the name of another.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn fits(&self, store: &StoreId, checks: &[(KeyId, [u8; 32])]) -> Result<(), Unfit> {
        let has_one = self.ids().any(|id| checks.iter().any(|(needed, _)| *needed == id));
        for (id, check) in checks {
            match self.check_value(*id, store) {
                Some(value) if value == *check => {}
                None if has_one => return Err(Unfit::Missing(*id)),
                _ => return Err(Unfit::Different(*id)),
            }
        }
        Ok(())
    }

    /// Looks for the key `id` where the ring comes from.
    pub(super) fn learned(&self, id: KeyId) -> Option<Arc<super::Key>> {
        let found = self.shared.reread.as_ref()?()?.known(id)?;
        let mut keys = self.shared.keys.write().unwrap_or_else(PoisonError::into_inner);
        if !keys.iter().any(|key| key.id == id) {
            tracing::info!(key = %id, "another server seals with a key that was read just now");
            *keys = keys.iter().cloned().chain([Arc::clone(&found)]).collect();
        }
        Some(found)
    }
}

/// How much a store holds under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingUse {
    /// The key.
    pub key: KeyId,
    /// Records under it, and rows that wait for their space to be reclaimed.
    pub records: u64,
}

/// How far resealing is, in whatever the store goes through: records, or blocks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResealProgress {
    /// What was gone through.
    pub done: u64,
    /// All that there was when it began.
    pub total: u64,
}

/// Why a ring does not fit a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It lacks this key, which the store needs.
    Missing(KeyId),
    /// Its key of this name is another one, or it has none of the store's: it is another ring.
    Different(KeyId),
}

impl From<Unfit> for RingError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Missing(key) => Self::Missing(key),
            Unfit::Different(key) => Self::Different(key),
        }
    }
}

/// Why a store did not change its keys. It goes on with those that it had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The store does not work.
    #[error("the store cannot do it")]
    Store(#[from] StoreError),
    /// A key is missing that the store needs.
    #[error("the key {0} is missing in the key ring, and the store needs it: put it back")]
    Missing(KeyId),
    /// A key goes by the name of another.
    #[error("the key {0} of the key ring is not the one of this store: it is another ring")]
    Different(KeyId),
    /// The key seals.
    #[error("the key {0} is the active one: rotate the ring first")]
    Active(KeyId),
    /// Records are sealed with the key.
    #[error("{} records are still under the key {}: reseal them first", .0.records, .0.key)]
    StillNeeded(RingUse),
    /// Another process that has the store open seals with the key, or did a moment ago.
    #[error(
        "another server sealed with the key {0} within the last minute: have every server read \
         the key ring again, and try again in a minute"
    )]
    SealsElsewhere(KeyId),
    /// Records cannot be resealed, because they cannot be read.
    #[error("{0} records cannot be read, and were left as they are")]
    Unreadable(u64),
    /// The store does not seal.
    #[error("sealing is off: the store has no keys")]
    NotSealed,
    /// The caller did not want it any more.
    #[error("it was called off; what was resealed stays so, and the next time goes on from there")]
    CalledOff,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_key_is_not_taken_out() {
        let ring = KeyRing::generate().unwrap();
        let rotated = ring.rotated().unwrap();
        assert!(rotated.without(rotated.active()).is_none());
        let alone = rotated.without(ring.active()).unwrap();
        assert_eq!(alone.ids().collect::<Vec<_>>(), [rotated.active()]);
    }

    #[test]
    fn clones_are_one_ring_and_a_detached_one_is_not() {
        let ring = KeyRing::generate().unwrap();
        let (clone, detached) = (ring.clone(), ring.detached());
        let rotated = ring.rotated().unwrap();
        ring.take_up(&rotated);
        assert_eq!(clone.active(), rotated.active());
        assert_ne!(detached.active(), rotated.active());
    }

    #[test]
    fn a_key_that_is_found_where_the_ring_comes_from_opens_and_does_not_seal() {
        let ring = KeyRing::generate().unwrap();
        let rotated = ring.rotated().unwrap();
        let elsewhere = rotated.clone();
        let reading = ring.rereading(move || Some(elsewhere.clone()));
        assert!(reading.key(KeyId([0; 4])).is_none());
        assert!(reading.key(rotated.active()).is_some());
        assert_eq!(reading.active(), ring.active());
        assert_eq!(reading.ids().count(), 2);
    }
}
