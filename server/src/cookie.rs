//! The device cookie: written with one set of attributes, read without mercy.

use http::header::{COOKIE, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue};
use tokenkeep_core::cookie::Presented;
use tokenkeep_core::{Credential, wire};
use zeroize::Zeroizing;

use crate::settings::{CookiePolicy, SameSite};

/// Writes and reads the device cookie of one policy.
#[derive(Clone, Debug)]
pub(crate) struct DeviceCookie {
    name: &'static str,
    /// What stands behind the value, in all that is set and all that is cleared.
    attributes: &'static str,
    cleared: HeaderValue,
}

impl DeviceCookie {
    pub(crate) fn new(policy: CookiePolicy, same_site: SameSite) -> Self {
        let (name, attributes, cleared) = match (policy, same_site) {
            (CookiePolicy::Secure, SameSite::Lax) => (
                wire::COOKIE,
                "; HttpOnly; Secure; SameSite=Lax; Path=/",
                "__Host-device_id=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=0",
            ),
            (CookiePolicy::Secure, SameSite::Strict) => (
                wire::COOKIE,
                "; HttpOnly; Secure; SameSite=Strict; Path=/",
                "__Host-device_id=; HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age=0",
            ),
            (CookiePolicy::Loopback, SameSite::Lax) => (
                wire::LOOPBACK_COOKIE,
                "; HttpOnly; SameSite=Lax; Path=/",
                "device_id=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0",
            ),
            (CookiePolicy::Loopback, SameSite::Strict) => (
                wire::LOOPBACK_COOKIE,
                "; HttpOnly; SameSite=Strict; Path=/",
                "device_id=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0",
            ),
        };
        Self { name, attributes, cleared: HeaderValue::from_static(cleared) }
    }

    /// The `Set-Cookie` that hands `credential` over. It has no `Max-Age`: the store decides
    /// how long a session lives.
    pub(crate) fn set(&self, credential: &Credential) -> Result<HeaderValue, InvalidHeaderValue> {
        let text = Zeroizing::new(format!(
            "{}={}{}",
            self.name,
            credential.expose().as_str(),
            self.attributes
        ));
        let mut header = HeaderValue::from_str(&text)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// The `Set-Cookie` that takes the cookie away.
    pub(crate) fn cleared(&self) -> HeaderValue {
        self.cleared.clone()
    }

    /// What the Cookie headers say of the device.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Presented {
        Presented::read(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "0123456789abcdef0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn the_attributes_are_exactly_these() {
        let credential: Credential = GOOD.parse().unwrap();
        for (policy, same_site, expected) in [
            (
                CookiePolicy::Secure,
                SameSite::Lax,
                "__Host-device_id=GOOD; HttpOnly; Secure; SameSite=Lax; Path=/",
            ),
            (
                CookiePolicy::Secure,
                SameSite::Strict,
                "__Host-device_id=GOOD; HttpOnly; Secure; SameSite=Strict; Path=/",
            ),
            (
                CookiePolicy::Loopback,
                SameSite::Lax,
                "device_id=GOOD; HttpOnly; SameSite=Lax; Path=/",
            ),
            (
                CookiePolicy::Loopback,
                SameSite::Strict,
                "device_id=GOOD; HttpOnly; SameSite=Strict; Path=/",
            ),
        ] {
            let cookie = DeviceCookie::new(policy, same_site);
            let set = cookie.set(&credential).unwrap();
            assert_eq!(set.to_str().unwrap(), expected.replace("GOOD", GOOD));
            let cleared = expected.replace("GOOD", "") + "; Max-Age=0";
            assert_eq!(cookie.cleared().to_str().unwrap(), cleared, "the same attributes");
        }
    }
}
