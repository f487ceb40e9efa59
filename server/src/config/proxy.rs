//! `[[proxy]]`: prefixes that go on to an upstream with the access token.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, size};

/// One `[[proxy]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySettings {
    /// Requests under this path go on, e.g. `/api`.
    pub prefix: String,
    /// Where they go, e.g. `http://127.0.0.1:9000`; a path in it stays in front.
    pub upstream: String,
    /// The largest request body that is kept for a second attempt after a 401.
    #[serde(with = "size")]
    pub retry_body_bytes: usize,
    /// How long the upstream may take to answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            upstream: String::new(),
            retry_body_bytes: 64 << 10,
            timeout: Duration::from_secs(30),
        }
    }
}
