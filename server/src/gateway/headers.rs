//! Which headers go on, which are ours to set, and which must not pass.

use std::collections::HashSet;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokenkeep_core::cookie::{is_device_cookie, pairs};

use crate::caller::Caller;
use crate::settings::ServerSettings;

/// The headers that go to the upstream: the client's without those that only we may set, and
/// ours. `Authorization` comes later, with the token.
pub(super) fn to_upstream(caller: &Caller, settings: &ServerSettings) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(caller.headers.len() + 4);
    let named = named_by_connection(&caller.headers);
    for (name, value) in &caller.headers {
        let stays = is_hop_by_hop(name)
            || named.contains(name)
            || is_ours(name)
            || [COOKIE, HOST, CONTENT_LENGTH, EXPECT].contains(name);
        if !stays {
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
        .filter(|name| is_hop_by_hop(name) || named.contains(*name))
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

/// The client's cookies without the device cookies.
fn other_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut kept: Vec<u8> = Vec::new();
    for (name, value) in pairs(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes)) {
        if is_device_cookie(name) || (name.is_empty() && value.is_empty()) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(name);
        kept.push(b'=');
        kept.extend_from_slice(value);
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
    let scheme = caller.forwarded(FORWARDED_PROTO, settings).unwrap_or("http");
    let host = caller
        .forwarded(FORWARDED_HOST, settings)
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

/// Whether a header says who the client is or where it came from: only we may set those. A
/// server that reads `_` as `-`, as CGI does, must not be fooled by the other spelling.
fn is_ours(name: &HeaderName) -> bool {
    let spelled = name.as_str().replace('_', "-");
    spelled == AUTHORIZATION.as_str()
        || spelled == FORWARDED.as_str()
        || IDENTITY.contains(&spelled.as_str())
        || IDENTITY_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix))
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// The headers that `Connection` names: they end at this hop, too.
fn named_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
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

const IDENTITY_PREFIXES: [&str; 5] =
    ["x-auth-request-", "x-forwarded-", "x-remote-", "remote-", "x-device-credential"];

const IDENTITY: [&str; 6] =
    ["x-real-ip", "x-user", "x-email", "x-webauth-user", "x-authenticated-user", "x-client-ip"];
