//! The client of a service: tokens, and requests that carry them.

use std::fmt;
use std::sync::Arc;

use reqwest::{RequestBuilder, Response};
use tokenkeep_core::Credential;

use crate::tokens::Tokens;
use crate::transport::Transport;
use crate::{Builder, Error, Token, error};

/// A client of one session server.
///
/// Cloning is cheap, and clones share connections and tokens at hand: make one and hand it round.
/// Calls must run on a tokio runtime with time and I/O enabled.
#[derive(Clone)]
pub struct SessionClient {
    pub(crate) transport: Arc<Transport>,
    pub(crate) tokens: Arc<Tokens>,
}

impl SessionClient {
    /// Begins a client of the server at `base_url`, e.g. `https://session.example`.
    ///
    /// Over plain http the service key and every token travel in the clear: keep it to the
    /// loopback address or a network of your own.
    pub fn builder(base_url: impl Into<String>) -> Builder {
        Builder::new(base_url.into())
    }

    /// A usable access token for the device that `credential` proves.
    ///
    /// It is kept at hand until shortly before it expires, by a clock that does not leap. Callers
    /// that ask at the same time share one call to the server. While the server is unavailable, a
    /// token that still works is handed out to its end. Refusals are not kept.
    ///
    /// # Errors
    /// [`Error::is_logged_out`] if the session is over, [`Error::is_unavailable`] if it is worth
    /// asking later, [`Error::is_misconfigured`] if the service key will not do.
    pub async fn token(&self, credential: &Credential) -> Result<Token, Error> {
        self.tokens.obtain(credential, None).await
    }

    /// Sends `request` to an upstream with the access token in `Authorization`.
    ///
    /// If the upstream says 401, the token is renewed, once for all callers that met the same 401,
    /// and the request is repeated once. A request whose body is a stream cannot be repeated: its
    /// caller gets the 401, and the next request has the renewed token.
    ///
    /// Whatever else the upstream answers, errors included, is the answer. Time-outs and redirects
    /// are those of the client that made `request`.
    ///
    /// # Errors
    /// As [`SessionClient::token`], and [`Error::is_upstream`] if the upstream cannot be asked.
    pub async fn send(
        &self,
        credential: &Credential,
        request: RequestBuilder,
    ) -> Result<Response, Error> {
        let spare = request.try_clone();
        let token = self.token(credential).await?;
        let response = token.authorize(request).send().await.map_err(Error::upstream)?;
        if !error::says_spent(&response) {
            return Ok(response);
        }
        let renewed = self.tokens.obtain(credential, Some(token.spent())).await?;
        match spare {
            Some(request) => renewed.authorize(request).send().await.map_err(Error::upstream),
            None => Ok(response),
        }
    }

    /// Forgets the token at hand for `credential`: the next call asks the server.
    pub fn invalidate(&self, credential: &Credential) {
        self.tokens.forget(credential);
    }
}

impl fmt::Debug for SessionClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionClient")
            .field("base_url", &self.transport.base.as_str())
            .finish_non_exhaustive()
    }
}
