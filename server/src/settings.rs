//! What an operator may set about the HTTP surface; the defaults are the documented ones.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What an operator may set about the HTTP surface.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How the device cookie is named and guarded.
    pub cookie: CookiePolicy,
    /// Whether the cookie comes along when another site links here.
    pub same_site: SameSite,
    /// Origins of pages that may send unsafe requests and be returned to after a login, e.g.
    /// `https://app.example.org`. The server's own origin needs no mention.
    pub public_origins: Vec<String>,
    /// Where browsers are sent to log in; absent: they get a 401 as programs do.
    pub login_page: Option<String>,
    /// Whether `/oauth2/auth`, `/oauth2/userinfo` and `/oauth2/sign_out` are there.
    pub oauth2_paths: bool,
    /// Whose `X-Forwarded-*` is believed; nobody's by default.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// What a connection may take.
    pub connections: ConnectionLimits,
    /// What a request may take.
    pub requests: RequestLimits,
    /// How often logins are tried.
    pub logins: LoginLimits,
    /// The upstreams of the gateway.
    pub proxies: Vec<Proxy>,
    /// What a request through the gateway may take.
    pub gateway: GatewayLimits,
    /// How long `/readyz` says 503 before the listeners close.
    pub drain_delay: Duration,
    /// How long a shutdown may take after the drain delay.
    pub shutdown_limit: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            cookie: CookiePolicy::default(),
            same_site: SameSite::default(),
            public_origins: Vec::new(),
            login_page: None,
            oauth2_paths: false,
            trusted_proxies: Vec::new(),
            connections: ConnectionLimits::default(),
            requests: RequestLimits::default(),
            logins: LoginLimits::default(),
            proxies: Vec::new(),
            gateway: GatewayLimits::default(),
            drain_delay: Duration::from_secs(1),
            shutdown_limit: Duration::from_secs(25),
        }
    }
}

/// Whose `X-Forwarded-*` is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// That of the peers in a network.
    Network(IpNet),
    /// That of the peers on a unix socket.
    Unix,
}

/// Why a text names no trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network like \"10.0.0.0/8\" or \"unix\" is expected")]
pub struct UnknownProxy;

impl FromStr for TrustedProxy {
    type Err = UnknownProxy;

    fn from_str(text: &str) -> Result<Self, UnknownProxy> {
        match text {
            "unix" => Ok(Self::Unix),
            network => network.parse().map(Self::Network).map_err(|_| UnknownProxy),
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Serialize for TrustedProxy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// How the device cookie is named and guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookiePolicy {
    /// `__Host-device_id`, for https only.
    #[default]
    Secure,
    /// `device_id` without `Secure`, for plain http on a loopback address and nowhere else.
    Loopback,
}

/// Whether the cookie comes along when another site links here (RFC 6265bis, 4.1.2.7). `None`
/// is not to be had: the cookie would come along with everything that other sites send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// With links, not with what other sites send or embed.
    #[default]
    Lax,
    /// Never.
    Strict,
}

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many connections are open at one time, on the public listeners and on those of
    /// administration. At the limit those that have rested longest make room; while none rests,
    /// others wait in the listener's queue.
    pub connections: usize,
    /// How many of them may come from one address (an IPv6 /64 is one address) that is neither
    /// this machine's own nor a trusted proxy's.
    pub per_address: usize,
    /// How long the first complete request may take to come.
    pub first_request: Duration,
    /// How long the headers of a later request may take.
    pub header_read: Duration,
    /// How long a connection may be without a request.
    pub idle: Duration,
    /// How long a client may take nothing of an answer that is there for it.
    pub stall: Duration,
    /// How many headers a request may have (431 beyond).
    pub headers: usize,
    /// How many bytes the head of a request may have (431 beyond).
    pub header_bytes: usize,
    /// How many requests an HTTP/2 connection may have at one time.
    pub streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: 1_000,
            first_request: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            headers: 100,
            header_bytes: 16 * 1024,
            streams: 128,
        }
    }
}

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// How many requests are answered at one time, and as many wait for upstreams (503 beyond).
    pub in_flight: usize,
    /// How many streams of events are open at one time (503 beyond).
    pub event_streams: usize,
    /// How many answers of upstreams are on their way at one time (503 beyond).
    pub gateway_streams: usize,
    /// How many bytes a body may have (413 beyond).
    pub body_bytes: usize,
    /// How long a body may take (408 beyond).
    pub body_time: Duration,
    /// How many bytes the path and query may have (414 beyond).
    pub uri_bytes: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            in_flight: 4096,
            event_streams: 4096,
            gateway_streams: 8192,
            body_bytes: 64 * 1024,
            body_time: Duration::from_secs(10),
            uri_bytes: 8 * 1024,
        }
    }
}

/// How often logins are tried. A login that succeeds gives its share back.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// For one address (an IPv6 /64 is one address).
    pub per_address: Rate,
    /// For one email.
    pub per_email: Rate,
    /// How many addresses, and how many emails, are remembered at one time.
    pub remembered: usize,
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            per_address: Rate { burst: 30, every: Duration::from_secs(2) },
            per_email: Rate { burst: 10, every: Duration::from_secs(6) },
            remembered: 65_536,
        }
    }
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// One more after each of these.
    pub every: Duration,
}

/// An upstream of the gateway, and the paths that go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The paths that go there, by whole segments: `/api` is `/api` and `/api/x`, not `/apix`.
    pub prefix: String,
    /// Where they go, e.g. `http://127.0.0.1:9000`.
    pub upstream: String,
    /// Whether the upstream sees the path without the prefix.
    pub strip_prefix: bool,
}

/// What a request through the gateway may take.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// How many bytes a body may have (413 beyond).
    pub body_bytes: u64,
    /// How long a body may stand still, or come more slowly than 4 KiB a second (408 beyond).
    pub body_stall: Duration,
    /// Bodies of a declared length up to this many bytes are kept, so that the request can be
    /// repeated after a 401.
    pub kept_bytes: u64,
    /// How long a connection to the upstream may take.
    pub connect: Duration,
    /// How long the upstream may take to begin its answer.
    pub answer: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body_bytes: 100 * 1024 * 1024,
            body_stall: Duration::from_secs(30),
            kept_bytes: 256 * 1024,
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitSettings;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let (own, documented) = (ServerSettings::default(), LimitSettings::default());
        let (connections, requests) = (own.connections, own.requests);
        assert_eq!(connections.header_read, documented.header_read);
        assert_eq!(connections.first_request, documented.first_request);
        assert_eq!(connections.idle, documented.idle);
        assert_eq!(connections.stall, documented.stall);
        assert_eq!(connections.connections, documented.connections);
        assert_eq!(connections.per_address, documented.connections_per_address);
        assert_eq!(connections.header_bytes, documented.header_bytes);
        assert_eq!(requests.body_bytes, documented.body_bytes);
        assert_eq!(requests.body_time, documented.body_time);
        assert_eq!(requests.in_flight, documented.in_flight);
        assert_eq!(requests.gateway_streams, documented.gateway_streams);
        assert_eq!(requests.uri_bytes, documented.uri_bytes);
        assert_eq!(own.drain_delay, documented.drain_delay);
        assert_eq!(own.shutdown_limit, documented.shutdown_limit);
        for (rate, per_minute) in [
            (own.logins.per_address, documented.logins_per_address),
            (own.logins.per_email, documented.logins_per_email),
        ] {
            assert_eq!(rate.burst, per_minute);
            assert_eq!(rate.every * per_minute, Duration::from_secs(60));
        }
    }
}
