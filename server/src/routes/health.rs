//! Whether the process lives, and whether it should get requests.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use tokenkeep_core::{Issuer, TokenStore};

use crate::app::App;
use crate::failure::Failure;
use crate::reply::{self, Answer};

/// The process lives.
pub(super) async fn live() -> Answer {
    reply::json(StatusCode::OK, &json!({"status": "live"}))
}

/// The store takes writes, and the server is not about to stop.
pub(super) async fn ready<S: TokenStore, I: Issuer>(app: Arc<App<S, I>>) -> Answer {
    if app.lifecycle.is_draining() {
        return Err(Failure::ShuttingDown);
    }
    let writable = app.sessions.store().check_writable().await;
    writable.map_err(|error| Failure::Flow(error.into()))?;
    reply::json(StatusCode::OK, &json!({"status": "ready"}))
}
