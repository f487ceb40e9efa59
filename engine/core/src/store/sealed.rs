//! The port of stores whose keys change while they are used.

use std::future::Future;

use super::{StoreError, TokenStore};
use crate::KeyRing;
use crate::keyring::{KeyId, ResealProgress, RingError, RingUse};

/// A store that seals what it keeps, and changes its keys while it is used: another ring is taken
/// up, everything is brought under its active key, and the older keys are let go of. Nobody is
/// logged out by it.
pub trait SealedStore: TokenStore {
    /// Seals with the active key of `ring` from here on, and opens with all of its keys. What is
    /// sealed with another one stays so until it is written again, or
    /// [resealed](Self::reseal).
    ///
    /// The ring must be where the next start finds it before this is called.
    ///
    /// # Errors
    /// [`RingError`] if the ring lacks a key that the store needs, or is another one.
    fn take_ring(&self, ring: KeyRing) -> impl Future<Output = Result<(), RingError>> + Send;

    /// The ids of the keys that the store has, the active one first; none if it does not seal.
    fn key_ids(&self) -> Vec<KeyId>;

    /// Brings every record under the active key, while the store is used. A record keeps its
    /// version: nobody sees a difference, and whoever writes it meanwhile writes it under the
    /// active key anyway.
    ///
    /// `progress` is told how far it is, and calls it off with `false`. Called off, or after a
    /// crash, what is under the active key stays so, and the next call goes on with the rest.
    ///
    /// # Errors
    /// [`RingError`]. [`RingError::Unreadable`] comes last, when everything else is done: those
    /// records are under their old key.
    fn reseal(
        &self,
        progress: impl FnMut(ResealProgress) -> bool + Send,
    ) -> impl Future<Output = Result<(), RingError>> + Send;

    /// How many records are under each key; proportional to their number.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn key_use(&self) -> impl Future<Output = Result<Vec<RingUse>, StoreError>> + Send;

    /// Lets go of the key `key`, so that the store does not ask for it any more.
    ///
    /// # Errors
    /// [`RingError::StillNeeded`] while a record is under it, [`RingError::Active`] if it seals,
    /// [`RingError::SealsElsewhere`] if another process seals with it.
    fn retire(&self, key: KeyId) -> impl Future<Output = Result<(), RingError>> + Send;
}
