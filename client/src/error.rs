//! The client's one error, and the one file that understands a status code.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokenkeep_core::wire::{ErrorCode, REQUEST_ID_HEADER};

use crate::body;

/// Why a call did not work.
///
/// Ask it what to do: [`is_logged_out`](Self::is_logged_out) means that the user must log in
/// again, [`is_unavailable`](Self::is_unavailable) that it is worth asking later and nobody was
/// logged out. Cloning is cheap: everybody who waited for the same call gets the same error. It
/// holds no secret and no URL.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    said: Said,
    timed_out: bool,
    never_sent: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    LoggedOut,
    Refused,
    Misconfigured,
    Throttled,
    Unavailable,
    Unexpected,
    Upstream,
}

/// What the server said of the problem, as far as it did.
#[derive(Debug, Default)]
struct Said {
    code: Option<ErrorCode>,
    word: Option<String>,
    reason: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

/// A problem as lenient as it can be read: a later server may use words that are unknown here.
#[derive(Default, Deserialize)]
struct LooseProblem {
    code: Option<String>,
    reason: Option<String>,
    request_id: Option<String>,
}

impl Error {
    /// Whether the session is over or was never there: the user must log in again.
    #[must_use]
    pub fn is_logged_out(&self) -> bool {
        self.0.kind == Kind::LoggedOut
    }

    /// Whether the server understood the call and said no: wrong password, no such device, the
    /// ceiling is reached. [`Error::code`] says which. The same call gets the same answer.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.kind == Kind::Refused
    }

    /// Whether an operator has to act: a service key that is missing, unknown or without the
    /// scope, or a client that is set up wrongly.
    #[must_use]
    pub fn is_misconfigured(&self) -> bool {
        self.0.kind == Kind::Misconfigured
    }

    /// Whether it is worth asking again later: the session server or the auth server behind it is
    /// down, slow or has too much to do. Nobody was logged out.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.0.kind, Kind::Unavailable | Kind::Throttled)
    }

    /// Whether an answer did not come in time, from the session server or from the upstream.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.0.timed_out
    }

    /// Whether it was not the session server but the upstream of
    /// [`SessionClient::send`](crate::SessionClient::send) that could not be asked.
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        self.0.kind == Kind::Upstream
    }

    /// How long the server asks to wait before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.said.retry_after
    }

    /// Why the session is over, in the stable words of
    /// [`EndReason`](tokenkeep_core::EndReason).
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.said.reason.as_deref()
    }

    /// The server's stable word for the problem, if this version of the client knows it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.said.code
    }

    /// Names the request in the server's log.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.said.request_id.as_deref()
    }

    pub(crate) fn misconfigured(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Misconfigured, Some(source.into()))
    }

    pub(crate) fn unexpected(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Unexpected, Some(source.into()))
    }

    /// No answer within the total time.
    pub(crate) fn timeout() -> Self {
        Self::build(Kind::Unavailable, Said::default(), true, false, None)
    }

    /// The task that made the call is gone, e.g. with its runtime.
    pub(crate) fn call_lost() -> Self {
        Self::new(Kind::Unavailable, None)
    }

    /// The session server could not be asked, or stopped in the middle of its answer.
    pub(crate) fn transport(error: reqwest::Error) -> Self {
        // A request that cannot be built is no fault of the server.
        let kind = if error.is_builder() { Kind::Misconfigured } else { Kind::Unavailable };
        let (timed_out, never_sent) = (error.is_timeout(), error.is_connect());
        let source = Some(error.without_url().into());
        Self::build(kind, Said::default(), timed_out, never_sent, source)
    }

    /// The upstream could not be asked.
    pub(crate) fn upstream(error: reqwest::Error) -> Self {
        let timed_out = error.is_timeout();
        let source = Some(error.without_url().into());
        Self::build(Kind::Upstream, Said::default(), timed_out, false, source)
    }

    /// How long to wait before repeating a call that may be repeated; absent if that is no use.
    pub(crate) fn worth_repeating(&self) -> Option<Duration> {
        match self.0.kind {
            Kind::Unavailable if self.0.never_sent => Some(Duration::ZERO),
            Kind::Unavailable => self.retry_after().filter(|wait| *wait <= SHORT_WAIT),
            _ => None,
        }
    }

    fn new(kind: Kind, source: Option<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::build(kind, Said::default(), false, false, source)
    }

    fn build(
        kind: Kind,
        said: Said,
        timed_out: bool,
        never_sent: bool,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, said, timed_out, never_sent, source }))
    }
}

/// Lets a success through and reads the problem of anything else.
pub(crate) async fn check(response: Response) -> Result<Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let headers = response.headers().clone();
    // Without its body a problem has no code, and then its status is no verdict on a session.
    let body = body::read(response, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let said = said(&headers, &body);
    Err(Error::build(kind_of(status, said.code), said, false, false, None))
}

/// Whether an upstream's answer says that the access token is spent.
pub(crate) fn says_spent(response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
}

/// What a problem means for the caller.
///
/// Only a word of ours is a verdict: a bare 401 of something between client and server logs
/// nobody out.
fn kind_of(status: StatusCode, code: Option<ErrorCode>) -> Kind {
    use ErrorCode as Code;
    match code {
        Some(Code::NotLoggedIn | Code::SessionEnded) => Kind::LoggedOut,
        Some(Code::InvalidServiceKey | Code::MissingScope | Code::CrossSite) => Kind::Misconfigured,
        Some(
            Code::LoginRefused
            | Code::RegistrationRefused
            | Code::AccountExists
            | Code::CeilingReached
            | Code::NoSuchDevice
            | Code::InvalidEmail
            | Code::BadRequest
            | Code::BodyTooLarge
            | Code::UriTooLong
            | Code::HeadersTooLarge,
        ) => Kind::Refused,
        _ => match status {
            StatusCode::TOO_MANY_REQUESTS => Kind::Throttled,
            StatusCode::REQUEST_TIMEOUT => Kind::Unavailable,
            status if status.is_server_error() => Kind::Unavailable,
            _ => Kind::Unexpected,
        },
    }
}

fn said(headers: &HeaderMap, body: &[u8]) -> Said {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_json = text(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("json"));
    let problem = is_json.then(|| serde_json::from_slice::<LooseProblem>(body).ok()).flatten();
    let problem = problem.unwrap_or_default();
    let word = problem.code.and_then(printable);
    let code = word.clone().map(serde_json::Value::from);
    let request_id = problem.request_id.or_else(|| text(REQUEST_ID_HEADER).map(str::to_owned));
    let seconds = text(RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
    Said {
        code: code.and_then(|code| serde_json::from_value(code).ok()),
        word,
        reason: problem.reason.and_then(printable),
        request_id: request_id.and_then(printable),
        retry_after: seconds.map(Duration::from_secs),
    }
}

/// A word from outside, if it can go into a log line as it is.
fn printable(text: String) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (text.len() <= MAX_WORD_LEN && text.bytes().all(legal)).then_some(text)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind {
            Kind::LoggedOut => "the session is over",
            Kind::Refused => "the session server refused the call",
            Kind::Misconfigured => "the client is not set up for the call",
            Kind::Throttled => "the session server has had too many requests",
            Kind::Unavailable if self.0.timed_out => "the session server did not answer in time",
            Kind::Unavailable => "the session server is unavailable",
            Kind::Unexpected => "the session server's answer is not understood",
            Kind::Upstream if self.0.timed_out => "the upstream did not answer in time",
            Kind::Upstream => "the upstream could not be asked",
        })?;
        match self.0.said.reason.as_ref().or(self.0.said.word.as_ref()) {
            Some(word) => write!(f, ": {word}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("said", &self.0.said)
            .field("timed_out", &self.0.timed_out)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The longest `Retry-After` that a call waits out by itself.
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// The largest problem that is read.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;
/// The longest word of a problem that is passed on.
const MAX_WORD_LEN: usize = 128;

#[cfg(feature = "testing")]
pub(crate) mod testing {
    use super::{MAX_WORD_LEN, StatusCode, kind_of, said};

    /// A problem of any server says words that can go into a log line, and is some kind of error.
    pub fn problem(bytes: &[u8]) {
        let (headers, body) = crate::testing::answer(bytes);
        let said = said(&headers, body);
        for word in [&said.word, &said.reason, &said.request_id].into_iter().flatten() {
            assert!(word.len() <= MAX_WORD_LEN && word.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        let _ = kind_of(StatusCode::BAD_GATEWAY, said.code);
    }
}
