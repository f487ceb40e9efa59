//! The questions of reverse proxies: may this request go on, and as whom? One dialect each.

use http::header::{AUTHORIZATION, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokenkeep_core::{Error, Issuer, TokenRecord, TokenStore};

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer, Response};
use crate::{same_site, sign_in};

/// The path of the nginx dialect.
pub(crate) const NGINX: &str = "/authz/nginx";
/// The path of the dialect of Traefik, Caddy and HAProxy.
pub(crate) const FORWARD: &str = "/authz/forward";
/// What the paths of the Envoy dialect begin with; the path of the original request follows.
pub(crate) const ENVOY: &str = "/authz/envoy";

/// What becomes of a question.
pub(crate) struct Verdict {
    pub(crate) answer: Answer,
    /// Where to log in, for a refusal that is no redirect.
    pub(crate) sign_in: Option<HeaderValue>,
}

/// nginx `auth_request`: 200 or 401, never a redirect; where to log in is in `Location`.
pub(crate) async fn nginx<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Verdict {
    let settings = &app.settings;
    let answer = allow(app, caller).await;
    let original = ["x-original-uri", "x-forwarded-uri"];
    let target = || original.iter().find_map(|name| caller.forwarded(name, settings));
    let sign_in = match is_refusal(&answer) {
        true => sign_in::location(settings, target().and_then(sign_in::path_on_this_site)),
        false => None,
    };
    Verdict { answer, sign_in }
}

/// Traefik `forwardAuth`, Caddy `forward_auth`: 200, 302 to the login page for a browser's
/// navigation, else 401.
pub(crate) async fn forward<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Verdict {
    let answer = allow(app, caller).await;
    let settings = &app.settings;
    let method = caller.forwarded("x-forwarded-method", settings);
    let method = method.and_then(|method| method.parse().ok());
    let method: &Method = method.as_ref().unwrap_or(&caller.method);
    if !is_refusal(&answer) || !sign_in::is_navigation(method, &caller.headers) {
        return Verdict { answer, sign_in: None };
    }
    let path = caller.forwarded("x-forwarded-uri", settings);
    let target = path.and_then(sign_in::path_on_this_site).map(|path| {
        let origin = || {
            let scheme = caller.forwarded("x-forwarded-proto", settings)?;
            let host = caller.forwarded("x-forwarded-host", settings)?;
            Some(format!("{scheme}://{host}")).filter(|it| same_site::is_configured(it, settings))
        };
        // The way back to another host is a whole address, and only to a configured one.
        format!("{}{path}", origin().unwrap_or_default())
    });
    redirect_or(app, caller, answer, target.as_deref())
}

/// Envoy `ext_authz`: exactly 200, whatever the method and path; refusals go to the client as
/// they are, so a browser's navigation is redirected.
pub(crate) async fn envoy<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Verdict {
    let answer = allow(app, caller).await;
    if !is_refusal(&answer) || !sign_in::is_navigation(&caller.method, &caller.headers) {
        return Verdict { answer, sign_in: None };
    }
    let whole = caller.uri.path_and_query().map_or("", |whole| whole.as_str());
    let target = whole.strip_prefix(ENVOY).and_then(sign_in::path_on_this_site);
    redirect_or(app, caller, answer, target)
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

async fn allow<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    let resumed = app.sessions.resume(caller.credential()?).await;
    let session = resumed.map_err(|error| caller.failed(error))?;
    let record = session.record();
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.reserve(9);
    headers.insert(AUTHORIZATION, authorization(record)?);
    let email = HeaderValue::from_bytes(record.email.as_str().as_bytes());
    headers.insert(EMAIL, email.map_err(Failure::internal)?);
    let device = HeaderValue::try_from(record.device_id.to_string());
    headers.insert(DEVICE, device.map_err(Failure::internal)?);
    Ok(response)
}

/// Whether the answer is "log in", and not "cannot tell".
fn is_refusal(answer: &Answer) -> bool {
    let error: Option<&Error> = match answer {
        Err(Failure::Session { error, .. }) => Some(error),
        _ => None,
    };
    error.is_some_and(Error::is_logged_out)
}

fn redirect_or<S, I>(
    app: &App<S, I>,
    caller: &Caller,
    refusal: Answer,
    target: Option<&str>,
) -> Verdict {
    let Some(location) = sign_in::location(&app.settings, target) else {
        return Verdict { answer: refusal, sign_in: None };
    };
    let mut response = reply::to_login_page(location);
    if caller.presented.is_something() {
        response.headers_mut().insert(SET_COOKIE, app.cookie.cleared());
    }
    Verdict { answer: Ok(response), sign_in: None }
}

/// Puts the address of the login page on a refusal.
pub(crate) fn name_login_page(headers: &mut HeaderMap, sign_in: Option<HeaderValue>) {
    if let Some(location) = sign_in {
        headers.insert(LOCATION, location);
    }
}

const EMAIL: HeaderName = HeaderName::from_static("x-auth-request-email");
const DEVICE: HeaderName = HeaderName::from_static("x-auth-request-device");
