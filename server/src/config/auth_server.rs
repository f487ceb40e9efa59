//! `[auth_server]`: who grants and renews tokens, and in which words.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokenkeep_core::Rotation;

use super::{duration, off};

/// `[auth_server]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthServerSettings {
    /// Which contract it speaks.
    pub kind: AuthServerKind,
    /// Where it is, e.g. `https://auth.example`; a path in it stays in front of the others.
    #[serde(with = "off")]
    pub base_url: Option<String>,
    /// Path of the registration.
    pub register_path: String,
    /// Path of the login.
    pub login_path: String,
    /// Path of the refresh; `/refresh-token` in the original application's document.
    pub refresh_path: String,
    /// Path of the revocation (RFC 7009), if there is one.
    #[serde(with = "off")]
    pub revoke_path: Option<String>,
    /// Name of the address in a login form.
    pub username_field: String,
    /// Name of the password in a login form.
    pub password_field: String,
    /// Name of the address in a registration.
    pub register_email_field: String,
    /// Name of the password in a registration.
    pub register_password_field: String,
    /// Name of the access token in answers.
    pub access_token_field: String,
    /// Name of the refresh token in answers and in the refresh request.
    pub refresh_token_field: String,
    /// Name of the token type in answers.
    pub token_type_field: String,
    /// Name of the access token's seconds in answers.
    pub expires_in_field: String,
    /// Name of the refresh token's seconds in answers.
    pub refresh_expires_in_field: String,
    /// The access token's life where no answer says it.
    #[serde(with = "duration")]
    pub access_lifetime: Duration,
    /// The refresh token's life where no answer says it.
    #[serde(with = "duration")]
    pub refresh_lifetime: Duration,
    /// The longest life of an access token, whatever an answer says.
    #[serde(with = "duration")]
    pub max_access_lifetime: Duration,
    /// The longest life of a refresh token, whatever an answer says.
    #[serde(with = "duration")]
    pub max_refresh_lifetime: Duration,
    /// What happens to a refresh token that was used.
    pub rotation: RotationKind,
    /// With `rotation = "grace"`: how long a used refresh token stays good.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// Statuses of the refresh call that are a verdict on the token; `400 invalid_grant` always is.
    pub refused_statuses: Vec<u16>,
    /// How long one call may take, from connecting to the last byte.
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// How long connecting may take.
    #[serde(with = "duration")]
    pub connect: Duration,
    /// Certificates (PEM) to trust instead of the system's.
    #[serde(with = "off")]
    pub ca_file: Option<PathBuf>,
    /// Refreshes at a time.
    pub concurrency: usize,
}

impl Default for AuthServerSettings {
    fn default() -> Self {
        Self {
            kind: AuthServerKind::Central,
            base_url: None,
            register_path: "/register".into(),
            login_path: "/login".into(),
            refresh_path: "/refresh".into(),
            revoke_path: None,
            username_field: "username".into(),
            password_field: "password".into(),
            register_email_field: "email".into(),
            register_password_field: "password".into(),
            access_token_field: "access_token".into(),
            refresh_token_field: "refresh_token".into(),
            token_type_field: "token_type".into(),
            expires_in_field: "expires_in".into(),
            refresh_expires_in_field: "refresh_expires_in".into(),
            access_lifetime: Duration::from_secs(2 * 60),
            refresh_lifetime: Duration::from_secs(4 * 60),
            max_access_lifetime: DAY,
            max_refresh_lifetime: DAY * 365,
            rotation: RotationKind::Strict,
            grace: Duration::from_secs(30),
            refused_statuses: vec![401],
            deadline: Duration::from_secs(10),
            connect: Duration::from_secs(2),
            ca_file: None,
            concurrency: 32,
        }
    }
}

impl AuthServerSettings {
    /// What happens to a refresh token that was used, with the grace in it.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        match self.rotation {
            RotationKind::None => Rotation::None,
            RotationKind::Strict => Rotation::Strict,
            RotationKind::Grace => Rotation::Grace(self.grace),
        }
    }
}

/// Which contract the auth server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthServerKind {
    /// The original application's: JSON registration, form login, JSON refresh.
    Central,
}

/// What happens to a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RotationKind {
    /// It stays good.
    None,
    /// It is replaced and dead at once.
    Strict,
    /// It is replaced, and stays good for a grace.
    Grace,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
