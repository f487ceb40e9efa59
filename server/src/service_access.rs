//! What services may do: the scopes of their keys, and the port to whoever knows the keys.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::failure::Failure;
use crate::service_key::{self, KeyRefusal, Scope};

/// Tells what services may do by the keys that they present.
pub trait ServiceAccess: Send + Sync + 'static {
    /// Whether the key that was `presented` is good for `scope`. Compares in constant time.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, presented: &str, scope: Scope) -> Result<(), KeyRefusal>;
}

impl ServiceAccess for service_key::ServiceKeys {
    fn check(&self, presented: &str, scope: Scope) -> Result<(), KeyRefusal> {
        Self::check(self, presented, scope).map(|_| ())
    }
}

/// Knows no key: every service is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServiceKeys;

impl ServiceAccess for NoServiceKeys {
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
    keys: &dyn ServiceAccess,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<(), Failure> {
    let key = presented(headers).ok_or(Failure::ServiceKey(KeyRefusal::Unknown))?;
    keys.check(key, scope).map_err(Failure::ServiceKey)
}
