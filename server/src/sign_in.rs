//! Where a person without a session is sent: the login page, and back from it.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};

use crate::settings::ServerSettings;

/// Whether a person's browser asks for a page: a program would not know what to do with one.
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let html = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
    matches!(*method, Method::GET | Method::HEAD)
        && !headers.contains_key("x-requested-with")
        && headers.get_all(ACCEPT).iter().any(html)
}

/// The login page with the way back to `target`; absent without a login page.
pub(crate) fn location(settings: &ServerSettings, target: Option<&str>) -> Option<HeaderValue> {
    let page = settings.login_page.as_deref()?;
    let Some(target) = target else { return HeaderValue::try_from(page).ok() };
    let rd = serde_urlencoded::to_string([("rd", target)]).ok()?;
    let joint = if page.contains('?') { '&' } else { '?' };
    HeaderValue::try_from(format!("{page}{joint}{rd}")).ok()
}

/// `text`, if it is a path on this site however a browser reads it.
pub(crate) fn path_on_this_site(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (printable && !rest.starts_with('/')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_on_this_site_is_a_way_back() {
        for good in ["/", "/a", "/a/b?c=d&e=//f", "/a:b@c", "/%2f%2fevil.example"] {
            assert_eq!(path_on_this_site(good), Some(good));
        }
        for bad in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "/a\\b",
            "\\/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
            " //evil.example",
            "/\u{e9}",
        ] {
            assert_eq!(path_on_this_site(bad), None, "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_way_back_is_one_encoded_parameter() {
        let mut settings = ServerSettings::default();
        assert_eq!(location(&settings, Some("/a")), None);
        settings.login_page = Some("/login".into());
        assert_eq!(location(&settings, Some("/a?b=c&d")).unwrap(), "/login?rd=%2Fa%3Fb%3Dc%26d");
        settings.login_page = Some("https://id.example.org/login?theme=dark".into());
        let expected = "https://id.example.org/login?theme=dark&rd=%2Fa";
        assert_eq!(location(&settings, Some("/a")).unwrap(), expected);
    }
}
