//! The key ring of a server that runs: read again, and what that makes possible.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokenkeep_core::keyring::KeyId;

use super::StoreUpkeep;
use super::progress::{Failed, Progress};
use crate::exit_code;
use crate::store::{Sealed, SealedFailure};

impl StoreUpkeep {
    /// Reads the key ring again where it comes from, and takes it up. Returns its active key.
    ///
    /// # Errors
    /// Why the stores go on with the ring that they had.
    pub async fn take_ring(&self) -> Result<KeyId, SealedFailure> {
        let ring = Sealed::read_ring(&self.config)?;
        let sealed = self.sealed()?;
        let taken = sealed.take_ring(&ring).await;
        sealed.close(false).await.map_err(tokenkeep_core::keyring::RingError::Store)?;
        taken.map(|()| ring.active())
    }

    /// Takes the ring up, which must have `active` as its active key: the server may read another
    /// one than whoever asks.
    pub(super) async fn take_ring_of(self, active: KeyId) -> Result<String, Failed> {
        let ring = Sealed::read_ring(&self.config)?;
        if ring.active() != active {
            let (source, there) = (self.config.key_ring(), ring.active());
            let cause = format!("the server's ring, {source}, has {there} as its active key");
            return Err(Failed { cause, exit_code: exit_code::SETTINGS });
        }
        let active = self.take_ring().await?;
        Ok(format!("records are sealed with the key {active} from here on"))
    }

    pub(super) async fn reseal(self, progress: Arc<Progress>) -> Result<String, Failed> {
        progress.enter("resealing");
        let sealed = self.sealed()?;
        let resealed = sealed.reseal(|done| {
            progress.done.store(done, Ordering::Relaxed);
            !progress.stop.is_cancelled()
        });
        let resealed = resealed.await;
        sealed.close(false).await?;
        resealed?;
        Ok("everything is under the active key".to_owned())
    }

    pub(super) async fn retire(self, key: KeyId) -> Result<String, Failed> {
        let sealed = self.sealed()?;
        let retired = sealed.retire(key).await;
        sealed.close(false).await?;
        retired?;
        Ok(format!("nothing needs the key {key} any more"))
    }

    fn sealed(&self) -> Result<Sealed, SealedFailure> {
        if self.has_moved.load(Ordering::Acquire) {
            return Err(SealedFailure::Moved);
        }
        let (clock, store) = (Arc::clone(&self.clock), self.store.current());
        Ok(Sealed::of(&self.config, clock, store, self.outbox.clone())?)
    }
}
