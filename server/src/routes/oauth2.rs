//! The endpoints of oauth2-proxy that reverse proxies and pages ask, as it answers them:
//! <https://oauth2-proxy.github.io/oauth2-proxy/features/endpoints>. Behind a setting.

use std::sync::Arc;

use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use tokenkeep_core::{Issuer, TokenStore};

use super::{authz, logout};
use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer};
use crate::settings::ServerSettings;
use crate::{same_site, sign_in};

/// What the paths begin with.
pub(crate) const PREFIX: &str = "/oauth2/";
/// Asked by nginx `auth_request`.
pub(crate) const AUTH: &str = "/oauth2/auth";
/// Who is logged in, for a page.
pub(super) const USERINFO: &str = "/oauth2/userinfo";
/// Where a page's link to log out leads.
pub(super) const SIGN_OUT: &str = "/oauth2/sign_out";

/// 202 with the headers of an identity, or 401.
///
/// oauth2-proxy takes restrictions in the query, such as `allowed_groups`. There is nothing here to
/// hold them against, and what is restricted must not be open to everybody: a query is refused.
pub(crate) async fn auth<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    if caller.uri.query().is_some() {
        return Err(Failure::BadRequest("restrictions in the query are not known here"));
    }
    let mut response = authz::allow(app, caller).await?;
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    if let Some(email) = headers.get(authz::EMAIL).cloned() {
        headers.insert(USER, email);
    }
    if let Some(token) = headers.get(AUTHORIZATION).and_then(token_of) {
        headers.insert(ACCESS_TOKEN, token);
    }
    complete(headers);
    Ok(response)
}

/// Every identity header of oauth2-proxy is set, empty if unknown: see [`authz::complete`].
pub(crate) fn complete(headers: &mut HeaderMap) {
    authz::complete(headers);
    for name in [USER, GROUPS, PREFERRED_USERNAME, ACCESS_TOKEN] {
        headers.entry(name).or_insert(HeaderValue::from_static(""));
    }
}

/// The token of `Bearer <token>`.
fn token_of(authorization: &HeaderValue) -> Option<HeaderValue> {
    let (_scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    let mut value = HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Who is logged in.
#[derive(Serialize)]
struct UserInfo<'a> {
    user: &'a str,
    email: &'a str,
}

/// 200 with the email as JSON, or 401.
pub(super) async fn userinfo<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let found = app.sessions.look(caller.credential()?).await;
    let session = found.map_err(|error| caller.failed(error))?;
    let email = session.record().email.as_str();
    reply::json(StatusCode::OK, &UserInfo { user: email, email })
}

/// Logs out and goes to `rd`: a path on this site, or an address under a configured origin.
///
/// A link is a GET, and any site can link here: only a browser that says that the link was on this
/// site is believed.
pub(super) async fn sign_out<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    if caller.method == Method::GET && !same_site::is_said_to_be_ours(&caller.headers) {
        return Err(Failure::CrossSite);
    }
    let location = way_on(&caller, &app.settings);
    let mut answer = logout::logout(app, caller).await?;
    *answer.status_mut() = StatusCode::FOUND;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

/// Where a browser goes after it has logged out.
fn way_on(caller: &Caller, settings: &ServerSettings) -> HeaderValue {
    let query = caller.uri.query().unwrap_or_default().as_bytes();
    let rd =
        form_urlencoded::parse(query).find_map(|(name, value)| (name == "rd").then_some(value));
    let said = caller.forwarded_whole("x-auth-request-redirect", settings);
    let target = rd.as_deref().or(said).and_then(|text| sign_in::way_back(text, settings));
    target.and_then(|it| HeaderValue::from_str(it).ok()).unwrap_or(HeaderValue::from_static("/"))
}

const USER: HeaderName = HeaderName::from_static("x-auth-request-user");
const GROUPS: HeaderName = HeaderName::from_static("x-auth-request-groups");
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-auth-request-preferred-username");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-auth-request-access-token");
