//! Why the session flow stopped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{EndReason, RandomUnavailable, Refusal, StoreError};

/// A cause that several waiters share.
pub type SharedCause = Arc<dyn std::error::Error + Send + Sync>;

/// Why the session flow stopped. Cheap to clone: everybody who waited gets the same one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no session: no such device, or not its secret.
    #[error("not logged in")]
    NotLoggedIn,
    /// The session is over, and the caller may know why.
    #[error("the session is over: {0}")]
    Ended(EndReason),
    /// The auth server refused what the user presented.
    #[error("the auth server refused the request")]
    Refused(Refusal),
    /// What the user typed is not an address.
    #[error("not an email address")]
    InvalidEmail(#[source] crate::InvalidEmail),
    /// The user has as many devices as allowed.
    #[error("the device ceiling is reached")]
    CeilingReached,
    /// The user has no such device.
    #[error("no such device")]
    NoSuchDevice,
    /// The auth server cannot help at the moment. Nobody was logged out.
    #[error("the auth server is unavailable")]
    Unavailable {
        /// When it may be worth asking again.
        retry_after: Duration,
        /// What happened.
        #[source]
        cause: Option<SharedCause>,
    },
    /// The store cannot help.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// No random bytes are to be had.
    #[error("no new secret could be made")]
    Random(#[source] RandomUnavailable),
    /// The server is shutting down.
    #[error("shutting down")]
    ShuttingDown,
}

impl Error {
    /// Whether this is a final no: the user must log in again.
    #[must_use]
    pub const fn is_logged_out(&self) -> bool {
        matches!(self, Self::NotLoggedIn | Self::Ended(_))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<RandomUnavailable> for Error {
    fn from(error: RandomUnavailable) -> Self {
        Self::Random(error)
    }
}

impl From<crate::InvalidEmail> for Error {
    fn from(error: crate::InvalidEmail) -> Self {
        Self::InvalidEmail(error)
    }
}

/// An error with its causes, on one line.
///
/// ```
/// use tokenkeep_core::{Chain, StoreError};
///
/// let error = StoreError::unavailable("the disk is gone");
/// assert_eq!(Chain(&error).to_string(), format!("{error}: the disk is gone"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
