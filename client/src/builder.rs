//! Sets a client up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};
use tokenkeep_core::{Clock, StoreId, SystemClock, wire};

use crate::tokens::Tokens;
use crate::transport::Transport;
use crate::{Error, ServiceKey, SessionClient, tls};

/// Sets a [`SessionClient`] up.
#[must_use]
pub struct Builder {
    base_url: String,
    key: Option<ServiceKey>,
    connect_timeout: Duration,
    timeout: Duration,
    leeway: Duration,
    cache_bound: usize,
    secure_cookie: Option<bool>,
    http: Option<Client>,
    clock: Option<Arc<dyn Clock>>,
}

impl Builder {
    pub(crate) fn new(base_url: String) -> Self {
        Self {
            base_url,
            key: None,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(15),
            leeway: Duration::from_secs(30),
            cache_bound: 10_000,
            secure_cookie: None,
            http: None,
            clock: None,
        }
    }

    /// The key of this service: needed for tokens and for the admin calls.
    pub fn service_key(mut self, key: ServiceKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Longest time for a connection to be made; 2 s unless set.
    pub fn connect_timeout(mut self, longest: Duration) -> Self {
        self.connect_timeout = longest;
        self
    }

    /// Longest time for a call with all its repeats; 15 s unless set.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = longest;
        self
    }

    /// How long before its expiry a token is asked for again; 30 s unless set, and never more than
    /// a tenth of what the token has left when it comes.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How many tokens are kept at hand; 10,000 unless set, none with 0.
    pub fn cache_bound(mut self, tokens: usize) -> Self {
        self.cache_bound = tokens;
        self
    }

    /// Whether the device cookie goes by its https name, `__Host-device_id`. Unless set, the
    /// scheme of the base URL decides: set it for a server that its users reach over https and
    /// this client behind the proxy over http.
    pub fn secure_cookie(mut self, secure: bool) -> Self {
        self.secure_cookie = Some(secure);
        self
    }

    /// Talks through this client instead of one of its own.
    ///
    /// It should follow no redirects. Its connect time-out is its own.
    pub fn http_client(mut self, client: Client) -> Self {
        self.http = Some(client);
        self
    }

    /// Tells the time by this clock: for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Makes the client. It does not connect.
    ///
    /// # Errors
    /// [`Error::is_misconfigured`] if the base URL is not a plain http or https address, the
    /// system has no certificates to trust, or no random bytes.
    pub fn build(self) -> Result<SessionClient, Error> {
        let base = base(&self.base_url)?;
        let http = match self.http {
            Some(client) => client,
            None => own_client(&base, self.connect_timeout)?,
        };
        let key = self.key.map(|key| key.bearer()).transpose().map_err(Error::misconfigured)?;
        let secure = self.secure_cookie.unwrap_or(base.scheme() == "https");
        let cookie = if secure { wire::COOKIE } else { wire::LOOPBACK_COOKIE };
        let transport = Arc::new(Transport { http, base, key, cookie, total: self.timeout });
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let salt = StoreId::random().map_err(Error::misconfigured)?;
        let (leeway, bound) = (self.leeway, self.cache_bound);
        let tokens = Tokens::new(Arc::clone(&transport), clock, leeway, bound, salt);
        Ok(SessionClient { transport, tokens: Arc::new(tokens) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password, which is refused only when the client is made.
        f.debug_struct("Builder")
            .field("key", &self.key)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("leeway", &self.leeway)
            .field("cache_bound", &self.cache_bound)
            .finish_non_exhaustive()
    }
}

fn base(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|_| Error::misconfigured(InvalidBaseUrl))?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(Error::misconfigured(InvalidBaseUrl));
    }
    Ok(url)
}

fn own_client(base: &Url, connect_timeout: Duration) -> Result<Client, Error> {
    tls::builder(base.scheme())?
        .connect_timeout(connect_timeout)
        // The session server is a neighbour: a proxy for the way out has no business with it.
        .no_proxy()
        // Requests that may be repeated are repeated in one place.
        .retry(reqwest::retry::never())
        .user_agent(concat!("tokenkeep-client/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::transport)
}

/// It does not repeat the address, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("the base url is not an http or https address without user, query and fragment")]
struct InvalidBaseUrl;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_no_plain_one_is_refused_and_not_shown() {
        for bad in [
            "",
            "session.example",
            "ftp://session.example",
            "https://user:canary@session.example",
            "https://session.example/?canary=1",
            "https://session.example/#canary",
            "data:canary",
        ] {
            let error = SessionClient::builder(bad).build().unwrap_err();
            assert!(error.is_misconfigured(), "{bad}");
            assert!(!format!("{error:?}").contains("canary"), "{bad}");
        }
    }

    #[test]
    fn the_scheme_decides_the_name_of_the_cookie() {
        #[track_caller]
        fn check(builder: Builder, name: &str) {
            assert_eq!(builder.build().unwrap().transport.cookie, name);
        }
        let http = || SessionClient::builder("http://127.0.0.1:1");
        check(http(), "device_id");
        check(http().secure_cookie(true), "__Host-device_id");
        let own = SessionClient::builder("https://session.example").http_client(client());
        check(own, "__Host-device_id");
    }

    #[test]
    fn a_base_with_a_path_keeps_it() {
        let built = SessionClient::builder("http://a.example/auth/").http_client(client());
        let request = built.build().unwrap().transport.request(reqwest::Method::GET, "/v1/session");
        let url = request.build().unwrap().url().to_string();
        assert_eq!(url, "http://a.example/auth/v1/session");
    }

    fn client() -> Client {
        own_client(&Url::parse("http://a.example").unwrap(), Duration::from_secs(1)).unwrap()
    }
}
