//! The auth server over HTTP, by the contract of the original application ("central").
//!
//! Registration and refresh are JSON, the login is a form, and every name and path is a setting.
//! The adapter decides two things that the session flow relies on: what an answer means for the
//! session (`verdict`), and how long the tokens live (`lifetime`).

mod call;
mod detail;
mod failure;
mod grant;
mod lifetime;
mod verdict;

use std::path::PathBuf;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::{Map, Value};
use tokenkeep_core::{
    Grant, Issuer, IssuerError, Password, RefreshToken, Renewal, Rotation, Timestamp,
};

use crate::config::AuthServerSettings;
use call::Answer;
use failure::{Failure, unknown};
use verdict::Call;

/// The auth server behind `[auth_server]`.
///
/// Each call is one attempt on a connection of its own: on a kept connection that the auth server
/// is just closing, nobody can tell whether a one-time refresh token was spent.
#[derive(Debug)]
pub struct CentralIssuer {
    client: Client,
    settings: AuthServerSettings,
    register: Url,
    login: Url,
    refresh: Url,
    revoke: Option<Url>,
}

/// Why the auth server cannot be talked to with these settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CentralError {
    /// `auth_server.base_url` and a path do not make an address.
    #[error("auth_server.base_url and {path:?} do not make an address")]
    Address {
        /// The path.
        path: String,
    },
    /// The certificates cannot be read.
    #[error("the certificates in {} cannot be read", path.display())]
    CaFile {
        /// `auth_server.ca_file`.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client cannot be built.
    #[error("the http client cannot be built")]
    Client(#[source] reqwest::Error),
}

impl CentralIssuer {
    /// An adapter for these settings. Reads `ca_file`; does not connect.
    ///
    /// # Errors
    /// [`CentralError`] if an address or the certificates cannot be used.
    pub fn new(settings: AuthServerSettings) -> Result<Self, CentralError> {
        let url = |path: &str| {
            let base = settings.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
            let url = Url::parse(&format!("{base}{path}")).ok();
            url.ok_or_else(|| CentralError::Address { path: path.to_owned() })
        };
        Ok(Self {
            register: url(&settings.register_path)?,
            login: url(&settings.login_path)?,
            refresh: url(&settings.refresh_path)?,
            revoke: settings.revoke_path.as_deref().map(url).transpose()?,
            client: call::client(&settings)?,
            settings,
        })
    }

    async fn send(
        &self,
        request: RequestBuilder,
        now: Option<Timestamp>,
    ) -> Result<Answer, IssuerError> {
        call::send(request, self.settings.deadline, now).await
    }

    fn granted(&self, answer: &Answer) -> Result<Map<String, Value>, IssuerError> {
        answer.json().ok_or_else(|| unknown(Failure::NotJson))
    }
}

impl Issuer for CentralIssuer {
    async fn login(
        &self,
        username: &str,
        password: &Password,
        now: Timestamp,
    ) -> Result<Grant, IssuerError> {
        let form = [
            (self.settings.username_field.as_str(), username),
            (self.settings.password_field.as_str(), password.expose()),
        ];
        let answer = self.send(self.client.post(self.login.clone()).form(&form), Some(now)).await?;
        verdict::check(Call::Login, &answer, password.expose())?;
        grant::of_login(&self.settings, self.granted(&answer)?, now).map_err(unknown)
    }

    async fn refresh(&self, token: &RefreshToken, now: Timestamp) -> Result<Renewal, IssuerError> {
        let body = object([(&self.settings.refresh_token_field, token.expose())]);
        let answer =
            self.send(self.client.post(self.refresh.clone()).json(&body), Some(now)).await?;
        let call = Call::Refresh { refused: &self.settings.refused_statuses };
        verdict::check(call, &answer, token.expose())?;
        grant::of_refresh(&self.settings, self.granted(&answer)?, token, now).map_err(unknown)
    }

    async fn register(
        &self,
        username: &str,
        password: &Password,
    ) -> Result<Option<String>, IssuerError> {
        let settings = &self.settings;
        let body = object([
            (&settings.register_email_field, username),
            (&settings.register_password_field, password.expose()),
        ]);
        let answer = self.send(self.client.post(self.register.clone()).json(&body), None).await?;
        verdict::check(Call::Register, &answer, password.expose())?;
        // 201 says it all. A 200 that is no JSON may come from anybody, a portal page for example.
        match answer.json() {
            Some(json) => Ok(detail::message(&json, password.expose())),
            None if answer.status == StatusCode::CREATED => Ok(None),
            None => Err(unknown(Failure::NotJson)),
        }
    }

    fn revokes(&self) -> bool {
        self.revoke.is_some()
    }

    async fn revoke(&self, token: &RefreshToken) -> Result<(), IssuerError> {
        let Some(url) = &self.revoke else { return Ok(()) };
        let form = [("token", token.expose()), ("token_type_hint", "refresh_token")];
        let answer = self.send(self.client.post(url.clone()).form(&form), None).await?;
        verdict::check(Call::Revoke, &answer, token.expose())
    }

    fn rotation(&self) -> Rotation {
        self.settings.rotation()
    }
}

fn object<const N: usize>(fields: [(&String, &str); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, text)| (name.clone(), Value::from(text))).collect()
}

#[cfg(feature = "testing")]
pub(crate) use call::check_retry_after;
#[cfg(feature = "testing")]
pub(crate) use lifetime::check_token_life;

#[cfg(test)]
mod tests;
