//! What a service may ask about all users: devices by email, ending them, figures.

use reqwest::Method;
use tokenkeep_core::Email;
use tokenkeep_core::wire::{self, DeviceBody, DevicesBody, EndedBody, StatsBody};

use crate::{Error, SessionClient};

impl SessionClient {
    /// The devices on which `email` is logged in, oldest login first. Needs the scope `admin:read`.
    ///
    /// # Errors
    /// [`Error::is_misconfigured`] if the service key will not do, [`Error::is_unavailable`] if it
    /// is worth asking later.
    pub async fn devices_of(&self, email: &Email) -> Result<Vec<DeviceBody>, Error> {
        let request = self.transport.as_service(Method::GET, wire::ADMIN_DEVICES)?;
        let request = request.query(&[("email", email.as_str())]);
        self.transport.read::<DevicesBody>(request).await.map(|body| body.devices)
    }

    /// Ends every session of `email` and says how many there were: for when the address changed or
    /// the account was closed. Needs the scope `admin:write`.
    ///
    /// # Errors
    /// As [`SessionClient::devices_of`]; then some or all sessions may go on.
    pub async fn end_all_of(&self, email: &Email) -> Result<usize, Error> {
        let request = self.transport.as_service(Method::DELETE, wire::ADMIN_DEVICES)?;
        let request = request.query(&[("email", email.as_str())]);
        let ended = self.transport.change::<EndedBody>(request).await;
        // Whatever came of it: to ask once more than needed does no harm.
        self.tokens.forget_email(email);
        ended.map(|body| body.ended)
    }

    /// What the store holds and what the session flow is doing. Needs the scope `admin:read`.
    ///
    /// # Errors
    /// As [`SessionClient::devices_of`].
    pub async fn stats(&self) -> Result<StatsBody, Error> {
        let request = self.transport.as_service(Method::GET, wire::ADMIN_STATS)?;
        self.transport.read(request).await
    }
}
