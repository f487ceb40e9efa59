//! Who asks and for what: the head of a request, with the device cookie already read.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use tokenkeep_core::cookie::Presented;
use tokenkeep_core::{ClientInfo, Credential, Error};

use crate::audit::Asker;
use crate::client_address::{Peer, forwarded_last, forwarded_whole};
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
    pub(crate) asker: Arc<Asker>,
}

impl Caller {
    /// Takes the head out of `parts`.
    pub(crate) fn take(
        parts: &mut http::request::Parts,
        peer: Peer,
        cookie: &DeviceCookie,
        asker: Arc<Asker>,
    ) -> Self {
        let headers = std::mem::take(&mut parts.headers);
        let presented = cookie.read(&headers);
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        Self { method, uri, headers, peer, presented, asker }
    }

    /// The credential of the device cookie.
    pub(crate) fn credential(&self) -> Result<&Credential, Failure> {
        self.presented.credential().ok_or_else(|| self.failed(Error::NotLoggedIn))
    }

    /// The failure that `error` is for this caller; tells of a credential that is refused.
    pub(crate) fn failed(&self, error: Error) -> Failure {
        let presented = self.presented.is_something();
        if presented {
            let device = self.presented.credential().map(Credential::device_id);
            self.asker.note_refused(device, &error);
        }
        Failure::Session { error, presented }
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
    pub(crate) fn address(&self) -> IpAddr {
        self.asker.address
    }

    /// What the device says of itself.
    pub(crate) fn client(&self) -> ClientInfo {
        let user_agent = self.header(http::header::USER_AGENT);
        ClientInfo::new(user_agent, Some(self.address()))
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
    use tokenkeep_core::{ManualClock, Timestamp};

    use super::*;
    use crate::audit::Audit;
    use crate::reply::RequestId;
    use crate::settings::{CookiePolicy, SameSite};

    #[test]
    fn debug_shows_no_secret() {
        let request = http::Request::get("/a?canary=query")
            .header("cookie", "device_id=canary")
            .header("authorization", "Bearer canary");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let cookie = DeviceCookie::new(CookiePolicy::Loopback, SameSite::Lax);
        let peer = Peer::Network(([127, 0, 0, 1], 9).into());
        let audit = Audit::to_log(Arc::new(ManualClock::new(Timestamp::default())));
        let request = RequestId { process: 1, number: 1 };
        let asker = Asker::new(&audit, request, peer.address(), &parts.headers);
        let caller = Caller::take(&mut parts, peer, &cookie, asker);
        let text = format!("{caller:?}");
        assert!(text.contains("/a") && !text.contains("canary"), "{text}");
    }
}
