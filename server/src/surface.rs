//! The way of a request: checks on its head, dispatch, and one shape for every failure.
//!
//! hyper reads the heads; those that can be read in two ways do not come so far (`serve/heads.rs`),
//! and what goes on to an upstream is written afresh.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokenkeep_core::{Issuer, TokenStore, wire};

use crate::answer_body::{AnyBody, headless};
use crate::app::{App, Place};
use crate::audit::{Act, Asker, What};
use crate::body;
use crate::caller::Caller;
use crate::client_address::{Peer, client_address};
use crate::failure::Failure;
use crate::gateway::Path;
use crate::reply::{self, Asked};
use crate::routes::{self, Table, authz, oauth2, session};
use crate::same_site;

/// Which requests a listener takes. Those for an access token ([`wire::TOKEN`]), for the health of
/// the server and for its description are taken at every door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// All of them.
    Everything,
    /// All but those of administration, which have a listener of their own.
    Public,
    /// Those of administration, and what is taken at every door; nothing goes on to an upstream.
    Admin,
}

impl Door {
    fn takes(self, path: &str) -> bool {
        let admin = path.starts_with("/v1/admin/");
        match self {
            Self::Everything => true,
            Self::Public => !admin,
            Self::Admin => admin || routes::is_everywhere(path),
        }
    }
}

/// Answers requests.
pub(crate) struct Surface<S, I> {
    app: Arc<App<S, I>>,
    table: Table,
}

impl<S: TokenStore, I: Issuer> Surface<S, I> {
    pub(crate) fn new(app: Arc<App<S, I>>) -> Self {
        Self { table: routes::table(&app), app }
    }

    pub(crate) fn app(&self) -> &App<S, I> {
        &self.app
    }

    /// Answers a request, whatever happens.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        door: Door,
    ) -> http::Response<AnyBody> {
        let asked = Asked {
            id: self.app.next_request(),
            method: request.method().clone(),
            uri: request.uri().clone(),
        };
        let asker = self.asker(&asked, &request, peer);
        let dispatched = self.dispatch(request, peer, door, &asker);
        let answered = AssertUnwindSafe(dispatched).catch_unwind().await;
        let answered = answered.unwrap_or_else(|_| {
            self.app.panics.fetch_add(1, Ordering::Relaxed);
            Err(Failure::Panicked)
        });
        let response = match answered {
            Ok(Dispatched::Forwarded(response)) => {
                tracing::debug!(request = %asked.id, status = response.status().as_u16(), "forwarded");
                return response;
            }
            Ok(Dispatched::Answered(response)) => response,
            Err(failure) => {
                note_refusal(&asker, &failure);
                self.problem(&failure, &asked)
            }
        };
        tracing::debug!(
            request = %asked.id, method = %asked.method, path = ?asked.uri.path(),
            status = response.status().as_u16(), "answered"
        );
        let response = response.map(AnyBody::Own);
        if asked.method == Method::HEAD { headless(response) } else { response }
    }

    fn problem(&self, failure: &Failure, asked: &Asked) -> reply::Response {
        let mut response = reply::problem(failure, asked, &self.app.cookie.cleared());
        reply::guard_page(response.headers_mut());
        match asked.uri.path() {
            oauth2::AUTH => oauth2::complete(response.headers_mut()),
            path if path.starts_with("/authz/") => authz::complete(response.headers_mut()),
            _ => {}
        }
        response
    }

    /// Checks the head, and finds who answers. The two paths that proxies and pages ask all the
    /// time are looked up before the table.
    async fn dispatch(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        door: Door,
        asker: &Arc<Asker>,
    ) -> Result<Dispatched, Failure> {
        let (mut parts, body) = request.into_parts();
        self.check_head(&parts, door)?;
        let path = parts.uri.path();
        if path == wire::SESSION && matches!(parts.method, Method::GET | Method::HEAD) {
            let _place = self.place()?;
            let caller = self.caller(&mut parts, peer, asker);
            return answered(session::show(&self.app, &caller).await?);
        }
        if path.starts_with("/authz/") || path == oauth2::AUTH {
            let _place = self.place()?;
            return self.authorize(self.caller(&mut parts, peer, asker)).await;
        }
        // On the heap, so that the futures of the requests above stay small.
        Box::pin(self.dispatch_other(parts, body, peer, door, asker)).await
    }

    /// Finds who answers what is asked less often.
    async fn dispatch_other(
        &self,
        mut parts: Parts,
        body: Incoming,
        peer: Peer,
        door: Door,
        asker: &Arc<Asker>,
    ) -> Result<Dispatched, Failure> {
        let (app, raw) = (&self.app, parts.uri.path());
        let path = Path::parse(raw)?;
        let upstream = app.gateway.upstream_of(&path).filter(|_| door != Door::Admin);
        // No browser sends a service key by itself; but what goes on to an upstream carries the
        // token of the cookie, whatever its path.
        if upstream.is_some() || !routes::is_for_services(raw) {
            same_site::check(&parts.method, &parts.uri, &parts.headers, peer, &app.settings)?;
        }
        if let Some(upstream) = upstream {
            if parts.method == Method::TRACE {
                return Err(Failure::MethodNotAllowed(EVERY_METHOD));
            }
            let caller = self.caller(&mut parts, peer, asker);
            let forwarded = app.gateway.forward(app, upstream, caller, body).await?;
            return Ok(Dispatched::Forwarded(forwarded));
        }
        routes::check_method(raw, &parts.method)?;
        let health = routes::is_health(raw);
        let limits = &app.settings.requests;
        let body = body::collect(body, limits.body_bytes, limits.body_time).await?;
        // Whoever asks for the health of a busy server wants to know just that.
        let _place = if health { None } else { Some(self.place()?) };
        if parts.method == Method::HEAD {
            parts.method = Method::GET;
        }
        let caller = Arc::new(self.caller(&mut parts, peer, asker));
        let mut request = Request::from_parts(parts, Full::new(body));
        request.extensions_mut().insert(caller);
        let mut response = (self.table)(request).await;
        match response.extensions_mut().remove::<Failure>() {
            Some(failure) => Err(failure),
            None => answered(response),
        }
    }

    fn check_head(&self, parts: &Parts, door: Door) -> Result<(), Failure> {
        let whole = parts.uri.path_and_query().map_or(0, |whole| whole.as_str().len());
        if whole > self.app.settings.requests.uri_bytes {
            return Err(Failure::UriTooLong);
        }
        let mut hosts = parts.headers.get_all(HOST).iter();
        let one_host = hosts.next().is_some() || parts.version != Version::HTTP_11;
        if !one_host || hosts.next().is_some() {
            return Err(Failure::BadRequest("one Host header is expected"));
        }
        if parts.method == Method::CONNECT {
            let methods = routes::methods_at(parts.uri.path()).unwrap_or(EVERY_METHOD);
            return Err(Failure::MethodNotAllowed(methods));
        }
        // Both name the site (RFC 9112, 3.2.2; RFC 9113, 8.3.1): whoever reads the other one must not
        // see another request.
        let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
        let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        if let (Some(host), Some(authority)) = (host, authority)
            && !host.eq_ignore_ascii_case(authority)
        {
            return Err(Failure::BadRequest("the address and the Host header name two sites"));
        }
        let path = parts.uri.path();
        let is_on = self.app.settings.oauth2_paths || !path.starts_with(oauth2::PREFIX);
        if is_on && door.takes(path) { Ok(()) } else { Err(Failure::NotFound) }
    }

    /// A place among the requests that are answered at one time.
    fn place(&self) -> Result<Place, Failure> {
        self.app.in_flight.take().ok_or(Failure::Busy)
    }

    fn caller(&self, parts: &mut Parts, peer: Peer, asker: &Arc<Asker>) -> Caller {
        Caller::take(parts, peer, &self.app.cookie, Arc::clone(asker))
    }

    /// Who asks, for the audit log.
    fn asker(&self, asked: &Asked, request: &Request<Incoming>, peer: Peer) -> Arc<Asker> {
        let proxies = &self.app.settings.trusted_proxies;
        let address = client_address(request.headers(), peer, proxies);
        Asker::new(&self.app.audit, asked.id, address, request.headers())
    }

    /// Answers the question of a reverse proxy.
    async fn authorize(&self, caller: Caller) -> Result<Dispatched, Failure> {
        let mut response = match caller.uri.path() {
            authz::NGINX => authz::nginx(&self.app, &caller).await?,
            authz::FORWARD => authz::forward(&self.app, &caller).await?,
            oauth2::AUTH => oauth2::auth(&self.app, &caller).await?,
            path => match path.strip_prefix(authz::ENVOY) {
                Some(rest) if rest.starts_with('/') => authz::envoy(&self.app, &caller).await?,
                _ => return Err(Failure::NotFound),
            },
        };
        if !response.status().is_success() {
            reply::guard_page(response.headers_mut());
            authz::complete(response.headers_mut());
        }
        Ok(Dispatched::Answered(response))
    }
}

/// Tells of a refusal that has to do with no session, wherever it was made.
fn note_refusal(asker: &Asker, failure: &Failure) {
    let what = match failure {
        Failure::CrossSite => What::CrossSiteRefused,
        Failure::ServiceKey(_) => What::ServiceKeyRefused,
        _ => return,
    };
    asker.note(Act::not_done(what, failure));
}

/// Where an answer comes from.
enum Dispatched {
    /// From a handler.
    Answered(reply::Response),
    /// From an upstream of the gateway.
    Forwarded(http::Response<AnyBody>),
}

fn answered(mut response: reply::Response) -> Result<Dispatched, Failure> {
    reply::guard(response.headers_mut());
    Ok(Dispatched::Answered(response))
}

/// What an upstream may be asked with.
const EVERY_METHOD: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
