//! Login and registration.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::SET_COOKIE;
use tokenkeep_core::sessions::LoginRequest;
use tokenkeep_core::wire::{LoginBody, RegisteredBody, SessionBody};
use tokenkeep_core::{Error, Issuer, Password, TokenStore};

use crate::app::App;
use crate::audit::{Act, What};
use crate::body;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer};

/// Logs in and hands the device cookie over.
pub(super) async fn login<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
    body: Bytes,
) -> Answer {
    let LoginBody { email, password } = body::json_or_form(&caller.headers, &body)?;
    let typed = email.parse().ok();
    let answer = log_in(&app, &caller, email, password).await;
    // The flow tells of one that worked.
    if let Err(failure) = &answer {
        let act = not_done(failure, What::LoginFailed, What::LoginLimited);
        caller.asker.note(act.of(typed));
    }
    answer
}

async fn log_in<S: TokenStore, I: Issuer>(
    app: &App<S, I>,
    caller: &Caller,
    email: String,
    password: String,
) -> Answer {
    let address = caller.address();
    let attempt = app
        .attempts
        .begin(app.clock.monotonic(), address, Some(&email))
        .map_err(Failure::TooManyAttempts)?;
    let request = LoginRequest {
        username: email,
        password: Password::new(password),
        presented: caller.presented.credential().cloned(),
        client: caller.client(),
    };
    let login =
        app.sessions_for(&caller.asker).login(request).await.map_err(|error| match error {
            Error::Refused(refusal) => Failure::LoginRefused(refusal),
            error => Failure::Flow(error),
        })?;
    app.attempts.succeeded(attempt);
    let record = login.session.record();
    let mut answer = reply::json(StatusCode::OK, &SessionBody::new(record, app.sessions.now()))?;
    let cookie = app.cookie.set(&login.credential).map_err(Failure::internal)?;
    answer.headers_mut().insert(SET_COOKIE, cookie);
    Ok(answer)
}

/// Passes a registration on to the auth server.
pub(super) async fn register<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
    body: Bytes,
) -> Answer {
    let LoginBody { email, password } = body::json_or_form(&caller.headers, &body)?;
    let typed = email.parse().ok();
    let answer = make_account(&app, &caller, &email, password).await;
    let act = match &answer {
        Ok(_) => Act::done(What::Registration),
        Err(failure) => not_done(failure, What::RegistrationFailed, What::RegistrationLimited),
    };
    caller.asker.note(act.of(typed));
    answer
}

async fn make_account<S: TokenStore, I: Issuer>(
    app: &App<S, I>,
    caller: &Caller,
    email: &str,
    password: String,
) -> Answer {
    // Registrations can be flooded as logins can, and an existing account can be guessed at.
    app.attempts
        .begin(app.clock.monotonic(), caller.address(), None)
        .map_err(Failure::TooManyAttempts)?;
    let registered = app.sessions.register(email, &Password::new(password)).await;
    let message = registered.map_err(|error| match error {
        Error::Refused(refusal) => Failure::RegistrationRefused(refusal),
        error => Failure::Flow(error),
    })?;
    let message = message.unwrap_or_else(|| "registered".to_owned());
    reply::json(StatusCode::CREATED, &RegisteredBody { message })
}

/// A login or a registration that came to nothing. The email is named where it is one; what is none
/// may be a password that was typed into the wrong field.
fn not_done(failure: &Failure, failed: What, limited: What) -> Act {
    match failure {
        Failure::TooManyAttempts(met) => Act::refused(limited).because(met.counted.as_str()),
        failure => Act::not_done(failed, failure),
    }
}
