//! Which headers go on, which are ours to set, and which must not pass.

use std::collections::HashSet;

use http::header::{CONNECTION, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokenkeep_core::cookie::{is_device_cookie, pairs};

use crate::caller::Caller;
use crate::settings::{CookiePolicy, ServerSettings};

/// The headers that go to the upstream: the client's without those that only we may set, and
/// ours. `Authorization` comes later, with the token.
pub(super) fn to_upstream(caller: &Caller, settings: &ServerSettings) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(caller.headers.len() + 4);
    let named = named_by_connection(&caller.headers);
    for (name, value) in &caller.headers {
        let spelled = spelled(name);
        let goes_on = !is_hop_by_hop(&spelled) && !named.contains(&spelled) && !is_ours(&spelled);
        if goes_on {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(cookies) = other_cookies(&caller.headers) {
        headers.insert(COOKIE, cookies);
    }
    put_forwarded(&mut headers, caller, settings);
    headers
}

/// Takes off an answer what ends at this hop, and a cookie that would pass for ours.
pub(super) fn from_upstream(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(&spelled(name)) || named.contains(&spelled(name)))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let name = cookie.as_bytes().split(|byte| *byte == b'=' || *byte == b';').next();
        if !name.is_some_and(|name| is_device_cookie(name.trim_ascii())) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The client's cookies without the device cookies, each as it came.
fn other_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut kept: Vec<u8> = Vec::new();
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    for cookie in lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii) {
        let is_device = pairs([cookie]).any(|(name, _)| is_device_cookie(name));
        if cookie.is_empty() || is_device {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(cookie);
    }
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept).ok() }
}

fn put_forwarded(headers: &mut HeaderMap, caller: &Caller, settings: &ServerSettings) {
    let peer = caller.peer.address().to_string();
    let before = match caller.peer.is_trusted(&settings.trusted_proxies) {
        true => joined(&caller.headers, FORWARDED_FOR),
        false => None,
    };
    let chain = before.map_or_else(|| peer.clone(), |before| format!("{before}, {peer}"));
    let scheme = caller.forwarded_last(FORWARDED_PROTO, settings).unwrap_or({
        // Where the cookie needs https, something in front of this server speaks it.
        match settings.cookie {
            CookiePolicy::Secure => "https",
            CookiePolicy::Loopback => "http",
        }
    });
    let host = caller
        .forwarded_last(FORWARDED_HOST, settings)
        .or_else(|| caller.header(HOST))
        .or_else(|| caller.uri.authority().map(http::uri::Authority::as_str));
    let ours = [
        (FORWARDED_FOR, Some(chain.as_str())),
        (FORWARDED_PROTO, Some(scheme)),
        (FORWARDED_HOST, host),
    ];
    for (name, value) in ours {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// A name as a server reads it that takes no heed of spelling: CGI and its heirs make one
/// variable of `x-user`, `x_user` and `x.user`.
fn spelled(name: &HeaderName) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    name.as_str().chars().map(plain).collect()
}

/// Whether a header says who the client is, where it came from, or which request is really
/// meant: only we may set those.
fn is_ours(spelled: &str) -> bool {
    OURS.contains(&spelled) || OUR_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix))
}

fn is_hop_by_hop(spelled: &str) -> bool {
    HOP_BY_HOP.contains(&spelled)
}

/// The headers that `Connection` names: they end at this hop, too.
fn named_by_connection(headers: &HeaderMap) -> HashSet<String> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok());
    names.map(|name: HeaderName| spelled(&name)).collect()
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";

/// RFC 9110, 7.6.1, and what the field has added.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const OUR_PREFIXES: [&str; 15] = [
    "proxy",
    "remote-",
    "ssl-client",
    "x-amzn-oidc-",
    "x-auth",
    "x-client-cert",
    "x-device-credential",
    "x-email",
    "x-forwarded",
    "x-goog-",
    "x-original-",
    "x-remote-",
    "x-rewrite-",
    "x-user",
    "x-webauth-",
];

const OURS: [&str; 18] = [
    "authorization",
    "cf-connecting-ip",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-groups",
    "x-http-method",
    "x-http-method-override",
    "x-id-token",
    "x-method-override",
    "x-preferred-username",
    "x-real-ip",
    "x-ssl-client-cert",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The spellings of a name that some server reads as the same.
    fn spellings(name: &str) -> Vec<HeaderName> {
        let dashes = name.matches('-').count();
        let spell = |mask: usize, other: char| {
            let mut dash = 0;
            let letters = name.chars().map(|letter| match letter {
                '-' => {
                    dash += 1;
                    if mask >> (dash - 1) & 1 == 1 { other } else { '-' }
                }
                letter => letter,
            });
            letters.collect::<String>().parse().unwrap()
        };
        (0..1_usize << dashes).flat_map(|mask| [spell(mask, '_'), spell(mask, '.')]).collect()
    }

    #[test]
    fn no_spelling_of_an_identity_passes() {
        let endings = ["", "user", "email", "-id", "-x", "for", "access-token", "url"];
        let prefixed = OUR_PREFIXES
            .iter()
            .flat_map(|prefix| endings.map(|ending| format!("{prefix}{ending}")));
        let exact = OURS.iter().map(|name| (*name).to_owned());
        for name in prefixed.chain(exact).flat_map(|name| spellings(&name)) {
            assert!(is_ours(&spelled(&name)), "{name} passes");
        }
        for name in HOP_BY_HOP.iter().flat_map(|name| spellings(name)) {
            assert!(is_hop_by_hop(&spelled(&name)), "{name} passes");
        }
        for kept in ["accept", "x-request-id", "traceparent", "user-agent", "x-csrf-token", "range"]
        {
            let spelled = spelled(&kept.parse().unwrap());
            assert!(!is_ours(&spelled) && !is_hop_by_hop(&spelled), "{kept} does not pass");
        }
    }

    #[test]
    fn other_cookies_go_on_as_they_came() {
        let mut headers = HeaderMap::new();
        for line in
            ["a=b; flag;  c=\"d e\"", "device_id=x; __Host-device_id=y; =z; device_id", ";;"]
        {
            headers.append(COOKIE, line.parse().unwrap());
        }
        assert_eq!(other_cookies(&headers).unwrap(), "a=b; flag; c=\"d e\"; =z");
    }
}
