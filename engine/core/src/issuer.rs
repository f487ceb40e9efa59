//! The port to whoever grants and renews tokens.

use std::future::Future;
use std::time::Duration;

use crate::{AccessToken, Password, RefreshToken, Timestamp, TokenType};

/// An auth server, as the session flow sees it.
///
/// # Contract
///
/// - Each method makes **one** attempt, never follows a redirect, and may be cancelled.
/// - [`IssuerError::Refused`] is a verdict on what was presented, and nothing else is: a
///   transport failure, an answer that is not understood and a misconfiguration have their own
///   variants. Only a verdict ends a session.
/// - [`IssuerError::NotSent`] promises that the auth server has not acted on the request.
/// - `now` is the instant before the request went out; lifetimes count from it.
/// - No error text carries a token, a password or an answer's body beyond its `detail`.
pub trait Issuer: Send + Sync + 'static {
    /// Logs a user in. `username` is the address as it was typed.
    fn login(
        &self,
        username: &str,
        password: &Password,
        now: Timestamp,
    ) -> impl Future<Output = Result<Grant, IssuerError>> + Send;

    /// Buys a new access token, and usually a new refresh token.
    fn refresh(
        &self,
        token: &RefreshToken,
        now: Timestamp,
    ) -> impl Future<Output = Result<Renewal, IssuerError>> + Send;

    /// Makes an account; returns the auth server's message for the user, if it has one.
    fn register(
        &self,
        username: &str,
        password: &Password,
    ) -> impl Future<Output = Result<Option<String>, IssuerError>> + Send;

    /// Whether the auth server can be told that a refresh token is not needed any more.
    fn revokes(&self) -> bool {
        false
    }

    /// Tells the auth server that a refresh token is not needed any more (RFC 7009). Does
    /// nothing where the auth server cannot be told.
    fn revoke(
        &self,
        _token: &RefreshToken,
    ) -> impl Future<Output = Result<(), IssuerError>> + Send {
        async { Ok(()) }
    }

    /// What the auth server does with a refresh token that was used.
    fn rotation(&self) -> Rotation;
}

/// Tokens as a login gave them, with lifetimes already decided.
#[derive(Clone, Debug)]
pub struct Grant {
    /// How the access token is presented.
    pub token_type: TokenType,
    /// The token for requests.
    pub access_token: AccessToken,
    /// When the access token stops working.
    pub access_expires_at: Timestamp,
    /// The token that buys a new pair.
    pub refresh_token: RefreshToken,
    /// When the refresh token stops working.
    pub refresh_expires_at: Timestamp,
}

/// Tokens as a refresh gave them.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// How the access token is presented, if the answer said so.
    pub token_type: Option<TokenType>,
    /// The token for requests.
    pub access_token: AccessToken,
    /// When the access token stops working.
    pub access_expires_at: Timestamp,
    /// The next refresh token and when it stops working; absent if the old one stays good.
    pub refresh: Option<(RefreshToken, Timestamp)>,
}

/// What an auth server does with a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It stays good.
    None,
    /// It is replaced, and stays good for this long, for callers that lost the answer.
    Grace(Duration),
    /// It is replaced and dead at once.
    Strict,
}

/// The auth server's no to what was presented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Its words for the user, at most a few hundred characters, if it had some.
    pub detail: Option<String>,
    /// Whether it said that the account exists already.
    pub conflict: bool,
}

/// Why the auth server gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// A verdict on what was presented: wrong password, spent or revoked refresh token.
    #[error("the auth server refused")]
    Refused(Refusal),
    /// The auth server has not acted on the request: connection refused, or 429.
    #[error("the auth server did not take the request")]
    NotSent {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
        /// What happened.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The auth server may have acted: time-out, reset, 5xx, an answer that is not understood.
    #[error("the auth server's answer is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The auth server does not know or accept this tokenkeep: an operator must act.
    #[error("the auth server does not accept this client")]
    Misconfigured(#[source] Box<dyn std::error::Error + Send + Sync>),
}
