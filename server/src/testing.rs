//! The fuzz targets of this crate, with what holds for any bytes.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a parser that breaks its promise should stop the test"
)]

use std::net::SocketAddr;
use std::path::Path;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Uri};
use ipnet::IpNet;

use crate::client_address::{Peer, client_address};
use crate::config::{Config, duration, size};
use crate::settings::{ServerSettings, TrustedProxy};
use crate::{central, gateway, same_site, service_key, sign_in};

/// A fuzz target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    ("client_address", forwarded_for),
    ("gateway_path", gateway_path),
    ("origin", origin),
    ("redirect_target", redirect_target),
    ("retry_after", retry_after),
    ("token_life", token_life),
    ("service_keys", service_keys),
    ("settings", settings),
    ("duration", setting_duration),
    ("size", setting_size),
];

/// `X-Forwarded-For`, one header a line: what stands left of the client counts for nothing.
pub fn forwarded_for(bytes: &[u8]) {
    let networks: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let proxies: Vec<_> = networks.iter().copied().map(TrustedProxy::Network).collect();
    let peer = |address: [u8; 4]| Peer::Network(SocketAddr::from((address, 9)));
    let read = |lines: &[u8], peer| client_address(&lists(lines), peer, &proxies);
    assert_eq!(read(bytes, peer([192, 0, 2, 1])), peer([192, 0, 2, 1]).address());
    let client = read(bytes, peer([10, 1, 1, 1]));
    if !networks.iter().any(|network| network.contains(&client)) {
        let forged = [b"6.6.6.6\n".as_slice(), bytes].concat();
        assert_eq!(read(&forged, peer([10, 1, 1, 1])), client);
    }
}

fn lists(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            // More headers than fit come in no request.
            let _ = headers.try_append("x-forwarded-for", value);
        }
    }
    headers
}

/// What is under a prefix is under it however it is written, and has no way out of it.
pub fn gateway_path(bytes: &[u8]) {
    gateway::check_path(bytes);
}

/// An `Origin` passes if it is the server's own or a configured one, and else not.
pub fn origin(bytes: &[u8]) {
    let settings = ServerSettings {
        public_origins: vec!["https://app.example.org".into()],
        ..ServerSettings::default()
    };
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let own = ["https://tokens.example.org", "https://app.example.org"].contains(&text.as_str());
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("tokens.example.org"));
    headers.insert(ORIGIN, value);
    let peer = Peer::Network(SocketAddr::from(([192, 0, 2, 1], 9)));
    let uri = Uri::from_static("/login");
    let passes = same_site::check(&Method::POST, &uri, &headers, peer, &settings).is_ok();
    assert!(!passes || own, "{text:?}");
}

/// A way back after a login stays on this site, as browsers read it.
pub fn redirect_target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(path) = sign_in::path_on_this_site(text) {
        let site = reqwest::Url::parse("https://tokens.example.org/login").unwrap();
        assert_eq!(site.join(path).unwrap().origin(), site.origin());
    }
}

/// How long an auth server asks to be left alone is bounded.
pub fn retry_after(bytes: &[u8]) {
    central::check_retry_after(bytes);
}

/// How long a token is said to live is bounded.
pub fn token_life(bytes: &[u8]) {
    central::check_token_life(bytes);
}

/// A file of service keys reads as it is written.
pub fn service_keys(bytes: &[u8]) {
    service_key::check_file(bytes);
}

/// Settings that are read are shown so that they read alike.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = |text: &str| Config::parse(Path::new("settings"), text, std::iter::empty());
    if let Ok(config) = read(text) {
        let _ = (config.check(), config.warnings());
        let shown = config.effective();
        let again = read(&shown).map(|config| config.effective());
        assert_eq!(again.ok().as_deref(), Some(shown.as_str()));
    }
}

/// A duration reads as it is written.
pub fn setting_duration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(read)), Ok(read));
    }
}

/// A size reads as it is written.
pub fn setting_size(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(read) = size::parse(text) {
        assert_eq!(size::parse(&size::format(read)), Ok(read));
    }
}
