//! The gateway: requests under a prefix go on to an upstream, with the access token.

mod answer;
mod body;
mod headers;
mod path;
mod upstream;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokenkeep_core::{Error, Issuer, Session, TokenStore};

use crate::answer_body::{AnyBody, headless};
use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::routes::authz::{authorization, redirect_or};
use crate::routes::is_reserved;
use crate::settings::{GatewayLimits, ServerSettings};
use crate::{body as bodies, reply, sign_in};
use body::Streamed;
pub(crate) use path::Path;
pub(crate) use upstream::Upstream;
use upstream::{Client, RequestBody};

/// An upstream that cannot be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The prefix is not the beginning of a path.
    #[error("the prefix {0:?} must begin with / and have no empty, dotted or encoded segments")]
    InvalidPrefix(String),
    /// The prefix lies under a path that this server has for itself.
    #[error("the prefix {0:?} is taken by this server itself")]
    ReservedPrefix(String),
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
    uri: Uri,
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
    pub(crate) fn upstream_of(&self, path: &Path<'_>) -> Option<&Upstream> {
        if path.first().is_some_and(is_reserved) {
            return None;
        }
        self.upstreams.iter().find(|upstream| upstream.takes(path))
    }

    /// Sends a request on as the user of its session. A 401 of the upstream renews the token
    /// once and, if the body was kept, repeats the request once.
    pub(crate) async fn forward<S: TokenStore, I: Issuer>(
        &self,
        app: &App<S, I>,
        upstream: &Upstream,
        caller: Caller,
        body: Incoming,
    ) -> Result<http::Response<AnyBody>, Failure> {
        let sessions = app.sessions_for(&caller.asker);
        let resumed = match caller.presented.credential() {
            Some(credential) => sessions.resume(credential).await,
            None => Err(Error::NotLoggedIn),
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
            uri: upstream.uri_of(&caller.uri)?,
            headers: headers::to_upstream(&caller, &app.settings),
        };
        let (kept, body) = self.body(app, body).await?;
        // Given back as soon as the answer begins.
        let _place = app.forwards.take().ok_or(Failure::Busy)?;
        let mut answer = self.send(&outgoing, &session, body).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let spent = session.record().access_token.spent();
            let session = match sessions.renew(caller.credential()?, spent).await {
                Ok(session) => session,
                Err(error) => return without_session(app, &caller, error),
            };
            let renewed = session.record().access_token.spent() != spent;
            if let Some(kept) = kept.filter(|_| renewed) {
                answer = self.send(&outgoing, &session, Either::Left(Full::new(kept))).await?;
            }
        }
        answer::pass_on(answer, &app.gateway_streams, app.settings.connections.stall)
    }

    /// The body as it goes on, and the bytes of it if it is one that is kept.
    async fn body<S, I>(
        &self,
        app: &App<S, I>,
        body: Incoming,
    ) -> Result<(Option<Bytes>, RequestBody), Failure> {
        match body.size_hint().exact() {
            Some(length) if length <= self.limits.kept_bytes => {
                let limit = usize::try_from(self.limits.kept_bytes).unwrap_or(usize::MAX);
                let time = app.settings.requests.body_time.max(self.limits.body_stall);
                let kept = bodies::collect(body, limit, time).await?;
                Ok((Some(kept.clone()), Either::Left(Full::new(kept))))
            }
            _ => Ok((None, Either::Right(Streamed::new(body, &self.limits)))),
        }
    }

    async fn send(
        &self,
        outgoing: &Outgoing<'_>,
        session: &Session,
        body: RequestBody,
    ) -> Result<http::Response<Incoming>, Failure> {
        let client = self.client.as_ref().ok_or(Failure::NotFound)?;
        client.send(outgoing, authorization(session.record())?, body).await
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
    reply::guard_page(response.headers_mut());
    let response = response.map(AnyBody::Own);
    Ok(if caller.method == Method::HEAD { headless(response) } else { response })
}

/// What is under a prefix is under it however it is written, and has no way out of it.
#[cfg(feature = "testing")]
pub(crate) fn check_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(path) = Path::parse(text) else { return };
    let segments = path.into_segments();
    let mut plain = String::new();
    for segment in &segments {
        let dots = matches!(segment.as_ref(), b"" | b"." | b"..");
        assert!(!dots && !segment.iter().any(|byte| b"/\\\0\r\n".contains(byte)));
        plain.push('/');
        segment.iter().for_each(|byte| plain.push_str(&format!("%{byte:02X}")));
    }
    if !segments.is_empty() {
        assert!(Path::parse(&plain).is_ok_and(|path| path.into_segments() == segments));
    }
}
