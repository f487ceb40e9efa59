//! How answers look: the one file that chooses a status for a failure, writes problems
//! (RFC 9457), puts the guarding headers on, and logs why.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use tokenkeep_core::wire::{self, ErrorCode, Problem};
use tokenkeep_core::{Chain, Error, Refusal};
use warp::Reply as _;

use crate::failure::Failure;
use crate::login_attempts::LimitMet;
use crate::service_key::KeyRefusal;

/// A response of our own.
pub(crate) type Response = warp::reply::Response;

/// What a handler gives.
pub(crate) type Answer = Result<Response, Failure>;

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, body).map_err(Failure::internal)?;
    let mut response = bytes.into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(response)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// Sends a browser to the login page.
pub(crate) fn to_login_page(location: HeaderValue) -> Response {
    let mut response = empty(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Keeps an answer out of every cache.
pub(crate) fn keep_private(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Cookie"));
}

/// Puts the headers on that all answers for browsers carry.
pub(crate) fn guard(headers: &mut HeaderMap) {
    headers.reserve(4);
    keep_private(headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CORP, HeaderValue::from_static("same-origin"));
}

/// Puts the headers on that an answer carries which a browser may show to a person.
pub(crate) fn guard_page(headers: &mut HeaderMap) {
    guard(headers);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, CSP);
}

/// Names a request in its problem and in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId {
    /// Tells the requests of two processes apart.
    pub(crate) process: u32,
    /// Counts the requests of this process.
    pub(crate) number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.process, self.number)
    }
}

/// What the log says of a request. The query stays out of it: it may hold anything.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

/// The problem that `failure` is to whoever asked; logs it with its causes.
pub(crate) fn problem(failure: &Failure, asked: &Asked, cleared_cookie: &HeaderValue) -> Response {
    let shape = Shape::of(failure);
    log(failure, &shape, asked);
    let request_id = asked.id.to_string();
    let body = Problem {
        kind: "about:blank".into(),
        title: shape.status.canonical_reason().unwrap_or("Error").into(),
        status: shape.status.as_u16(),
        detail: shape.detail.clone().into_owned(),
        code: shape.code,
        reason: shape.reason.map(str::to_owned),
        request_id: Some(request_id.clone()),
    };
    let mut response = serde_json::to_vec(&body).unwrap_or_default().into_response();
    *response.status_mut() = shape.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(wire::PROBLEM_JSON));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    shape.put_headers(failure, headers, cleared_cookie);
    response
}

/// Whether `failure` is one of ours, or of somebody behind us, and no refusal.
pub(crate) fn is_fault(failure: &Failure) -> bool {
    Shape::of(failure).status.is_server_error()
}

/// The stable word that `failure` has in its problem.
pub(crate) fn code_word(failure: &Failure) -> String {
    let word = serde_json::to_value(Shape::of(failure).code);
    word.ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a failure is on the wire.
struct Shape {
    status: StatusCode,
    code: ErrorCode,
    detail: Cow<'static, str>,
    reason: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl Shape {
    fn new(status: StatusCode, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), reason: None, retry_after: None }
    }

    fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    #[rustfmt::skip]
    fn of(failure: &Failure) -> Self {
        use ErrorCode as Code;
        use StatusCode as Status;
        match failure {
            Failure::SignIn(sign_in) => Self::of(&sign_in.refusal),
            Failure::Session { error, .. } | Failure::Flow(error) => Self::of_flow(error),
            Failure::LoginRefused(refusal) => Self::new(Status::UNAUTHORIZED, Code::LoginRefused, words(refusal, "email or password is wrong")),
            Failure::RegistrationRefused(refusal) if refusal.conflict => Self::new(Status::CONFLICT, Code::AccountExists, words(refusal, "the account exists already: log in")),
            Failure::RegistrationRefused(refusal) => Self::new(Status::BAD_REQUEST, Code::RegistrationRefused, words(refusal, "the auth server refused the registration")),
            Failure::BadRequest(detail) => Self::new(Status::BAD_REQUEST, Code::BadRequest, *detail),
            Failure::UnsupportedMediaType => Self::new(Status::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedMediaType, "send application/json; logins may also be application/x-www-form-urlencoded"),
            Failure::BodyTooLarge => Self::new(Status::PAYLOAD_TOO_LARGE, Code::BodyTooLarge, "send a smaller body"),
            Failure::BodyTooSlow => Self::new(Status::REQUEST_TIMEOUT, Code::RequestTimeout, "the body came too slowly: send it again"),
            Failure::UriTooLong => Self::new(Status::URI_TOO_LONG, Code::UriTooLong, "the address is too long"),
            Failure::CrossSite => Self::new(Status::FORBIDDEN, Code::CrossSite, "requests that change something must come from this site, or from a configured origin"),
            Failure::ServiceKey(KeyRefusal::Unknown) => Self::new(Status::UNAUTHORIZED, Code::InvalidServiceKey, "send a valid service key as bearer token"),
            Failure::ServiceKey(KeyRefusal::MissingScope) => Self::new(Status::FORBIDDEN, Code::MissingScope, "the service key has not the scope that this needs"),
            Failure::NotFound => Self::new(Status::NOT_FOUND, Code::NotFound, "there is nothing at this path"),
            Failure::MethodNotAllowed(_) => Self::new(Status::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, "use a method that Allow names"),
            Failure::TooManyAttempts(met) => Self::new(Status::TOO_MANY_REQUESTS, Code::TooManyRequests, "too many attempts: wait as long as Retry-After says").after(met.wait),
            Failure::Busy => Self::new(Status::SERVICE_UNAVAILABLE, Code::Busy, "the server is busy: try again").after(ONE_SECOND),
            Failure::ShuttingDown => Self::of_flow(&Error::ShuttingDown),
            Failure::UpstreamUnreachable(_) => Self::new(Status::BAD_GATEWAY, Code::UpstreamUnavailable, "the service behind this address cannot be reached").after(ONE_SECOND),
            Failure::UpstreamBroke(_) => Self::new(Status::BAD_GATEWAY, Code::UpstreamUnavailable, "the service behind this address broke off; it may have done what was asked"),
            Failure::UpstreamLate => Self::new(Status::GATEWAY_TIMEOUT, Code::UpstreamUnavailable, "the service behind this address took too long"),
            Failure::Panicked | Failure::Internal(_) => Self::internal(),
        }
    }

    #[rustfmt::skip]
    fn of_flow(error: &Error) -> Self {
        use ErrorCode as Code;
        use StatusCode as Status;
        match error {
            Error::NotLoggedIn => Self::new(Status::UNAUTHORIZED, Code::NotLoggedIn, "log in"),
            Error::Ended(reason) => Self { reason: Some(reason.as_str()), ..Self::new(Status::UNAUTHORIZED, Code::SessionEnded, "the session is over: log in again") },
            Error::Refused(refusal) => Self::new(Status::UNAUTHORIZED, Code::LoginRefused, words(refusal, "the auth server refused")),
            Error::InvalidEmail(_) => Self::new(Status::BAD_REQUEST, Code::InvalidEmail, "send an email address: one @ with text on both sides, no spaces, at most 254 bytes"),
            Error::CeilingReached => Self::new(Status::CONFLICT, Code::CeilingReached, "as many devices as allowed are logged in: log out on one of them"),
            Error::NoSuchDevice => Self::new(Status::NOT_FOUND, Code::NoSuchDevice, "no such device"),
            Error::Unavailable { retry_after, .. } => Self::new(Status::SERVICE_UNAVAILABLE, Code::AuthServerUnavailable, "the auth server cannot be reached; the session stays: try again").after(*retry_after),
            Error::Store(_) => Self::new(Status::SERVICE_UNAVAILABLE, Code::StoreUnavailable, "the store cannot help at the moment: try again").after(ONE_SECOND),
            Error::ShuttingDown => Self::new(Status::SERVICE_UNAVAILABLE, Code::ShuttingDown, "the server is shutting down: try again").after(ONE_SECOND),
            _ => Self::internal(),
        }
    }

    fn internal() -> Self {
        let detail = "something went wrong here; the log has it under the request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, detail)
    }

    fn put_headers(&self, failure: &Failure, headers: &mut HeaderMap, cleared: &HeaderValue) {
        if let Some(pause) = self.retry_after {
            headers.insert(RETRY_AFTER, whole_seconds(pause).into());
        }
        match failure {
            Failure::SignIn(sign_in) => {
                headers.insert(LOCATION, sign_in.location.clone());
                self.put_headers(&sign_in.refusal, headers, cleared);
            }
            Failure::Session { error, presented: true } if error.is_logged_out() => {
                headers.insert(SET_COOKIE, cleared.clone());
            }
            Failure::ServiceKey(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Failure::TooManyAttempts(met) => put_limit(met, headers),
            Failure::MethodNotAllowed(methods) => {
                headers.insert(ALLOW, HeaderValue::from_static(methods));
            }
            _ => {}
        }
    }
}

/// Names the limit that was met (draft-ietf-httpapi-ratelimit-headers-10).
fn put_limit(met: &LimitMet, headers: &mut HeaderMap) {
    let LimitMet { counted, rate, wait } = met;
    let window = whole_seconds(rate.every.saturating_mul(rate.burst));
    let counted = counted.as_str();
    let limit = format!("\"{counted}\";r=0;t={}", whole_seconds(*wait));
    let policy = format!("\"{counted}\";q={};w={window}", rate.burst);
    for (name, text) in [(RATE_LIMIT, limit), (RATE_LIMIT_POLICY, policy)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

/// Rounded up, and never none at all: who comes back then is not too early.
fn whole_seconds(pause: Duration) -> u64 {
    (pause.as_secs() + u64::from(pause.subsec_nanos() > 0)).max(1)
}

/// The auth server's words for the user, or ours.
fn words(refusal: &Refusal, otherwise: &'static str) -> Cow<'static, str> {
    refusal.detail.clone().map_or(Cow::Borrowed(otherwise), Cow::Owned)
}

/// One line for each failure. `Debug` of the texts escapes what could forge a second line.
fn log(failure: &Failure, shape: &Shape, asked: &Asked) {
    let (request, method, path) = (asked.id, &asked.method, asked.uri.path());
    let status = shape.status.as_u16();
    let error = Chain(failure).to_string();
    if status == 500 {
        tracing::error!(%request, %method, ?path, status, ?error, "a request failed");
    } else if status > 500 {
        tracing::warn!(%request, %method, ?path, status, ?error, "a request could not be served");
    } else if is_everyday(failure) {
        tracing::debug!(%request, %method, ?path, status, ?error, "a request was refused");
    } else {
        tracing::info!(%request, %method, ?path, status, ?error, "a request was refused");
    }
}

/// Whether a refusal tells an operator nothing: anybody can bring it about all day long.
fn is_everyday(failure: &Failure) -> bool {
    match failure {
        Failure::SignIn(sign_in) => is_everyday(&sign_in.refusal),
        Failure::Session { error, .. } | Failure::Flow(error) => {
            matches!(error, Error::NotLoggedIn)
        }
        Failure::NotFound => true,
        _ => false,
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CSP: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const REQUEST_ID: HeaderName = HeaderName::from_static(wire::REQUEST_ID_HEADER);
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const ONE_SECOND: Duration = Duration::from_secs(1);
