//! `[server]` and `[log]`: addresses, origins, the cookie's shape and the log.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::listen::{Listen, SocketMode};
use super::off;
use super::tls::TlsSettings;
use crate::settings::TrustedProxy;

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Where the server listens.
    pub listen: Listen,
    /// Where the admin endpoints and the metrics listen, if not beside the others.
    #[serde(with = "off")]
    pub admin_listen: Option<Listen>,
    /// Who may use a unix socket that the server makes.
    pub unix_mode: SocketMode,
    /// The origins that browsers see, e.g. `https://app.example`: unsafe requests must come from
    /// one of them, and redirects may go there.
    pub public_origins: Vec<String>,
    /// Where a person without a session is sent: a path here, or a whole address; absent: a 401
    /// as programs get it.
    #[serde(with = "off")]
    pub login_page: Option<String>,
    /// Whether `/oauth2/auth`, `/oauth2/userinfo` and `/oauth2/sign_out` answer as those of
    /// oauth2-proxy do.
    pub oauth2_paths: bool,
    /// The networks whose `X-Forwarded-*` headers are believed; `unix` for what comes over a
    /// unix socket.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The cookie's `SameSite`.
    pub same_site: SameSite,
    /// The server's own certificate; without it, https comes from a proxy in front.
    pub tls: TlsSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT).into(),
            admin_listen: None,
            unix_mode: SocketMode::default(),
            public_origins: Vec::new(),
            login_page: Some("/login".into()),
            oauth2_paths: false,
            trusted_proxies: Vec::new(),
            same_site: SameSite::Lax,
            tls: TlsSettings::default(),
        }
    }
}

impl ServerSettings {
    /// The device cookie's shape: with TLS the secure one. Without a configured origin the listen
    /// address decides; behind a unix socket stands a proxy, of which nothing is known then.
    #[must_use]
    pub fn cookie_shape(&self) -> CookieShape {
        let plain = self.public_origins.iter().all(|origin| origin.starts_with("http://"));
        let known = !self.public_origins.is_empty() || matches!(self.listen, Listen::Address(_));
        if plain && known && self.listen.is_local() && self.tls.files().is_none() {
            CookieShape::Loopback
        } else {
            CookieShape::Secure
        }
    }
}

/// The two shapes of the device cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieShape {
    /// `__Host-device_id` with `Secure`.
    Secure,
    /// `device_id` without `Secure`: plain http on a loopback address.
    Loopback,
}

/// The cookie's `SameSite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Sent when a person follows a link from elsewhere.
    Lax,
    /// Sent from the same site only.
    Strict,
    /// Sent from everywhere: understood in order to be refused.
    None,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// What is written: `info`, or directives like `info,tokenkeep_server=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why an origin cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginFault {
    /// It is not `scheme://host` with an optional port.
    Malformed,
    /// It is plain http, and not on this machine.
    Insecure,
}

/// Checks one origin; true if it is https, false if it is http on this machine.
pub(super) fn check_origin(origin: &str) -> Result<bool, OriginFault> {
    let url = Url::parse(origin).map_err(|_| OriginFault::Malformed)?;
    // It must be spelled as a browser sends it: lower case, no path, no port of the scheme's own;
    // otherwise it would never match.
    if url.origin().ascii_serialization() != origin {
        return Err(OriginFault::Malformed);
    }
    match url.scheme() {
        "https" => Ok(true),
        "http" if url.host_str().is_some_and(is_loopback) => Ok(false),
        "http" => Err(OriginFault::Insecure),
        _ => Err(OriginFault::Malformed),
    }
}

/// Whether a host name is this machine's.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const DEFAULT_PORT: u16 = 8480;
