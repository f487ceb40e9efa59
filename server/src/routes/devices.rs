//! The devices of the user who asks.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::Deserialize;
use tokenkeep_core::wire::{DeviceBody, DevicesBody, EndedBody, LabelBody};
use tokenkeep_core::{DeviceId, Error, Issuer, Label, TokenStore};

use crate::app::App;
use crate::body;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer};

/// Lists the devices.
pub(super) async fn list<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let found = app.sessions.devices(caller.credential()?).await;
    let devices = found.map_err(|error| caller.failed(error))?;
    let body = |record: &Arc<_>| DeviceBody::new(record, Some(&devices.asking));
    let devices = devices.all.iter().map(body).collect();
    reply::json(StatusCode::OK, &DevicesBody { devices })
}

/// Sets or takes away the label of one device.
pub(super) async fn label<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
    id: String,
    body: Bytes,
) -> Answer {
    let credential = caller.credential()?;
    let LabelBody { label } = body::json(&caller.headers, &body)?;
    let label = label.map(|text| text.parse::<Label>()).transpose();
    let label = label.map_err(|_| {
        Failure::BadRequest("a label is 1 to 64 characters without control characters")
    })?;
    let device = device(&app, &caller, &id).await?;
    let labelled = app.sessions_for(&caller.asker).label_device(credential, device, label).await;
    let (record, asking) = labelled.map_err(|error| caller.failed(error))?;
    reply::json(StatusCode::OK, &DeviceBody::new(&record, Some(&asking)))
}

/// Ends one device.
pub(super) async fn end<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
    id: String,
) -> Answer {
    let credential = caller.credential()?;
    let device = device(&app, &caller, &id).await?;
    let ended = app.sessions_for(&caller.asker).end_device(credential, device).await;
    ended.map_err(|error| caller.failed(error))?;
    let mut answer = reply::empty(StatusCode::NO_CONTENT);
    if device == credential.device_id() {
        answer.headers_mut().insert(SET_COOKIE, app.cookie.cleared());
    }
    Ok(answer)
}

/// Which devices stay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndAll {
    except: Option<Except>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Except {
    Current,
}

/// Ends all devices, or all but the one that asks.
pub(super) async fn end_all<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let credential = caller.credential()?;
    let EndAll { except } = body::query(&caller.uri)?;
    let keep_current = matches!(except, Some(Except::Current));
    let ended = app.sessions_for(&caller.asker).end_devices(credential, keep_current).await;
    let ended = ended.map_err(|error| caller.failed(error))?;
    let mut answer = reply::json(StatusCode::OK, &EndedBody { ended })?;
    if !keep_current {
        answer.headers_mut().insert(SET_COOKIE, app.cookie.cleared());
    }
    Ok(answer)
}

/// A device id from a path; what is none names no device, but who has no session hears that
/// first.
async fn device<S: TokenStore, I: Issuer>(
    app: &App<S, I>,
    caller: &Caller,
    id: &str,
) -> Result<DeviceId, Failure> {
    if let Ok(device) = id.parse() {
        return Ok(device);
    }
    app.sessions.look(caller.credential()?).await.map_err(|error| caller.failed(error))?;
    Err(caller.failed(Error::NoSuchDevice))
}
