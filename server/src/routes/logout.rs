//! Logout of the device that asks.

use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{HeaderName, HeaderValue, StatusCode};
use tokenkeep_core::{Issuer, TokenStore};

use crate::app::App;
use crate::caller::Caller;
use crate::reply::{self, Answer};

/// Ends the session, if there is one, and takes the cookie away.
pub(super) async fn logout<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    if let Some(credential) = caller.presented.credential() {
        app.sessions_for(&caller.asker)
            .logout(credential)
            .await
            .map_err(|error| caller.failed(error))?;
    }
    let mut answer = reply::empty(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert(SET_COOKIE, app.cookie.cleared());
    headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static(r#""cache", "storage""#));
    Ok(answer)
}

/// Not its `"cookies"`: that would take the cookies of every host of the domain.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
