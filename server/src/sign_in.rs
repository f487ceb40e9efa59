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

/// `text`, if it is a path on this site however a browser reads it. Browsers ask for no path with a
/// dot segment, and whoever resolves one may get to `//elsewhere`.
pub(crate) fn path_on_this_site(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let dots = path.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        matches!(plain.as_str(), "." | "..")
    });
    (printable && !dots && !rest.starts_with('/')).then_some(text)
}

/// `text`, if it is a path on this site or an address under a configured origin.
pub(crate) fn way_back<'a>(text: &'a str, settings: &ServerSettings) -> Option<&'a str> {
    let under = |origin: &String| {
        let path = text.strip_prefix(origin.trim_end_matches('/'))?;
        (path.is_empty() || path_on_this_site(path).is_some()).then_some(text)
    };
    path_on_this_site(text).or_else(|| settings.public_origins.iter().find_map(under))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_on_this_site_is_a_way_back() {
        for good in
            ["/", "/a", "/a/b?c=d&e=/..//f", "/a:b@c", "/%2f%2fevil.example", "/.a/...", "/a//b"]
        {
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
            "/.//evil.example",
            "/..//evil.example",
            "/a/..//evil.example",
            "/%2e//evil.example",
            "/.%2E//evil.example",
            "/a/.?b",
            "/..#b",
        ] {
            assert_eq!(path_on_this_site(bad), None, "{bad:?} was accepted");
        }
    }

    /// What a browser makes of a text is the oracle, whatever is put together from these parts.
    #[test]
    fn no_way_back_leads_to_another_site() {
        const PARTS: [&str; 20] = [
            "/",
            "\\",
            ".",
            "..",
            "%2e",
            "%2f",
            "%5c",
            "\t",
            "\n",
            "@",
            ":",
            "?",
            "#",
            " ",
            "a",
            "https:",
            "evil.example",
            "\u{2215}",
            "\0",
            "https://app.example.org",
        ];
        let settings = ServerSettings {
            public_origins: vec!["https://app.example.org".into()],
            ..ServerSettings::default()
        };
        let here = reqwest::Url::parse("https://here.example/a/login").unwrap();
        let mut accepted = 0;
        for number in 0..PARTS.len().pow(4) {
            let nth = |place: u32| PARTS[number / PARTS.len().pow(place) % PARTS.len()];
            let text: String = (0..4).map(nth).collect();
            let Some(text) = way_back(&text, &settings) else { continue };
            accepted += 1;
            let there = here.join(text).unwrap();
            let host = there.host_str().unwrap();
            assert!(["here.example", "app.example.org"].contains(&host), "{text:?} is {there}");
            assert!(!there.path().starts_with("//"), "{text:?} is {there}");
        }
        assert!(accepted > 1_000, "{accepted} are ways back");
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
