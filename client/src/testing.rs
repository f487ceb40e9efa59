//! The fuzz targets of this crate, with what holds for any bytes.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a parser that breaks its promise should stop the test"
)]

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

pub use crate::error::testing::problem;
pub use crate::watch::testing::event_stream;

use crate::ServiceKey;

/// A fuzz target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets of this crate.
pub const TARGETS: &[Target] =
    &[("event_stream", event_stream), ("problem", problem), ("client_service_key", service_key)];

/// A service key goes into a header whole, or is refused.
pub fn service_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = ServiceKey::new(text) {
        assert_eq!(key.bearer().unwrap(), format!("Bearer {}", text.trim()));
    }
}

/// Headers of a problem, with the first line of `bytes` as `Retry-After`; and the body.
pub(crate) fn answer(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, body) = bytes.split_at(at);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Ok(value) = HeaderValue::from_bytes(line) {
        headers.insert(RETRY_AFTER, value);
    }
    (headers, body)
}
