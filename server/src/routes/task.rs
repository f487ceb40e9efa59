//! Long work on the store while it is used: backups, moves, changes of keys.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokenkeep_core::wire::TaskOrder;
use tokenkeep_core::{Issuer, TokenStore};

use crate::app::App;
use crate::audit::{Act, Asker, What};
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
    let (upkeep, asker) = upkeep(&app, &caller)?;
    let order: TaskOrder = body::json(&caller.headers, &body)?;
    let kind = kind(&order);
    let begun = upkeep.begin(order).map_err(refusal);
    let act = match &begun {
        Ok(_) => Act::done(What::TaskBegun),
        Err(failure) => Act::not_done(What::TaskBegun, failure),
    };
    asker.note(act.with_detail(&kind));
    let begun = begun?;
    reply::json(StatusCode::ACCEPTED, &begun)
}

/// What is under way, or was last.
pub(super) async fn state<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let (upkeep, _) = upkeep(&app, &caller)?;
    let state = upkeep.state().ok_or(Failure::NotFound)?;
    reply::json(StatusCode::OK, &state)
}

/// Calls off what is under way.
pub(super) async fn call_off<S: TokenStore, I: Issuer>(
    app: Arc<App<S, I>>,
    caller: Arc<Caller>,
) -> Answer {
    let (upkeep, asker) = upkeep(&app, &caller)?;
    upkeep.call_off();
    let state = upkeep.state().ok_or(Failure::NotFound)?;
    asker.note(Act::done(What::TaskCalledOff).with_detail(&state.kind));
    reply::json(StatusCode::OK, &state)
}

fn upkeep<'a, S, I>(
    app: &'a App<S, I>,
    caller: &Caller,
) -> Result<(&'a dyn Upkeep, Arc<Asker>), Failure> {
    let asker = service_access::check(&*app.keys, caller, Scope::AdminWrite)?;
    Ok((app.upkeep.as_deref().ok_or(Failure::NotFound)?, asker))
}

fn kind(order: &TaskOrder) -> &'static str {
    match order {
        TaskOrder::Backup { .. } => "backup",
        TaskOrder::Move { .. } => "move",
        TaskOrder::TakeRing { .. } => "take_ring",
        TaskOrder::Reseal {} => "reseal",
        TaskOrder::Retire { .. } => "retire",
    }
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
