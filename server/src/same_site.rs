//! Whether an unsafe request comes from this site: `Sec-Fetch-Site`, else `Origin`.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, Uri};

use crate::client_address::{Peer, forwarded_last};
use crate::failure::Failure;
use crate::settings::{CookiePolicy, ServerSettings};

/// Lets safe requests pass, and unsafe ones that no other site can have sent.
///
/// A request with neither header comes from a program: browsers send `Origin` with every unsafe
/// request that crosses sites, and `Sec-Fetch-Site` with all of them.
pub(crate) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Peer,
    settings: &ServerSettings,
) -> Result<(), Failure> {
    if is_safe(method) {
        return Ok(());
    }
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("null"));
    let configured = origin.is_some_and(|origin| is_configured(origin, settings));
    let allowed = match headers.get("sec-fetch-site").map(|value| value.as_bytes()) {
        Some(b"same-origin" | b"none") => true,
        Some(_) => configured,
        None => match origin {
            Some(origin) => configured || is_own(origin, uri, headers, peer, settings),
            None => true,
        },
    };
    if allowed { Ok(()) } else { Err(Failure::CrossSite) }
}

/// Whether a browser says that a request, even a safe one, comes from this site or was typed.
pub(crate) fn is_said_to_be_ours(headers: &HeaderMap) -> bool {
    let said = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    matches!(said, Some(b"same-origin" | b"none"))
}

/// Whether a method promises to change nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether `origin` is one of the configured ones.
pub(crate) fn is_configured(origin: &str, settings: &ServerSettings) -> bool {
    let trimmed = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    settings.public_origins.iter().any(|public| trimmed(public) == origin.to_ascii_lowercase())
}

/// Whether `origin` is the host that the request went to, under the scheme of the cookie.
fn is_own(
    origin: &str,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Peer,
    settings: &ServerSettings,
) -> bool {
    let scheme = match settings.cookie {
        CookiePolicy::Secure => "https://",
        CookiePolicy::Loopback => "http://",
    };
    let Some(authority) = origin.strip_prefix(scheme) else { return false };
    let host = forwarded_last(headers, "x-forwarded-host", peer, &settings.trusted_proxies)
        .or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()))
        .or_else(|| uri.authority().map(http::uri::Authority::as_str));
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_unsafe(site: Option<&str>, origin: Option<&str>, allowed: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "id.example.org".parse().unwrap());
        if let Some(site) = site {
            headers.insert("sec-fetch-site", site.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let settings = ServerSettings {
            public_origins: vec!["https://app.example.org/".into()],
            ..ServerSettings::default()
        };
        let peer = Peer::Network(([127, 0, 0, 1], 9).into());
        for path in ["/v1/logout", "/v1/admin/users", "/api/x"] {
            let uri = Uri::from_static(path);
            let verdict = |method| check(&method, &uri, &headers, peer, &settings).is_ok();
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(verdict(method.clone()), allowed, "{method} {path} {site:?} {origin:?}");
            }
            assert!(verdict(Method::GET) && verdict(Method::HEAD), "they change nothing");
        }
    }

    #[test]
    fn unsafe_requests_come_from_this_site() {
        let (own, app) = ("https://id.example.org", "https://app.example.org");
        check_unsafe(None, None, true);
        check_unsafe(Some("same-origin"), None, true);
        check_unsafe(Some("none"), Some(own), true);
        check_unsafe(Some("same-site"), None, false);
        check_unsafe(Some("cross-site"), Some(own), false);
        check_unsafe(Some("cross-site"), Some("https://evil.example"), false);
        check_unsafe(Some("same-site"), Some(app), true);
        check_unsafe(None, Some(own), true);
        check_unsafe(None, Some(app), true);
        check_unsafe(None, Some("https://ID.example.org"), true);
        check_unsafe(None, Some("http://id.example.org"), false);
        check_unsafe(None, Some("https://id.example.org.evil.example"), false);
        check_unsafe(None, Some("https://id.example.org:8443"), false);
        check_unsafe(None, Some("null"), false);
        check_unsafe(Some(""), None, false);
    }
}
