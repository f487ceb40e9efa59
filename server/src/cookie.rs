//! The device cookie: written with one set of attributes, read without mercy.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tokenkeep_core::{Credential, wire};

use crate::settings::CookiePolicy;

/// Writes and reads the device cookie of one policy.
#[derive(Clone, Debug)]
pub(crate) struct DeviceCookie {
    policy: CookiePolicy,
    cleared: HeaderValue,
}

/// What the Cookie headers of a request say about the device.
#[derive(Clone, Debug)]
pub(crate) enum Presented {
    /// No device cookie.
    Nothing,
    /// A device cookie that cannot be one: malformed, or two that differ.
    Unusable,
    /// The one device cookie.
    Credential(Credential),
}

impl Presented {
    /// The credential, if there is one.
    pub(crate) fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Credential(credential) => Some(credential),
            Self::Nothing | Self::Unusable => None,
        }
    }

    /// Whether any device cookie came along.
    pub(crate) fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

impl DeviceCookie {
    pub(crate) fn new(policy: CookiePolicy) -> Self {
        let cleared = match policy {
            CookiePolicy::Secure => {
                "__Host-device_id=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=0"
            }
            CookiePolicy::Loopback => "device_id=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0",
        };
        Self { policy, cleared: HeaderValue::from_static(cleared) }
    }

    /// The name of the cookie.
    pub(crate) fn name(&self) -> &'static str {
        match self.policy {
            CookiePolicy::Secure => wire::COOKIE,
            CookiePolicy::Loopback => wire::LOOPBACK_COOKIE,
        }
    }

    /// The `Set-Cookie` that hands `credential` over. It has no `Max-Age`: the store decides
    /// how long a session lives.
    pub(crate) fn set(
        &self,
        credential: &Credential,
    ) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        let value = credential.expose();
        let text = match self.policy {
            CookiePolicy::Secure => {
                format!("{}={}; HttpOnly; Secure; SameSite=Lax; Path=/", self.name(), *value)
            }
            CookiePolicy::Loopback => {
                format!("{}={}; HttpOnly; SameSite=Lax; Path=/", self.name(), *value)
            }
        };
        let mut header = HeaderValue::try_from(text)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// The `Set-Cookie` that takes the cookie away.
    pub(crate) fn cleared(&self) -> HeaderValue {
        self.cleared.clone()
    }

    /// What the Cookie headers say. The same cookie twice is one; two that differ are none,
    /// because there is no telling which of them an attacker planted.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Presented {
        let mut found: Option<&[u8]> = None;
        for (name, value) in pairs(headers) {
            if name != self.name().as_bytes() {
                continue;
            }
            match found {
                Some(other) if other != value => return Presented::Unusable,
                _ => found = Some(value),
            }
        }
        let Some(value) = found else { return Presented::Nothing };
        match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
            Some(credential) => Presented::Credential(credential),
            None => Presented::Unusable,
        }
    }
}

/// Whether `name` is a device cookie's, under whatever policy.
pub(crate) fn is_device_cookie(name: &[u8]) -> bool {
    name == wire::COOKIE.as_bytes() || name == wire::LOOPBACK_COOKIE.as_bytes()
}

/// The cookies of a request as (name, value), in order.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .map(|pair| {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, rest) = pair.split_at_checked(at).unwrap_or((pair, &[]));
            (name.trim_ascii(), rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "0123456789abcdef0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn read(lines: &[&[u8]]) -> Presented {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        DeviceCookie::new(CookiePolicy::Secure).read(&headers)
    }

    #[track_caller]
    fn check(lines: &[String], usable: bool, something: bool) {
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let presented = read(&lines);
        assert_eq!(presented.credential().is_some(), usable, "{presented:?}");
        assert_eq!(presented.is_something(), something, "{presented:?}");
    }

    #[test]
    fn exactly_one_device_cookie_is_a_credential() {
        let name = wire::COOKIE;
        check(&[format!("{name}={GOOD}")], true, true);
        check(&[format!("a=b;  {name}={GOOD} ; c")], true, true);
        check(&["a=b".into(), format!("{name}={GOOD}")], true, true);
        check(&[format!("{name}={GOOD}; {name}={GOOD}")], true, true);
        let other = GOOD.replace("0123", "0124");
        check(&[format!("{name}={GOOD}; {name}={other}")], false, true);
        check(&[format!("{name}={GOOD}"), format!("{name}={other}")], false, true);
        check(&[format!("{name}=\"{GOOD}\"")], false, true);
        check(&[format!("{name}={}", "x".repeat(9000))], false, true);
        check(&[name.into()], false, true);
        check(&[format!("device_id={GOOD}")], false, false);
        check(&["=".into(), ";;;".into(), String::new()], false, false);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for byte in (0x20..=0xff).filter(|byte| *byte != 0x7f) {
            for line in [vec![byte], vec![b'=', byte], vec![byte; 40], vec![b';', byte, b'=']] {
                let _ = read(&[&line]);
            }
        }
    }

    #[test]
    fn the_attributes_are_exactly_these() {
        let credential: Credential = GOOD.parse().unwrap();
        let secure = DeviceCookie::new(CookiePolicy::Secure);
        let loopback = DeviceCookie::new(CookiePolicy::Loopback);
        assert_eq!(
            secure.set(&credential).unwrap().to_str().unwrap(),
            format!("__Host-device_id={GOOD}; HttpOnly; Secure; SameSite=Lax; Path=/")
        );
        assert_eq!(
            loopback.set(&credential).unwrap().to_str().unwrap(),
            format!("device_id={GOOD}; HttpOnly; SameSite=Lax; Path=/")
        );
        for cookie in [&secure, &loopback] {
            let set = cookie.set(&credential).unwrap();
            let expected = set.to_str().unwrap().replace(GOOD, "") + "; Max-Age=0";
            assert_eq!(cookie.cleared().to_str().unwrap(), expected, "the same attributes");
        }
    }
}
