//! What services may do: the scopes of their keys, and the port to whoever knows the keys.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::failure::Failure;

/// What a service key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Access tokens for device credentials.
    Token,
    /// Devices, counts and events of every user.
    AdminRead,
    /// Ending the devices of a user.
    AdminWrite,
}

impl Scope {
    /// The stable word for this scope.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
        }
    }
}

/// Why a service key does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// No such key, or it was revoked.
    #[error("the service key is not known")]
    Unknown,
    /// The key is good, but not for this.
    #[error("the service key has not the scope")]
    MissingScope,
}

/// Knows the service keys.
pub trait ServiceKeys: Send + Sync + 'static {
    /// Whether the key that was `presented` is good for `scope`. Compares in constant time.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, presented: &str, scope: Scope) -> Result<(), KeyRefusal>;
}

/// Knows no key: every service is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServiceKeys;

impl ServiceKeys for NoServiceKeys {
    fn check(&self, _presented: &str, _scope: Scope) -> Result<(), KeyRefusal> {
        Err(KeyRefusal::Unknown)
    }
}

/// The service key in `headers`: the one bearer token there.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (all.next()?, all.next());
    let (scheme, key) = first.to_str().ok()?.split_once(' ')?;
    let one_bearer = second.is_none() && scheme.eq_ignore_ascii_case("bearer");
    one_bearer.then(|| key.trim()).filter(|key| !key.is_empty())
}

/// Lets a request with a key for `scope` pass.
pub(crate) fn check(
    keys: &dyn ServiceKeys,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<(), Failure> {
    let key = presented(headers).ok_or(Failure::ServiceKey(KeyRefusal::Unknown))?;
    keys.check(key, scope).map_err(Failure::ServiceKey)
}
