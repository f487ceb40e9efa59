//! Who asks and for what: the head of a request, with the device cookie already read.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, Method, Uri};
use tokenkeep_core::cookie::Presented;
use tokenkeep_core::{ClientInfo, Credential, Error};

use crate::client_address::{Peer, client_address, forwarded_last, forwarded_whole};
use crate::cookie::DeviceCookie;
use crate::failure::Failure;
use crate::settings::ServerSettings;

/// The head of a request.
pub(crate) struct Caller {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
    pub(crate) presented: Presented,
}

impl Caller {
    /// Takes the head out of `parts`.
    pub(crate) fn take(
        parts: &mut http::request::Parts,
        peer: Peer,
        cookie: &DeviceCookie,
    ) -> Self {
        let headers = std::mem::take(&mut parts.headers);
        let presented = cookie.read(&headers);
        Self { method: parts.method.clone(), uri: parts.uri.clone(), headers, peer, presented }
    }

    /// The credential of the device cookie.
    pub(crate) fn credential(&self) -> Result<&Credential, Failure> {
        self.presented.credential().ok_or_else(|| self.failed(Error::NotLoggedIn))
    }

    /// The failure that `error` is for this caller.
    pub(crate) fn failed(&self, error: Error) -> Failure {
        Failure::Session { error, presented: self.presented.is_something() }
    }

    /// A header as text, if it is there and is text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What a trusted proxy has last put into a header that is a list.
    pub(crate) fn forwarded_last(&self, name: &str, settings: &ServerSettings) -> Option<&str> {
        forwarded_last(&self.headers, name, self.peer, &settings.trusted_proxies)
    }

    /// A header, no list, that only a trusted proxy may set.
    pub(crate) fn forwarded_whole(&self, name: &str, settings: &ServerSettings) -> Option<&str> {
        forwarded_whole(&self.headers, name, self.peer, &settings.trusted_proxies)
    }

    /// The address of the client.
    pub(crate) fn address(&self, settings: &ServerSettings) -> IpAddr {
        client_address(&self.headers, self.peer, &settings.trusted_proxies)
    }

    /// What the device says of itself.
    pub(crate) fn client(&self, settings: &ServerSettings) -> ClientInfo {
        let user_agent = self.header(http::header::USER_AGENT);
        ClientInfo::new(user_agent, Some(self.address(settings)))
    }
}

/// Without the headers and the query: they hold secrets.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, path, peer) = (&self.method, self.uri.path(), &self.peer);
        f.debug_struct("Caller")
            .field("method", method)
            .field("path", &path)
            .field("peer", peer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{CookiePolicy, SameSite};

    #[test]
    fn debug_shows_no_secret() {
        let request = http::Request::get("/a?canary=query")
            .header("cookie", "device_id=canary")
            .header("authorization", "Bearer canary");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let cookie = DeviceCookie::new(CookiePolicy::Loopback, SameSite::Lax);
        let caller = Caller::take(&mut parts, Peer::Network(([127, 0, 0, 1], 9).into()), &cookie);
        let text = format!("{caller:?}");
        assert!(text.contains("/a") && !text.contains("canary"), "{text}");
    }
}
