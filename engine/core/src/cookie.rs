//! Reading the device cookie out of `Cookie` headers (RFC 6265, 5.4), without mercy.

use crate::{Credential, wire};

/// What the Cookie headers of a request say about the device.
#[derive(Clone, Debug)]
pub enum Presented {
    /// No device cookie.
    Nothing,
    /// A device cookie that cannot be one: malformed, or two that differ.
    Unusable,
    /// The one device cookie.
    Credential(Credential),
}

impl Presented {
    /// Reads the cookie `name` out of the values of the Cookie headers, whatever they hold.
    ///
    /// The same cookie twice is one; two that differ are none, because there is no telling which
    /// of them an attacker planted.
    pub fn read<'a>(headers: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Self {
        let mut found: Option<&[u8]> = None;
        for (_, value) in pairs(headers).filter(|(other, _)| *other == name.as_bytes()) {
            match found {
                Some(other) if other != value => return Self::Unusable,
                _ => found = Some(value),
            }
        }
        let Some(value) = found else { return Self::Nothing };
        match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
            Some(credential) => Self::Credential(credential),
            None => Self::Unusable,
        }
    }

    /// The credential, if there is one.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Credential(credential) => Some(credential),
            Self::Nothing | Self::Unusable => None,
        }
    }

    /// Whether any device cookie came along.
    #[must_use]
    pub const fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// Whether `name` is a device cookie's, over https or on a loopback address.
#[must_use]
pub fn is_device_cookie(name: &[u8]) -> bool {
    name == wire::COOKIE.as_bytes() || name == wire::LOOPBACK_COOKIE.as_bytes()
}

/// The cookies in the values of the Cookie headers as (name, value), in order.
pub fn pairs<'a>(
    headers: impl IntoIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    headers.into_iter().flat_map(|header| header.split(|byte| *byte == b';')).map(|pair| {
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

    #[track_caller]
    fn check(lines: &[String], usable: bool, something: bool) {
        let lines = lines.iter().map(String::as_bytes);
        let presented = Presented::read(lines, wire::COOKIE);
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
        for byte in 0..=u8::MAX {
            for line in [vec![byte], vec![b'=', byte], vec![byte; 40], vec![b';', byte, b'=']] {
                let _ = Presented::read([line.as_slice()], wire::COOKIE);
            }
        }
    }
}
