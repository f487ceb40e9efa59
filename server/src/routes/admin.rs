//! What services may see and end across users.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Deserialize;
use tokenkeep_core::wire::{DeviceBody, DevicesBody, EndedBody, StatsBody};
use tokenkeep_core::{Email, Error, Issuer, TokenStore};

use crate::app::App;
use crate::audit::{Act, What};
use crate::body;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer};
use crate::service_access;
use crate::service_key::Scope;

/// Whose devices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    email: String,
}

/// Lists the devices of an email.
pub(super) async fn devices<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let asker = service_access::check(&*app.keys, &caller, Scope::AdminRead)?;
    let email = email(&caller)?;
    let records = app.sessions.devices_of(&email).await.map_err(Failure::Flow)?;
    asker.note(Act::done(What::AdminDevicesListed).of(email));
    let devices = records.iter().map(|record| DeviceBody::new(record, None)).collect();
    reply::json(StatusCode::OK, &DevicesBody { devices })
}

/// Ends all devices of an email.
pub(super) async fn end<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let asker = service_access::check(&*app.keys, &caller, Scope::AdminWrite)?;
    let email = email(&caller)?;
    let ended = app.sessions_for(&asker).end_all_of(&email).await.map_err(Failure::Flow);
    let act = match &ended {
        Ok(ended) => Act::done(What::AdminSessionsEnded).with_detail(ended),
        Err(failure) => Act::not_done(What::AdminSessionsEnded, failure),
    };
    asker.note(act.of(email));
    let ended = ended?;
    reply::json(StatusCode::OK, &EndedBody { ended })
}

/// Counts, sizes, rates.
pub(super) async fn stats<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    service_access::check(&*app.keys, &caller, Scope::AdminRead)?;
    let counted = app.sessions.store().stats(app.sessions.now()).await;
    let store = counted.map_err(|error| Failure::Flow(error.into()))?;
    let flow = app.sessions.stats();
    let body = StatsBody {
        devices: store.devices,
        users: store.users,
        size_bytes: store.size_bytes,
        garbage_rows: store.garbage_rows,
        unreadable: store.unreadable,
        refreshes_in_flight: u64::try_from(flow.refreshes_in_flight).unwrap_or(u64::MAX),
        refreshes_done: flow.refreshes_done,
        refreshes_failed: flow.refreshes_failed,
        logins: flow.logins,
        panics: app.panics.load(Ordering::Relaxed),
    };
    reply::json(StatusCode::OK, &body)
}

fn email(caller: &Caller) -> Result<Email, Failure> {
    let Whose { email } = body::query(&caller.uri)?;
    email.parse().map_err(|error| Failure::Flow(Error::InvalidEmail(error)))
}
