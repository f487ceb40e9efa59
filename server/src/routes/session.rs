//! The session of the device that asks.

use std::sync::Arc;

use http::StatusCode;
use tokenkeep_core::wire::SessionBody;
use tokenkeep_core::{Issuer, TokenStore};

use crate::app::App;
use crate::caller::Caller;
use crate::reply::{self, Answer};

/// The standing of the session; asking extends nothing.
pub(crate) async fn show<S: TokenStore, I: Issuer>(app: &App<S, I>, caller: &Caller) -> Answer {
    let found = app.sessions.look(caller.credential()?).await;
    let session = found.map_err(|error| caller.failed(error))?;
    reply::json(StatusCode::OK, &SessionBody::new(session.record(), app.sessions.now()))
}

/// Refreshes the session.
pub(super) async fn refresh<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let refreshed = app.sessions_for(&caller.asker).refresh(caller.credential()?).await;
    let session = refreshed.map_err(|error| caller.failed(error))?;
    reply::json(StatusCode::OK, &SessionBody::new(session.record(), app.sessions.now()))
}
