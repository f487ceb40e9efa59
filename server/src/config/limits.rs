//! `[limits]`: bounds on what clients may take, all on by default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, size};

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// How long the headers of a request may take.
    #[serde(with = "duration")]
    pub header_read: Duration,
    /// How long a connection may wait with its first request.
    #[serde(with = "duration")]
    pub first_request: Duration,
    /// The largest request body.
    #[serde(with = "size")]
    pub body_bytes: usize,
    /// How long a request body may take.
    #[serde(with = "duration")]
    pub body_time: Duration,
    /// How long a connection may rest between requests.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// How long a client may take nothing of an answer that is there for it.
    #[serde(with = "duration")]
    pub stall: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// Of these, connections from one address that is neither this machine nor a trusted proxy.
    pub connections_per_address: usize,
    /// Requests at a time.
    pub in_flight: usize,
    /// Answers of upstreams on their way at a time.
    pub gateway_streams: usize,
    /// The largest head of a request.
    #[serde(with = "size")]
    pub header_bytes: usize,
    /// The longest request target.
    #[serde(with = "size")]
    pub uri_bytes: usize,
    /// Logins and registrations per minute and client address.
    pub logins_per_address: u32,
    /// Logins per minute and email.
    pub logins_per_email: u32,
    /// How long `/readyz` says no before the server stops to accept.
    #[serde(with = "duration")]
    pub drain_delay: Duration,
    /// How long running requests and refreshes may take at shutdown.
    #[serde(with = "duration")]
    pub shutdown_limit: Duration,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            body_bytes: 64 << 10,
            body_time: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            connections: 10_000,
            connections_per_address: 1_000,
            in_flight: 4_096,
            gateway_streams: 8_192,
            header_bytes: 16 << 10,
            uri_bytes: 8 << 10,
            logins_per_address: 30,
            logins_per_email: 10,
            drain_delay: Duration::from_secs(1),
            shutdown_limit: Duration::from_secs(25),
        }
    }
}
