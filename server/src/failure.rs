//! Why a request is not answered as it hoped; [`crate::reply`] makes the status of it.

use std::sync::Arc;

use http::HeaderValue;
use tokenkeep_core::{Error, Refusal, SharedCause};

use crate::login_attempts::LimitMet;
use crate::service_key::KeyRefusal;

/// Why a request is not answered as it hoped.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The session flow stopped, for a request with a device cookie or without any.
    #[error("the session cannot go on")]
    Session {
        /// Why.
        #[source]
        error: Error,
        /// Whether a device cookie came with the request: a dead one is cleared.
        presented: bool,
    },
    /// A refusal that names the login page, for a proxy that cannot pass a redirect on.
    #[error(transparent)]
    SignIn(Box<SignIn>),
    /// The session flow stopped, for a service or a login.
    #[error(transparent)]
    Flow(Error),
    /// The auth server refused a login.
    #[error("the auth server refused the login")]
    LoginRefused(Refusal),
    /// The auth server refused a registration.
    #[error("the auth server refused the registration")]
    RegistrationRefused(Refusal),
    /// The request cannot be understood.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The body has a media type that is not understood here.
    #[error("the media type is not understood")]
    UnsupportedMediaType,
    /// The body is too large.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The body came too slowly.
    #[error("the body came too slowly")]
    BodyTooSlow,
    /// The path and query are too long.
    #[error("the address is too long")]
    UriTooLong,
    /// An unsafe request from another site.
    #[error("an unsafe request from another site")]
    CrossSite,
    /// The service key does not open this.
    #[error("the service is refused")]
    ServiceKey(#[source] KeyRefusal),
    /// There is nothing at this path.
    #[error("nothing at this path")]
    NotFound,
    /// The path takes these methods only.
    #[error("the path takes {0} only")]
    MethodNotAllowed(&'static str),
    /// Too many logins were tried.
    #[error("too many logins were tried")]
    TooManyAttempts(LimitMet),
    /// As much is under way as the server takes on.
    #[error("too many requests are under way")]
    Busy,
    /// The server is about to stop.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The upstream of the gateway was not reached: it has got nothing.
    #[error("the upstream was not reached")]
    UpstreamUnreachable(#[source] SharedCause),
    /// The upstream of the gateway broke off, or its answer is none.
    #[error("the upstream gave no answer")]
    UpstreamBroke(#[source] SharedCause),
    /// The upstream of the gateway took too long.
    #[error("the upstream took too long")]
    UpstreamLate,
    /// A handler panicked.
    #[error("the handler of the request panicked")]
    Panicked,
    /// Something that should not happen.
    #[error("something that should not happen")]
    Internal(#[source] SharedCause),
}

/// A refusal and the address of the login page.
#[derive(Clone, Debug, thiserror::Error)]
#[error("nobody is logged in")]
pub(crate) struct SignIn {
    /// The refusal itself.
    #[source]
    pub(crate) refusal: Failure,
    /// Where to log in.
    pub(crate) location: HeaderValue,
}

impl Failure {
    /// Something that should not happen.
    pub(crate) fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(cause))
    }
}

/// The failure travels in the extensions of a response, to where all of them become answers.
impl warp::Reply for Failure {
    fn into_response(self) -> warp::reply::Response {
        let mut response = warp::reply::Response::default();
        response.extensions_mut().insert(self);
        response
    }
}
