//! What every request does: from the credential to a session that may go on.

use std::sync::Arc;

use super::refresh::Need;
use super::{Session, Sessions};
use crate::{
    Credential, EndReason, Error, Issuer, Lookup, Standing, TokenRecord, TokenStore, Verifier,
};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Finds the session of `credential` with a usable access token, refreshing it if it must,
    /// and notes that the device was used.
    ///
    /// # Errors
    /// [`Error::NotLoggedIn`] or [`Error::Ended`] if the user must log in again;
    /// [`Error::Unavailable`] if the access token is dead and the issuer cannot be reached;
    /// [`Error::Store`].
    pub async fn resume(&self, credential: &Credential) -> Result<Session, Error> {
        let record = self.authenticate(credential).await?;
        self.note_use(&record);
        self.usable(record).await
    }

    /// Finds the record of `credential` as it is: nothing is refreshed, nothing is extended.
    ///
    /// # Errors
    /// [`Error::NotLoggedIn`], [`Error::Ended`] or [`Error::Store`].
    pub async fn look(&self, credential: &Credential) -> Result<Session, Error> {
        self.authenticate(credential).await.map(Session::from)
    }

    /// The live record of `credential`. Why a session ended is told to its owner only.
    pub(super) async fn authenticate(
        &self,
        credential: &Credential,
    ) -> Result<Arc<TokenRecord>, Error> {
        let presented = credential.verifier(&self.inner.store.id());
        match self.inner.store.get(credential.device_id(), self.now()).await? {
            Lookup::Live(record) if record.verifier.matches(&presented) => Ok(record),
            Lookup::Ended(ended) if ended.verifier.matches(&presented) => {
                Err(Error::Ended(ended.reason))
            }
            Lookup::Live(_) | Lookup::Ended(_) => Err(Error::NotLoggedIn),
            Lookup::Absent => {
                // As for a wrong secret: hashed, compared, refused.
                let _ = std::hint::black_box(Verifier::NOBODY.matches(&presented));
                Err(Error::NotLoggedIn)
            }
        }
    }

    pub(super) async fn usable(&self, record: Arc<TokenRecord>) -> Result<Session, Error> {
        match record.standing(self.now(), &self.inner.settings.leeway) {
            Standing::Usable => Ok(record.into()),
            Standing::Fading => {
                self.refresh_in_background(&record);
                Ok(record.into())
            }
            Standing::Refreshable => self.refreshed(record, Need::Due).await,
            Standing::Expired => Err(Error::Ended(EndReason::Expired)),
        }
    }

    /// Notes that the device was used, about once in the touch interval; nobody waits for it.
    fn note_use(&self, record: &TokenRecord) {
        let now = self.now();
        let unseen = now.duration_since(record.last_seen_at);
        let often_enough = match record.idle_limit {
            // The limit must not run out between two touches.
            Some(limit) => self.inner.settings.touch_interval.min(limit / 8),
            None => self.inner.settings.touch_interval,
        };
        if unseen < often_enough {
            return;
        }
        let room = Arc::clone(&self.inner.touch_permits).try_acquire_owned();
        let Ok(permit) = room else { return };
        let (this, device) = (self.clone(), record.device_id);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = this.inner.store.touch(device, now).await {
                tracing::debug!(%device, %error, "a use was not noted");
            }
        });
    }
}
