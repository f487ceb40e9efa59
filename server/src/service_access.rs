//! What services may do: the scopes of their keys, and the port to whoever knows the keys.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::audit::Asker;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::service_key::{self, KeyRefusal, Scope};

/// Tells what services may do by the keys that they present.
pub trait ServiceAccess: Send + Sync + 'static {
    /// The name of the key that was `presented`, if it is good for `scope`. Compares in constant
    /// time.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, presented: &str, scope: Scope) -> Result<String, KeyRefusal>;
}

impl ServiceAccess for service_key::ServiceKeys {
    fn check(&self, presented: &str, scope: Scope) -> Result<String, KeyRefusal> {
        Self::check(self, presented, scope).map(|key| key.name)
    }
}

/// Knows no key: every service is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServiceKeys;

impl ServiceAccess for NoServiceKeys {
    fn check(&self, _presented: &str, _scope: Scope) -> Result<String, KeyRefusal> {
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

/// Lets a request with a key for `scope` pass, and names who asks by the key.
pub(crate) fn check(
    keys: &dyn ServiceAccess,
    caller: &Caller,
    scope: Scope,
) -> Result<Arc<Asker>, Failure> {
    let key = presented(&caller.headers).ok_or(Failure::ServiceKey(KeyRefusal::Unknown))?;
    let name = keys.check(key, scope).map_err(Failure::ServiceKey)?;
    Ok(caller.asker.named(name))
}
