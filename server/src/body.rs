//! Bodies: collected within limits, and read as what they say they are.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Collects a body of at most `limit` bytes within `time`, whether it declares its length or not.
pub(crate) async fn collect<B>(body: B, limit: usize, time: Duration) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Failure::BodyTooLarge);
    }
    let collected = Limited::new(body, limit).collect();
    match tokio::time::timeout(time, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::BodyTooLarge),
        Ok(Err(_)) => Err(Failure::BadRequest("the body broke off")),
        Err(_) => Err(Failure::BodyTooSlow),
    }
}

/// Reads a JSON body. The parser's words stay here: they may quote a password.
pub(crate) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Failure> {
    match media_type(headers).as_deref() {
        Some("application/json") => from_json(body),
        _ => Err(Failure::UnsupportedMediaType),
    }
}

/// Reads a body that is JSON or a form.
pub(crate) fn json_or_form<T>(headers: &HeaderMap, body: &[u8]) -> Result<T, Failure>
where
    T: DeserializeOwned,
{
    match media_type(headers).as_deref() {
        Some("application/json") => from_json(body),
        Some("application/x-www-form-urlencoded") => {
            serde_urlencoded::from_bytes(body).map_err(|_| Failure::BadRequest(WRONG_FIELDS))
        }
        _ => Err(Failure::UnsupportedMediaType),
    }
}

/// Reads the query of an address; unknown and repeated parameters are refused.
pub(crate) fn query<T: DeserializeOwned>(uri: &http::Uri) -> Result<T, Failure> {
    serde_urlencoded::from_str(uri.query().unwrap_or_default())
        .map_err(|_| Failure::BadRequest("a parameter is missing, unknown, repeated or malformed"))
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // serde would also take an array with the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::BadRequest(WRONG_FIELDS));
    }
    serde_json::from_slice(body).map_err(|_| Failure::BadRequest(WRONG_FIELDS))
}

/// The media type without its parameters; absent also if there are two.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (first, second) = (all.next()?, all.next());
    if second.is_some() {
        return None;
    }
    let essence = first.to_str().ok()?.split(';').next()?;
    Some(essence.trim().to_ascii_lowercase())
}

const WRONG_FIELDS: &str = "a field is missing, unknown, repeated or malformed";
