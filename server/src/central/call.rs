//! One call: one attempt, no redirect, bounded in time and size.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use rustls::crypto::ring;
use serde_json::{Map, Value};
use tokenkeep_core::{IssuerError, Timestamp};
use zeroize::Zeroizing;

use super::CentralError;
use super::failure::{Failure, unknown};
use crate::config::AuthServerSettings;

/// An answer that came whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Whether somebody in front asks for a name and a password of its own.
    pub(super) wants_basic: bool,
    is_json: bool,
    // Holds tokens: wiped when the answer was understood.
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The body, if it is a JSON object and says so.
    pub(super) fn json(&self) -> Option<Map<String, Value>> {
        if !self.is_json {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }
}

/// The client for these settings.
pub(super) fn client(settings: &AuthServerSettings) -> Result<Client, CentralError> {
    // Whoever installed a provider before keeps it: it is one per process.
    let _ = ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("tokenkeep/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .pool_max_idle_per_host(0)
        .connect_timeout(settings.connect);
    let https = settings.base_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    let builder = match &settings.ca_file {
        Some(path) => {
            let failed = |cause| CentralError::CaFile { path: path.clone(), cause };
            let pem = std::fs::read(path).map_err(|cause| failed(cause.into()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|cause| failed(cause.into()))?;
            if roots.is_empty() {
                return Err(failed("no certificate is in it".into()));
            }
            builder.tls_certs_only(roots)
        }
        // Plain http needs no certificates, and a bare container has none to load.
        None if !https => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(CentralError::Client)
}

/// Sends a request and reads the whole answer. `now` gives a date in `Retry-After` its meaning
/// where the answer has no date of its own.
pub(super) async fn send(
    request: RequestBuilder,
    deadline: Duration,
    now: Option<Timestamp>,
) -> Result<Answer, IssuerError> {
    tokio::time::timeout(deadline, attempt(request, now))
        .await
        .unwrap_or_else(|_| Err(unknown(Failure::Late(deadline))))
}

async fn attempt(request: RequestBuilder, now: Option<Timestamp>) -> Result<Answer, IssuerError> {
    let request = request.header(reqwest::header::ACCEPT, "application/json");
    let response = request.send().await.map_err(|cause| {
        let connected = !cause.is_connect();
        // The address may have an internal name in it; it belongs to the settings, not to errors.
        let failure = Failure::Transport(cause.without_url());
        if connected { unknown(failure) } else { not_sent(failure, None) }
    })?;
    let (status, headers) = (response.status(), response.headers());
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(not_sent(Failure::Status(429), retry_after(headers, now)));
    }
    // The status says enough; a broken body must not change it.
    if status.is_server_error() {
        return Err(unknown(Failure::Status(status.as_u16())));
    }
    let is_json = text(headers, &CONTENT_TYPE).is_some_and(is_json);
    let wants_basic = text(headers, &WWW_AUTHENTICATE)
        .and_then(|challenge| challenge.split(' ').next())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"));
    let body = body(response).await.map_err(unknown)?;
    Ok(Answer { status, wants_basic, is_json, body })
}

async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let transport = |cause: reqwest::Error| Failure::Transport(cause.without_url());
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_BODY_LEN {
            return Err(Failure::TooLarge(MAX_BODY_LEN));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn not_sent(failure: Failure, retry_after: Option<Duration>) -> IssuerError {
    IssuerError::NotSent { retry_after, cause: Box::new(failure) }
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), bounded. A date counts from the
/// answer's own `Date`, so that two clocks need not agree.
fn retry_after(headers: &HeaderMap, now: Option<Timestamp>) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let since = text(headers, &DATE).and_then(date).or(now)?;
            date(value)?.duration_since(since)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(Timestamp::default() + date.duration_since(std::time::UNIX_EPOCH).ok()?)
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The largest answer that is read.
const MAX_BODY_LEN: usize = 256 << 10;
/// The longest that the auth server can ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The first line as `Retry-After`, the second as `Date`: a wait is bounded.
#[cfg(feature = "testing")]
pub(crate) fn check_retry_after(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for (name, line) in [RETRY_AFTER, DATE].into_iter().zip(bytes.split(|byte| *byte == b'\n')) {
        if let Ok(value) = line.try_into() {
            headers.insert(name, value);
        }
    }
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    assert!(retry_after(&headers, Some(now)).is_none_or(|wait| wait <= MAX_RETRY_AFTER));
}
