//! Long work on the store while it is used: backups, moves, changes of keys.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokenkeep_core::wire::TaskOrder;
use tokenkeep_core::{Issuer, TokenStore};

use crate::app::App;
use crate::body;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::reply::{self, Answer};
use crate::service_access;
use crate::service_key::Scope;
use crate::upkeep::{Refused, Upkeep};

/// Begins a task.
pub(super) async fn begin<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
    body: Bytes,
) -> Answer {
    let upkeep = upkeep(&app, &caller)?;
    let order: TaskOrder = body::json(&caller.headers, &body)?;
    let begun = upkeep.begin(order).map_err(refusal)?;
    tracing::info!(kind = begun.kind, "a service ordered a task");
    reply::json(StatusCode::ACCEPTED, &begun)
}

/// What is under way, or was last.
pub(super) async fn state<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let state = upkeep(&app, &caller)?.state().ok_or(Failure::NotFound)?;
    reply::json(StatusCode::OK, &state)
}

/// Calls off what is under way.
pub(super) async fn call_off<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let upkeep = upkeep(&app, &caller)?;
    upkeep.call_off();
    reply::json(StatusCode::OK, &upkeep.state().ok_or(Failure::NotFound)?)
}

fn upkeep<'a, S, I>(app: &'a App<S, I>, caller: &Caller) -> Result<&'a dyn Upkeep, Failure> {
    service_access::check(&*app.keys, &caller.headers, Scope::AdminWrite)?;
    app.upkeep.as_deref().ok_or(Failure::NotFound)
}

fn refusal(refused: Refused) -> Failure {
    Failure::BadRequest(match refused {
        Refused::UnderWay => "another task is under way; GET shows it, DELETE calls it off",
        Refused::Name => "the name of a file is expected, without a path",
        Refused::Destination => "store.move_to of the server's settings must be that address",
        Refused::Moved => "the server was moved already; start it with the new settings first",
        Refused::Settings => "the server's settings cannot be read again; see check-config",
        Refused::Key => "the id of a key is 8 lower-case hex digits, as `keys list-ring` shows it",
    })
}
