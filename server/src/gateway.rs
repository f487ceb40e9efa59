//! The gateway: requests under a prefix go on to an upstream, with the access token.

mod body;
mod headers;
mod path;
mod upstream;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokenkeep_core::{Error, Issuer, Session, TokenStore};

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::routes::authz::{authorization, redirect_or};
use crate::settings::{GatewayLimits, ServerSettings};
use crate::surface::AnyBody;
use crate::{body as bodies, reply, sign_in};
use body::Streamed;
pub(crate) use path::Path;
use upstream::Client;
pub(crate) use upstream::Upstream;

/// An upstream that cannot be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The prefix is not the beginning of a path.
    #[error("the prefix {0:?} must begin with / and have no empty, dotted or encoded segments")]
    InvalidPrefix(String),
    /// The upstream is not an http or https address without a query.
    #[error("the upstream {0:?} must be an http:// or https:// address without a query")]
    InvalidUpstream(String),
    /// The HTTP client cannot be made.
    #[error("the http client of the gateway could not be made")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends requests on to their upstreams.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Longest prefix first.
    upstreams: Vec<Upstream>,
    client: Option<Client>,
    limits: GatewayLimits,
}

/// What goes on to an upstream, but for the token.
struct Outgoing<'a> {
    upstream: &'a Upstream,
    method: Method,
    url: String,
    headers: http::HeaderMap,
}

impl Gateway {
    pub(crate) fn new(settings: &ServerSettings) -> Result<Self, GatewayError> {
        let upstreams = settings.proxies.iter().map(Upstream::new);
        let mut upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
        upstreams.sort_by_key(|upstream| std::cmp::Reverse(upstream.depth()));
        let limits = settings.gateway;
        // Without upstreams nothing needs a client and its TLS roots.
        let client = (!upstreams.is_empty()).then(|| Client::new(&limits)).transpose()?;
        Ok(Self { upstreams, client, limits })
    }

    /// The upstream of `path`; our own paths have none, whatever the prefixes say.
    pub(crate) fn upstream_of(&self, path: &Path<'_>, raw: &str) -> Option<&Upstream> {
        if self.upstreams.is_empty() || crate::routes::methods_at(raw).is_some() {
            return None;
        }
        self.upstreams.iter().find(|upstream| upstream.takes(path))
    }

    /// Sends a request on as the user of its session. A 401 of the upstream renews the token
    /// once and repeats the request once, if its body was kept.
    pub(crate) async fn forward<S: TokenStore, I: Issuer>(
        &self,
        app: &App<S, I>,
        upstream: &Upstream,
        caller: Caller,
        body: Incoming,
    ) -> Result<http::Response<AnyBody>, Failure> {
        let resumed = match caller.credential() {
            Ok(credential) => app.sessions.resume(credential).await,
            Err(_) => Err(Error::NotLoggedIn),
        };
        let session = match resumed {
            Ok(session) => session,
            Err(error) => return without_session(app, &caller, error),
        };
        if body.size_hint().lower() > self.limits.body_bytes {
            return Err(Failure::BodyTooLarge);
        }
        let outgoing = Outgoing {
            upstream,
            method: caller.method.clone(),
            url: upstream.url_of(&caller.uri),
            headers: headers::to_upstream(&caller, &app.settings),
        };
        let kept = match body.size_hint().exact() {
            Some(length) if length <= self.limits.kept_bytes => {
                bodies::collect(body, &self.kept_limits(app)).await?
            }
            _ => {
                let body = Streamed::new(body, &self.limits);
                return self.send_streamed(&outgoing, &session, body).await.map(seal);
            }
        };
        let answer = self.send(&outgoing, &session, kept.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(seal(answer));
        }
        let spent = session.record().access_token.spent();
        let session = match app.sessions.renew(caller.credential()?, spent).await {
            Ok(session) => session,
            Err(error) => return without_session(app, &caller, error),
        };
        self.send(&outgoing, &session, kept).await.map(seal)
    }

    fn kept_limits<S, I>(&self, app: &App<S, I>) -> crate::settings::RequestLimits {
        crate::settings::RequestLimits {
            body_bytes: usize::try_from(self.limits.kept_bytes).unwrap_or(usize::MAX),
            body_time: app.settings.requests.body_time.max(self.limits.body_stall),
            ..app.settings.requests
        }
    }

    async fn send(
        &self,
        outgoing: &Outgoing<'_>,
        session: &Session,
        body: Bytes,
    ) -> Result<http::Response<AnyBody>, Failure> {
        let client = self.client.as_ref().ok_or(Failure::NotFound)?;
        client.send(outgoing, authorization(session.record())?, body.into(), None).await
    }

    async fn send_streamed(
        &self,
        outgoing: &Outgoing<'_>,
        session: &Session,
        body: Streamed,
    ) -> Result<http::Response<AnyBody>, Failure> {
        let client = self.client.as_ref().ok_or(Failure::NotFound)?;
        let progress = body.progress();
        let body = reqwest::Body::wrap(body);
        client.send(outgoing, authorization(session.record())?, body, Some(progress)).await
    }
}

/// The login page for a person's browser, a problem for everybody else.
fn without_session<S, I>(
    app: &App<S, I>,
    caller: &Caller,
    error: Error,
) -> Result<http::Response<AnyBody>, Failure> {
    if !error.is_logged_out() {
        return Err(caller.failed(error));
    }
    let whole = caller.uri.path_and_query().map_or("/", |whole| whole.as_str());
    let target = sign_in::path_on_this_site(whole);
    let mut response = redirect_or(app, caller, &caller.method, target, caller.failed(error))?;
    reply::guard(response.headers_mut());
    Ok(response.map(AnyBody::Own))
}

/// What the upstream answered depends on the session: no cache may give it to somebody else.
fn seal(mut response: http::Response<AnyBody>) -> http::Response<AnyBody> {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Cookie"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What the sender of a streamed request wants to know of its body.
type Progress = Arc<body::Progress>;
