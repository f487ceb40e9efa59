//! What the handlers share: the flow, the settings, and what is counted across requests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokenkeep_core::{Clock, Issuer, Sessions, TokenStore, Witness};
use tokio_util::sync::CancellationToken;

use crate::audit::{Asker, Audit};
use crate::cookie::DeviceCookie;
use crate::gateway::{Gateway, GatewayError};
use crate::login_attempts::LoginAttempts;
use crate::reply::RequestId;
use crate::service_access::ServiceAccess;
use crate::settings::ServerSettings;
use crate::upkeep::Upkeep;

/// What the handlers share. One for the life of a server.
pub struct App<S, I> {
    pub(crate) sessions: Sessions<S, I>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Arc<dyn ServiceAccess>,
    pub(crate) audit: Audit,
    pub(crate) settings: ServerSettings,
    /// What can be done to the store while it is used, if anything.
    pub(crate) upkeep: Option<Arc<dyn Upkeep>>,
    pub(crate) cookie: DeviceCookie,
    pub(crate) attempts: LoginAttempts,
    pub(crate) gateway: Gateway,
    pub(crate) in_flight: Arc<Places>,
    pub(crate) event_streams: Arc<Places>,
    /// Requests that wait for an upstream: a slow one holds up nobody but its own.
    pub(crate) forwards: Arc<Places>,
    /// Answers of upstreams on their way through.
    pub(crate) gateway_streams: Arc<Places>,
    pub(crate) lifecycle: Lifecycle,
    /// Names this process in the ids of events: microseconds since the epoch at its start.
    pub(crate) started: i64,
    requests: AtomicU64,
    /// Requests that ended in a panic.
    pub(crate) panics: AtomicU64,
}

impl<S: TokenStore, I: Issuer> App<S, I> {
    /// What the handlers share, over `sessions` and by the `clock` that they go by.
    ///
    /// # Errors
    /// [`GatewayError`] if an upstream of the settings cannot be one.
    pub fn new(
        sessions: Sessions<S, I>,
        clock: Arc<dyn Clock>,
        keys: Arc<dyn ServiceAccess>,
        settings: ServerSettings,
    ) -> Result<Self, GatewayError> {
        Ok(Self {
            cookie: DeviceCookie::new(settings.cookie, settings.same_site),
            attempts: LoginAttempts::new(settings.logins),
            gateway: Gateway::new(&settings)?,
            in_flight: Places::new(settings.requests.in_flight),
            event_streams: Places::new(settings.requests.event_streams),
            forwards: Places::new(settings.requests.in_flight),
            gateway_streams: Places::new(settings.requests.gateway_streams),
            lifecycle: Lifecycle::default(),
            started: clock.now().as_unix_micros(),
            audit: Audit::to_log(Arc::clone(&clock)),
            requests: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            upkeep: None,
            sessions,
            clock,
            keys,
            settings,
        })
    }

    /// Lets services order long work on the store.
    #[must_use]
    pub fn with_upkeep(mut self, upkeep: Arc<dyn Upkeep>) -> Self {
        self.upkeep = Some(upkeep);
        self
    }

    /// Tells `audit` what is done; without it, the ordinary log hears it.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }

    /// The flow for one request: the audit log hears who asked for what is done.
    pub(crate) fn sessions_for(&self, asker: &Arc<Asker>) -> Sessions<S, I> {
        self.sessions.seen_by(Arc::clone(asker) as Arc<dyn Witness>)
    }

    /// A name for the next request.
    pub(crate) fn next_request(&self) -> RequestId {
        // The low bits of the start tell the processes of one log apart.
        let process = u32::try_from(self.started & i64::from(u32::MAX)).unwrap_or(0);
        RequestId { process, number: self.requests.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl<S, I> fmt::Debug for App<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How far the shutdown has come.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    draining: AtomicBool,
    /// Cancelled when streams of events must end.
    pub(crate) closing: CancellationToken,
}

impl Lifecycle {
    /// From here on `/readyz` says no.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// A number of places that are taken and given back.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    limit: usize,
}

/// A place that is taken; given back on drop.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), limit })
    }

    /// Takes a place, if one is left.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let place = Place(Arc::clone(self));
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        // Dropping the place gives back what was counted too much.
        (before < self.limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
