//! Takes requests to the session server: address, key, total time, and repeats where they are safe.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use tokenkeep_core::wire::{self, TokenBody, TokenRequest};
use tokenkeep_core::{Credential, SpentToken};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::backoff::Backoff;
use crate::{Error, body, error};

/// The way to the session server.
pub(crate) struct Transport {
    pub(crate) http: Client,
    pub(crate) base: Url,
    /// The `Authorization` of the service, if it has a key.
    pub(crate) key: Option<HeaderValue>,
    /// The name under which the server looks for the device cookie.
    pub(crate) cookie: &'static str,
    /// Longest time for a call with all its repeats.
    pub(crate) total: Duration,
}

/// Whether a call may be made again when it is not known to have worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Safe,
    Never,
}

impl Transport {
    /// A request to `path`, with the service key.
    pub(crate) fn as_service(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let key = self.key.clone().ok_or_else(|| Error::misconfigured(NoServiceKey))?;
        Ok(self.request(method, path).header(AUTHORIZATION, key))
    }

    /// A request to `path`, as the device itself makes it.
    pub(crate) fn as_device(
        &self,
        method: Method,
        path: &str,
        credential: &Credential,
    ) -> Result<RequestBuilder, Error> {
        let text = Zeroizing::new(format!("{}={}", self.cookie, credential.expose().as_str()));
        let cookie = sensitive(&text)?;
        Ok(self.request(method, path).header(COOKIE, cookie))
    }

    /// A request to `path`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if method == Method::GET {
            return self.http.get(url);
        }
        // The server takes unsafe requests from its own site only, and no other site speaks
        // through this client.
        self.http.request(method, url).header("sec-fetch-site", "same-origin")
    }

    /// Asks for a token; with `spent`, for another one than that.
    pub(crate) async fn token(
        &self,
        credential: &Credential,
        spent: Option<SpentToken>,
    ) -> Result<TokenBody, Error> {
        // A renewal that got lost may have happened, and its repeat would be another one.
        let repeat = if spent.is_some() { Repeat::Never } else { Repeat::Safe };
        let request = self
            .as_service(Method::POST, wire::TOKEN)?
            .header(wire::CREDENTIAL_HEADER, sensitive(&credential.expose())?)
            .json(&TokenRequest { spent: spent.map(|spent| spent.to_string()) });
        self.within_total(async { body::read_json(self.ask(request, repeat).await?).await }).await
    }

    /// Makes a call that reads; it is repeated if the server is away for a moment.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        let call = async { body::read_json(self.ask(request, Repeat::Safe).await?).await };
        self.within_total(call).await
    }

    /// Makes a call that changes something, once, and reads its answer.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        let call = async { body::read_json(self.ask(request, Repeat::Never).await?).await };
        self.within_total(call).await
    }

    /// Makes a call once, and waits for the head of its answer.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, Error> {
        self.within_total(self.ask(request, Repeat::Never)).await
    }

    /// Runs a call within the total time.
    pub(crate) async fn within_total<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout(self.total, call).await.unwrap_or_else(|_| Err(Error::timeout()))
    }

    async fn ask(&self, mut request: RequestBuilder, repeat: Repeat) -> Result<Response, Error> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut repeats = if repeat == Repeat::Safe { MAX_REPEATS } else { 0 };
        loop {
            let spare = if repeats > 0 { request.try_clone() } else { None };
            let error = match self.ask_once(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let (Some(next), Some(wait)) = (spare, error.worth_repeating()) else {
                return Err(error);
            };
            tracing::debug!(%error, "the session server is asked again");
            sleep(backoff.next(wait)).await;
            (request, repeats) = (next, repeats - 1);
        }
    }

    async fn ask_once(&self, request: RequestBuilder) -> Result<Response, Error> {
        error::check(request.send().await.map_err(Error::transport)?).await
    }
}

/// A header value that is not printed.
fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(Error::misconfigured)?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Debug, thiserror::Error)]
#[error("the call needs a service key")]
struct NoServiceKey;

const MAX_REPEATS: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
