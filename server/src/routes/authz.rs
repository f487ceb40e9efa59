//! The questions of reverse proxies: may this request go on, and as whom? One dialect each.

use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokenkeep_core::{Issuer, TokenRecord, TokenStore};

use crate::app::App;
use crate::caller::Caller;
use crate::failure::{Failure, SignIn};
use crate::reply::{self, Answer, Response};
use crate::settings::ServerSettings;
use crate::{same_site, sign_in};

/// The path of the nginx dialect.
pub(crate) const NGINX: &str = "/authz/nginx";
/// The path of the dialect of Traefik, Caddy and HAProxy.
pub(crate) const FORWARD: &str = "/authz/forward";
/// What the paths of the Envoy dialect begin with; the path of the original request follows.
pub(crate) const ENVOY: &str = "/authz/envoy";

/// nginx `auth_request`: 200 or 401, never a redirect; where to log in is in `Location`.
pub(crate) async fn nginx<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    let refusal = match allow(app, caller).await {
        Err(failure) if is_refusal(&failure) => failure,
        answer => return answer,
    };
    let settings = &app.settings;
    let original = ["x-original-uri", "x-forwarded-uri"];
    let target = original.iter().find_map(|name| caller.forwarded_whole(name, settings));
    match sign_in::location(settings, target.and_then(sign_in::path_on_this_site)) {
        Some(location) => Err(Failure::SignIn(Box::new(SignIn { refusal, location }))),
        None => Err(refusal),
    }
}

/// Traefik `forwardAuth`, Caddy `forward_auth`: 200, 302 to the login page for a browser's
/// navigation, else 401.
pub(crate) async fn forward<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    let refusal = match allow(app, caller).await {
        Err(failure) if is_refusal(&failure) => failure,
        answer => return answer,
    };
    let settings = &app.settings;
    let method = caller.forwarded_whole("x-forwarded-method", settings);
    let method = method.and_then(|method| method.parse().ok());
    let method: &Method = method.as_ref().unwrap_or(&caller.method);
    let path = caller.forwarded_whole("x-forwarded-uri", settings);
    let target = path.and_then(sign_in::path_on_this_site).map(|path| {
        // The way back to another host is a whole address, and only to a configured one.
        format!("{}{path}", configured_origin(caller, settings).unwrap_or_default())
    });
    redirect_or(app, caller, method, target.as_deref(), refusal)
}

/// Envoy `ext_authz`: exactly 200, whatever the method and path; refusals go to the client as
/// they are, so a browser's navigation is redirected.
pub(crate) async fn envoy<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    let refusal = match allow(app, caller).await {
        Err(failure) if is_refusal(&failure) => failure,
        answer => return answer,
    };
    let whole = caller.uri.path_and_query().map_or("", |whole| whole.as_str());
    let target = whole.strip_prefix(ENVOY).and_then(sign_in::path_on_this_site);
    redirect_or(app, caller, &caller.method, target, refusal)
}

/// Every identity header is set on every answer, empty if unknown: a proxy that copies them
/// then overwrites whatever the client has sent.
pub(crate) fn complete(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, EMAIL, DEVICE] {
        headers.entry(name).or_insert(HeaderValue::from_static(""));
    }
}

/// `Authorization` as an upstream expects it.
pub(crate) fn authorization(record: &TokenRecord) -> Result<HeaderValue, Failure> {
    let (scheme, token) = (record.token_type.scheme(), record.access_token.expose());
    let mut text = String::with_capacity(scheme.len() + 1 + token.len());
    text.push_str(scheme);
    text.push(' ');
    text.push_str(token);
    let mut value = HeaderValue::try_from(text).map_err(Failure::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) async fn allow<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    let resumed = app.sessions_for(&caller.asker).resume(caller.credential()?).await;
    let session = resumed.map_err(|error| caller.failed(error))?;
    let record = session.record();
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.reserve(5);
    // A proxy reads this; what guards a page would only cost time here.
    reply::keep_private(headers);
    headers.insert(AUTHORIZATION, authorization(record)?);
    headers.insert(EMAIL, email(record.email.as_str())?);
    let device = HeaderValue::try_from(record.device_id.to_string());
    headers.insert(DEVICE, device.map_err(Failure::internal)?);
    Ok(response)
}

/// An email as a header holds it: in ASCII, anything else per cent encoded. The sign itself is
/// encoded, too, so that no two emails look the same.
fn email(email: &str) -> Result<HeaderValue, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if email.bytes().all(is_plain) {
        return HeaderValue::from_str(email).map_err(Failure::internal);
    }
    let mut text = String::with_capacity(email.len() * 3);
    for byte in email.bytes() {
        match is_plain(byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(text).map_err(Failure::internal)
}

/// Whether the failure is "log in", and not "cannot tell".
fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Session { error, .. } if error.is_logged_out())
}

/// The origin of the original request, if it is a configured one.
fn configured_origin(caller: &Caller, settings: &ServerSettings) -> Option<String> {
    let scheme = caller.forwarded_last("x-forwarded-proto", settings)?;
    let host = caller.forwarded_last("x-forwarded-host", settings)?;
    Some(format!("{scheme}://{host}")).filter(|it| same_site::is_configured(it, settings))
}

/// The login page for a browser's navigation, the refusal for everybody else.
pub(crate) fn redirect_or<S, I>(
    app: &App<S, I>,
    caller: &Caller,
    method: &Method,
    target: Option<&str>,
    refusal: Failure,
) -> Answer {
    let navigation = sign_in::is_navigation(method, &caller.headers);
    let location = navigation.then(|| sign_in::location(&app.settings, target)).flatten();
    let mut response = reply::to_login_page(location.ok_or(refusal)?);
    if caller.presented.is_something() {
        response.headers_mut().insert(SET_COOKIE, app.cookie.cleared());
    }
    Ok(response)
}

pub(super) const EMAIL: HeaderName = HeaderName::from_static("x-auth-request-email");
const DEVICE: HeaderName = HeaderName::from_static("x-auth-request-device");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_emails_look_the_same_in_a_header() {
        for (text, expected) in [
            ("ada+x@example.org", "ada+x@example.org"),
            ("ad\u{e9}@example.org", "ad%C3%A9@example.org"),
            ("ad%C3%A9@example.org", "ad%25C3%25A9@example.org"),
        ] {
            assert_eq!(email(text).unwrap(), expected);
        }
    }
}
