//! The way of a request: checks on its head, dispatch, and one shape for every failure.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::HOST;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokenkeep_core::{Issuer, TokenStore, wire};

use crate::app::{App, Place};
use crate::body;
use crate::caller::Caller;
use crate::client_address::Peer;
use crate::failure::Failure;
use crate::gateway::Path;
use crate::reply::{self, Asked};
use crate::routes::{self, Table, authz, session};
use crate::same_site;

/// Any error of a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer of an upstream.
pub(crate) type UpstreamBody = UnsyncBoxBody<Bytes, BodyError>;

/// The body of a response, whoever made it.
#[derive(Debug)]
pub(crate) enum AnyBody {
    /// One of our own answers.
    Own(OwnBody),
    /// An upstream's.
    Upstream(UpstreamBody),
}

/// Names the body of warp's responses, which warp itself does not export.
pub(crate) trait BodyOf {
    type Body;
}

impl<B> BodyOf for http::Response<B> {
    type Body = B;
}

type OwnBody = <reply::Response as BodyOf>::Body;

impl Body for AnyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}

/// Which requests a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// All of them.
    Everything,
    /// All but those of administration, which have a listener of their own.
    Public,
    /// Those of services, and the health of the server.
    Admin,
}

impl Door {
    fn takes(self, path: &str) -> bool {
        let admin = path.starts_with("/v1/admin/");
        match self {
            Self::Everything => true,
            Self::Public => !admin,
            Self::Admin => admin || matches!(path, wire::TOKEN | "/livez" | "/readyz"),
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
    ) -> http::Response<Held<AnyBody, Option<Place>>> {
        let asked = Asked {
            id: self.app.next_request(),
            method: request.method().clone(),
            uri: request.uri().clone(),
        };
        let place = self.app.in_flight.take();
        let answered = match &place {
            Some(_) => AssertUnwindSafe(self.dispatch(request, peer, door)).catch_unwind().await,
            None => Ok(Err(Failure::Busy)),
        };
        let response = match answered.unwrap_or(Err(Failure::Panicked)) {
            Ok(Dispatched::Forwarded(response)) => {
                // It streams: the place is taken until its end.
                tracing::debug!(request = %asked.id, status = response.status().as_u16(), "forwarded");
                return response.map(|body| Held::new(body, place));
            }
            Ok(Dispatched::Answered(response)) => response,
            Err(failure) => self.problem(&failure, &asked),
        };
        tracing::debug!(
            request = %asked.id, method = %asked.method, path = ?asked.uri.path(),
            status = response.status().as_u16(), "answered"
        );
        response.map(|body| Held::new(AnyBody::Own(body), None))
    }

    fn problem(&self, failure: &Failure, asked: &Asked) -> reply::Response {
        let mut response = reply::problem(failure, asked, &self.app.cookie.cleared());
        reply::guard(response.headers_mut());
        if asked.uri.path().starts_with("/authz/") {
            authz::complete(response.headers_mut());
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
    ) -> Result<Dispatched, Failure> {
        let (mut parts, body) = request.into_parts();
        self.check_head(&parts, door)?;
        let path = parts.uri.path();
        if path == wire::SESSION && parts.method == Method::GET {
            let caller = self.caller(&mut parts, peer);
            return answered(session::show(&self.app, &caller).await?);
        }
        if path.starts_with("/authz/") {
            return self.authorize(self.caller(&mut parts, peer)).await;
        }
        // On the heap, so that the futures of the requests above stay small.
        Box::pin(self.dispatch_other(parts, body, peer)).await
    }

    /// Finds who answers what is asked less often.
    async fn dispatch_other(
        &self,
        mut parts: Parts,
        body: Incoming,
        peer: Peer,
    ) -> Result<Dispatched, Failure> {
        if !is_for_services(parts.uri.path()) {
            let settings = &self.app.settings;
            same_site::check(&parts.method, &parts.uri, &parts.headers, peer, settings)?;
        }
        let path = Path::parse(parts.uri.path())?;
        if let Some(upstream) = self.app.gateway.upstream_of(&path, parts.uri.path()) {
            let caller = self.caller(&mut parts, peer);
            let forwarded = self.app.gateway.forward(&self.app, upstream, caller, body).await?;
            return Ok(Dispatched::Forwarded(forwarded));
        }
        routes::check_method(parts.uri.path(), &parts.method)?;
        let body = body::collect(body, &self.app.settings.requests).await?;
        let caller = Arc::new(self.caller(&mut parts, peer));
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
        if parts.headers.get_all(HOST).iter().nth(1).is_some() {
            return Err(Failure::BadRequest("one Host header is expected"));
        }
        if parts.method == Method::CONNECT || !door.takes(parts.uri.path()) {
            return Err(Failure::NotFound);
        }
        Ok(())
    }

    fn caller(&self, parts: &mut Parts, peer: Peer) -> Caller {
        Caller::take(parts, peer, &self.app.cookie)
    }

    /// Answers the question of a reverse proxy.
    async fn authorize(&self, caller: Caller) -> Result<Dispatched, Failure> {
        let mut response = match caller.uri.path() {
            authz::NGINX => authz::nginx(&self.app, &caller).await?,
            authz::FORWARD => authz::forward(&self.app, &caller).await?,
            path => match path.strip_prefix(authz::ENVOY) {
                Some(rest) if rest.starts_with('/') => authz::envoy(&self.app, &caller).await?,
                _ => return Err(Failure::NotFound),
            },
        };
        if response.status() != StatusCode::OK {
            reply::guard(response.headers_mut());
            authz::complete(response.headers_mut());
        }
        Ok(Dispatched::Answered(response))
    }
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

/// Whether a path is for programs with a service key, which no browser sends by itself.
fn is_for_services(path: &str) -> bool {
    path == wire::TOKEN || path.starts_with("/v1/admin/")
}

/// A body, and something that is held until it ends.
#[derive(Debug)]
pub(crate) struct Held<B, G> {
    body: B,
    _guard: G,
}

impl<B, G> Held<B, G> {
    pub(crate) fn new(body: B, guard: G) -> Self {
        Self { body, _guard: guard }
    }
}

impl<B: Body + Unpin, G: Unpin> Body for Held<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
