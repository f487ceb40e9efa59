//! The devices of a user: list and label.

use std::sync::Arc;

use super::Sessions;
use crate::{
    Credential, DeviceId, Email, Error, EventKind, Issuer, Label, ReplaceOutcome, TokenRecord,
    TokenStore, Tokens,
};

/// The devices of a user, and the one that asks.
#[derive(Clone, Debug)]
pub struct Devices {
    /// The device that asks.
    pub asking: Arc<TokenRecord>,
    /// All live devices of the user, oldest login first; the asking one is among them.
    pub all: Vec<Arc<TokenRecord>>,
}

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// Lists the devices of the user.
    ///
    /// # Errors
    /// As [`Sessions::look`].
    pub async fn devices(&self, credential: &Credential) -> Result<Devices, Error> {
        let asking = self.authenticate(credential).await?;
        let all = self.inner.store.devices_of(&asking.email, self.now()).await?;
        Ok(Devices { asking, all })
    }

    /// Lists the devices of `email` on behalf of a service.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn devices_of(&self, email: &Email) -> Result<Vec<Arc<TokenRecord>>, Error> {
        Ok(self.inner.store.devices_of(email, self.now()).await?)
    }

    /// Sets or takes away the label of `device`, which must be one of the same user's; returns
    /// its record with the one that asked.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`] for a device that is not there and for somebody else's alike;
    /// otherwise as [`Sessions::look`].
    pub async fn label_device(
        &self,
        credential: &Credential,
        device: DeviceId,
        label: Option<Label>,
    ) -> Result<(Arc<TokenRecord>, Arc<TokenRecord>), Error> {
        let asking = self.authenticate(credential).await?;
        let mut record = self.device_of(&asking, device).await?;
        loop {
            let mut changed = TokenRecord::clone(&record);
            changed.label.clone_from(&label);
            // A running refresh keeps its lease, and meets the new version.
            let (store, now) = (&self.inner.store, self.now());
            match store.replace(record.version, changed, Tokens::Kept, now).await? {
                ReplaceOutcome::Replaced(record) => {
                    self.tell(&record, EventKind::Relabelled);
                    return Ok((record, asking));
                }
                ReplaceOutcome::Conflict(other) => record = other,
                ReplaceOutcome::Gone(_) => return Err(Error::NoSuchDevice),
            }
        }
    }
}
