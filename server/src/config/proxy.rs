//! `[[proxy]]`: prefixes that go on to an upstream with the access token.

use serde::{Deserialize, Serialize};

/// One `[[proxy]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySettings {
    /// Requests under this path go on, e.g. `/api`.
    pub prefix: String,
    /// Where they go, e.g. `http://127.0.0.1:9000`; a path in it stays in front.
    pub upstream: String,
    /// Whether the upstream sees the path without the prefix.
    pub strip_prefix: bool,
}
