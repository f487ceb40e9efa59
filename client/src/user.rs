//! What a user's own device may ask: login, session, devices, logout.

use reqwest::Method;
use reqwest::header::{HeaderMap, SET_COOKIE};
use serde::Serialize;
use tokenkeep_core::wire::{self, DeviceBody, DevicesBody, SessionBody};
use tokenkeep_core::{Credential, DeviceId, Password};

use crate::{Error, SessionClient, body};

/// The login as it is sent.
#[derive(Serialize)]
struct Login<'a> {
    email: &'a str,
    password: &'a str,
}

impl SessionClient {
    /// Logs a user in on a device that did not exist before.
    ///
    /// The email goes to the auth server as it is typed. Keep the credential as what it is: the
    /// key to the session.
    ///
    /// # Errors
    /// [`Error::is_refused`] if the auth server says no, [`Error::is_unavailable`] if it is worth
    /// trying later: after [`Error::retry_after`], when there were too many attempts.
    pub async fn login(
        &self,
        email: &str,
        password: &Password,
    ) -> Result<(Credential, SessionBody), Error> {
        let login = Login { email, password: password.expose() };
        let request = self.transport.request(Method::POST, wire::LOGIN).json(&login);
        let call = async {
            let response = self.transport.open(request).await?;
            let credential =
                read_cookie(response.headers()).ok_or_else(|| Error::unexpected(NoCookie))?;
            Ok((credential, body::read_json(response).await?))
        };
        self.transport.within_total(call).await
    }

    /// The standing of a session, without extending it.
    ///
    /// # Errors
    /// [`Error::is_logged_out`] if it is over, and as [`SessionClient::token`].
    pub async fn session(&self, credential: &Credential) -> Result<SessionBody, Error> {
        let request = self.transport.as_device(Method::GET, wire::SESSION, credential)?;
        self.transport.read(request).await
    }

    /// Ends the session of `credential`. To end one that is over is no error.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if the server cannot be asked: then the session may go on.
    pub async fn logout(&self, credential: &Credential) -> Result<(), Error> {
        self.tokens.forget(credential);
        let request = self.transport.as_device(Method::POST, wire::LOGOUT, credential)?;
        let ended = self.transport.open(request).await;
        // Once more: a call for a token may have started in between.
        self.tokens.forget(credential);
        ended.map(drop)
    }

    /// The devices on which the user of `credential` is logged in, oldest login first.
    ///
    /// # Errors
    /// As [`SessionClient::session`].
    pub async fn devices(&self, credential: &Credential) -> Result<Vec<DeviceBody>, Error> {
        let request = self.transport.as_device(Method::GET, wire::DEVICES, credential)?;
        self.transport.read::<DevicesBody>(request).await.map(|body| body.devices)
    }

    /// Ends one device of the user of `credential`.
    ///
    /// # Errors
    /// As [`SessionClient::session`], and [`Error::is_refused`] with the code `NoSuchDevice` if
    /// the user has none of that name.
    pub async fn end_device(&self, credential: &Credential, device: DeviceId) -> Result<(), Error> {
        let path = format!("{}/{device}", wire::DEVICES);
        let request = self.transport.as_device(Method::DELETE, &path, credential)?;
        let ended = self.transport.open(request).await;
        // Whatever came of it: to ask once more than needed does no harm.
        self.tokens.forget_device(device);
        ended.map(drop)
    }
}

/// The credential in the cookie that a login sets.
fn read_cookie(headers: &HeaderMap) -> Option<Credential> {
    headers.get_all(SET_COOKIE).iter().find_map(|cookie| {
        let (name, rest) = cookie.to_str().ok()?.split_once('=')?;
        if ![wire::COOKIE, wire::LOOPBACK_COOKIE].contains(&name.trim()) {
            return None;
        }
        rest.split(';').next()?.trim().parse().ok()
    })
}

#[derive(Debug, thiserror::Error)]
#[error("the answer to the login sets no device cookie")]
struct NoCookie;

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(cookies: &[&str], found: Option<&str>) {
        let values = cookies.iter().map(|text| (SET_COOKIE, HeaderValue::from_str(text).unwrap()));
        let read = read_cookie(&HeaderMap::from_iter(values));
        assert_eq!(read.map(|read| read.expose().to_string()).as_deref(), found);
    }

    #[test]
    fn the_device_cookie_is_found_under_both_names_and_no_other() {
        let credential = Credential::random().unwrap().expose().to_string();
        let good = Some(credential.as_str());
        check(&[&format!("device_id={credential}")], good);
        check(&[&format!("__Host-device_id={credential}; Path=/; Secure")], good);
        check(&["theme=dark", &format!("device_id={credential}; HttpOnly")], good);
        check(&["device_id=; Path=/", &format!("device_id={credential}")], good);
        check(&[&format!("device_id2={credential}")], None);
        check(&["device_id", "device_id=", "=", "device_id=x; a=b"], None);
        check(&[], None);
    }
}
