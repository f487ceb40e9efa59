//! Serves the HTTP surface until it is told to stop, and then stops without losing anything.

mod accept;
mod activity;
mod connection;
mod heads;
mod listener;
mod noted;
mod places;
mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokenkeep_core::{Issuer, TokenStore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::surface::{Door, Surface};
use connection::Connections;

pub use listener::{Listener, Listeners};
pub use tls::{Tls, TlsError};

/// Whether everything was finished when the server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Stopped {
    /// Every request was answered.
    pub requests_finished: bool,
    /// Every refresh that was sent is stored.
    pub refreshes_finished: bool,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.requests_finished, self.refreshes_finished) {
            (true, true) => f.write_str("everything was finished"),
            (false, true) => f.write_str("some requests were cut off"),
            (_, false) => f.write_str("some refreshes were cut off"),
        }
    }
}

/// Serves `app` on `listeners` until `shutdown` comes: then `/readyz` says no for the drain
/// delay, the listeners close, streams of events end, requests finish, and at last the session
/// flow stores what its refreshes got. The shutdown limit bounds all that comes after the delay.
///
/// A head that is no HTTP, or too large, is answered by hyper itself: 400, 414 and 431 of that kind
/// have no body, no request id and no line in the log.
///
/// # Errors
/// If a listener has no address, i.e. is none.
pub async fn serve<S: TokenStore, I: Issuer>(
    listeners: impl Into<Listeners>,
    app: Arc<App<S, I>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Stopped> {
    let Listeners { public, admin, tls } = listeners.into();
    let connections = Arc::new(Connections::new(Surface::new(Arc::clone(&app))));
    let accepting = TaskTracker::new();
    let door = if admin.is_empty() { Door::Everything } else { Door::Public };
    let doors = public.into_iter().map(|listener| (listener, door));
    for (listener, door) in doors.chain(admin.into_iter().map(|listener| (listener, Door::Admin))) {
        let address = listener.address()?;
        let tls = tls.clone().filter(|_| listener.speaks_tls(door));
        match door {
            Door::Admin => tracing::info!(%address, tls = tls.is_some(), "serving administration"),
            _ => tracing::info!(%address, tls = tls.is_some(), "serving"),
        }
        accepting.spawn(accept::run(listener, tls, Arc::clone(&connections), door));
    }
    accepting.close();
    shutdown.await;
    Ok(stop(&app, &connections, &accepting).await)
}

async fn stop<S: TokenStore, I: Issuer>(
    app: &App<S, I>,
    connections: &Connections<S, I>,
    accepting: &TaskTracker,
) -> Stopped {
    tracing::info!("shutting down");
    app.lifecycle.drain();
    tokio::time::sleep(app.settings.drain_delay).await;
    connections.stop.cancel();
    accepting.wait().await;
    app.lifecycle.closing.cancel();
    // One deadline for both; refreshes get all that requests leave of the time, and a part of
    // it in any case.
    let limit = app.settings.shutdown_limit;
    let deadline = Instant::now() + limit;
    let requests_finished = by(deadline - limit / 4, connections.finish()).await;
    connections.kill.cancel();
    let refreshes_finished = by(deadline, app.sessions.shutdown()).await;
    let stopped = Stopped { requests_finished, refreshes_finished };
    tracing::info!(%stopped, "stopped");
    stopped
}

async fn by(deadline: Instant, work: impl Future<Output = ()>) -> bool {
    tokio::time::timeout_at(deadline, work).await.is_ok()
}
