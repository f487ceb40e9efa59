//! `[gateway]`: what a request through the gateway may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, size};

/// The section `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// The largest request body.
    #[serde(with = "size")]
    pub body_bytes: usize,
    /// How long a request body may stand still.
    #[serde(with = "duration")]
    pub body_stall: Duration,
    /// The largest request body that is kept for a second attempt after a 401.
    #[serde(with = "size")]
    pub kept_bytes: usize,
    /// How long a connection to an upstream may take.
    #[serde(with = "duration")]
    pub connect: Duration,
    /// How long an upstream may take to begin its answer.
    #[serde(with = "duration")]
    pub answer: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            body_bytes: 100 << 20,
            body_stall: Duration::from_secs(30),
            kept_bytes: 256 << 10,
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
        }
    }
}
