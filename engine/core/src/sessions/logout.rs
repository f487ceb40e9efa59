//! Logout: one device, the others, all of them, and all of an email.

use std::sync::Arc;

use super::Sessions;
use crate::{
    Credential, DeviceId, Email, EndReason, Error, EventKind, Issuer, Lookup, RemoveOutcome,
    TokenRecord, TokenStore,
};

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Ends the session of `credential`; false if there was none to end. It is durable when this
    /// returns.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn logout(&self, credential: &Credential) -> Result<bool, Error> {
        let record = match self.authenticate(credential).await {
            Ok(record) => record,
            Err(Error::Ended(EndReason::Expired)) => {
                self.end_expired(credential.device_id()).await?;
                return Ok(false);
            }
            Err(error) if error.is_logged_out() => return Ok(false),
            Err(error) => return Err(error),
        };
        self.end(record, EndReason::Logout).await
    }

    /// Makes it final that the session of `device` expired: the clock may be wrong.
    pub(super) async fn end_expired(&self, device: DeviceId) -> Result<(), Error> {
        self.inner.store.remove(device, None, EndReason::Logout, self.now()).await?;
        Ok(())
    }

    /// Ends `device`, which must be one of the same user's.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`] for a device that is not there and for somebody else's alike;
    /// otherwise as [`Sessions::look`].
    pub async fn end_device(&self, credential: &Credential, device: DeviceId) -> Result<(), Error> {
        let asking = self.authenticate(credential).await?;
        let record = self.device_of(&asking, device).await?;
        let own = record.device_id == asking.device_id;
        let reason = if own { EndReason::Logout } else { EndReason::EndedByUser };
        match self.end(record, reason).await? {
            true => Ok(()),
            false => Err(Error::NoSuchDevice),
        }
    }

    /// Ends all devices of the user, but the asking one if `keep_current`; returns how many.
    ///
    /// # Errors
    /// As [`Sessions::look`].
    pub async fn end_devices(
        &self,
        credential: &Credential,
        keep_current: bool,
    ) -> Result<usize, Error> {
        let asking = self.authenticate(credential).await?;
        let except = keep_current.then_some(asking.device_id);
        self.end_all(&asking.email, except, EndReason::EndedByUser).await
    }

    /// Ends all devices of `email` on behalf of a service; returns how many.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn end_all_of(&self, email: &Email) -> Result<usize, Error> {
        self.end_all(email, None, EndReason::EndedByService).await
    }

    /// The live record of `device`, if it belongs to the user of `asking`.
    pub(super) async fn device_of(
        &self,
        asking: &TokenRecord,
        device: DeviceId,
    ) -> Result<Arc<TokenRecord>, Error> {
        match self.inner.store.get(device, self.now()).await? {
            Lookup::Live(record) if record.email == asking.email => Ok(record),
            _ => Err(Error::NoSuchDevice),
        }
    }

    /// Ends `device` whatever its version: a logout beats a running refresh.
    async fn end(&self, ending: Arc<TokenRecord>, reason: EndReason) -> Result<bool, Error> {
        let device = ending.device_id;
        self.note(&[ending]).await;
        match self.inner.store.remove(device, None, reason, self.now()).await? {
            RemoveOutcome::Removed(record) => {
                self.tell(&record, EventKind::LoggedOut(reason));
                self.revoke(vec![record]);
                Ok(true)
            }
            RemoveOutcome::Conflict(_) | RemoveOutcome::Gone(_) => Ok(false),
        }
    }

    async fn end_all(
        &self,
        email: &Email,
        except: Option<DeviceId>,
        reason: EndReason,
    ) -> Result<usize, Error> {
        self.note_all_of(email, except).await;
        let ended = self.inner.store.remove_all_of(email, except, reason, self.now()).await?;
        for record in &ended {
            self.tell(record, EventKind::LoggedOut(reason));
        }
        let count = ended.len();
        self.revoke(ended);
        Ok(count)
    }
}
