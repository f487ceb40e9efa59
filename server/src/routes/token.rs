//! A usable access token, for a service that holds a device credential.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokenkeep_core::wire::{self, TokenBody, TokenRequest};
use tokenkeep_core::{Credential, Error, Issuer, SpentToken, TokenStore};

use crate::app::App;
use crate::body;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer};
use crate::service_access;
use crate::service_key::Scope;

/// Gives the access token of a device, and another one than `spent` if that is named.
pub(super) async fn token<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
    body: Bytes,
) -> Answer {
    let asker = service_access::check(&*app.keys, &caller, Scope::Token)?;
    let TokenRequest { spent } = match body.is_empty() {
        true => TokenRequest::default(),
        false => body::json(&caller.headers, &body)?,
    };
    let spent: Option<SpentToken> = spent
        .map(|hex| hex.parse())
        .transpose()
        .map_err(|_| Failure::BadRequest("spent is the SHA-256 of a token: 64 hex digits"))?;
    let credential = credential(&caller).ok_or(Failure::Flow(Error::NotLoggedIn))?;
    let sessions = app.sessions_for(&asker);
    let session = match spent {
        Some(spent) => sessions.renew(&credential, spent).await,
        None => sessions.resume(&credential).await,
    };
    let session = session.map_err(|error| {
        asker.note_refused(Some(credential.device_id()), &error);
        Failure::Flow(error)
    })?;
    reply::json(StatusCode::OK, &TokenBody::new(&session, app.sessions.now()))
}

/// The one device credential of the request.
fn credential(caller: &Caller) -> Option<Credential> {
    let mut all = caller.headers.get_all(wire::CREDENTIAL_HEADER).iter();
    let (first, second) = (all.next()?, all.next());
    if second.is_some() {
        return None;
    }
    first.to_str().ok()?.parse().ok()
}
