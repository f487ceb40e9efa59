//! The session flow: login, resume, refresh, renew, logout and devices, once, over the two ports.

mod attempt;
mod breaker;
mod devices;
mod flight;
mod login;
mod logout;
mod pacing;
mod refresh;
mod resume;
mod revoking;
mod settings;
mod settle;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::event::{Events, Heard, Subscription, Witness};
use crate::{Clock, EventKind, Issuer, Timestamp, TokenRecord, TokenStore};
use breaker::Breaker;
use flight::Flights;
use pacing::Pacing;

pub use devices::Devices;
pub use login::{LoggedIn, LoginRequest};
pub use settings::Settings;

/// The session flow over a store and an issuer. Cloning a handle is cheap.
///
/// Refreshes run in tasks of their own, so its methods must be called within a tokio runtime.
///
/// ```
/// # use std::sync::Arc;
/// # use tokenkeep_core::sessions::{LoginRequest, Settings};
/// # use tokenkeep_core::testing::{FakeIssuer, MemoryStore};
/// # use tokenkeep_core::{ClientInfo, ManualClock, Password, Sessions, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tokenkeep_core::Error> {
/// # let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
/// # let issuer = FakeIssuer::new();
/// let sessions = Sessions::new(MemoryStore::new(), issuer, clock, Settings::default());
/// let login = sessions
///     .login(LoginRequest {
///         username: "ada@example.org".into(),
///         password: Password::new("correct horse"),
///         presented: None,
///         client: ClientInfo::default(),
///     })
///     .await?;
/// // The cookie holds `login.credential`; every request comes back with it.
/// let session = sessions.resume(&login.credential).await?;
/// assert_eq!(session.record().email.as_str(), "ada@example.org");
/// # Ok(())
/// # }
/// ```
pub struct Sessions<S, I> {
    inner: Arc<Inner<S, I>>,
    /// Of what is done through this handle.
    witness: Option<Arc<dyn Witness>>,
}

struct Inner<S, I> {
    store: S,
    issuer: I,
    clock: Arc<dyn Clock>,
    settings: Settings,
    events: Events,
    breaker: Breaker,
    pacing: Pacing,
    flights: Flights,
    /// Bounds the refreshes that are with the issuer at one time.
    permits: Semaphore,
    /// Background refreshes need one of these as well, so that they never take all places. They
    /// do not queue for it.
    background_permits: Arc<Semaphore>,
    /// Notes of use that are under way need one of these.
    touch_permits: Arc<Semaphore>,
    /// Leases that wait for their store to take them back need one of these.
    release_permits: Arc<Semaphore>,
    /// Where ended sessions stand until the issuer has heard of them.
    outbox: OnceLock<S>,
    /// Somebody tries again to tell the issuer.
    telling_again: AtomicBool,
    /// Somebody tells the issuer of sessions that ran out by a limit.
    telling_of_limits: AtomicBool,
    tasks: TaskTracker,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    logins: AtomicU64,
    refreshes_done: AtomicU64,
    refreshes_failed: AtomicU64,
}

/// A session that may go on.
#[derive(Clone, Debug)]
pub struct Session {
    record: Arc<TokenRecord>,
}

impl Session {
    /// The record behind the session, its access token included.
    #[must_use]
    pub fn record(&self) -> &TokenRecord {
        &self.record
    }
}

impl From<Arc<TokenRecord>> for Session {
    fn from(record: Arc<TokenRecord>) -> Self {
        Self { record }
    }
}

/// What the flow has done since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowStats {
    /// Logins.
    pub logins: u64,
    /// Refreshes that stored a new pair.
    pub refreshes_done: u64,
    /// Refreshes that failed without a verdict.
    pub refreshes_failed: u64,
    /// Refreshes under way.
    pub refreshes_in_flight: usize,
}

impl<S: TokenStore, I: Issuer> Sessions<S, I> {
    /// The flow over `store` and `issuer`, by `clock`.
    #[must_use]
    pub fn new(store: S, issuer: I, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let concurrency = settings.concurrent_refreshes.get();
        let inner = Inner {
            store,
            issuer,
            events: Events::new(clock.now()),
            clock,
            breaker: Breaker::default(),
            pacing: Pacing::default(),
            flights: Flights::default(),
            permits: Semaphore::new(concurrency),
            background_permits: Arc::new(Semaphore::new(concurrency.div_ceil(2))),
            touch_permits: Arc::new(Semaphore::new(TOUCHES_AT_ONCE)),
            release_permits: Arc::new(Semaphore::new(RELEASES_AT_ONCE)),
            outbox: OnceLock::new(),
            telling_again: AtomicBool::new(false),
            telling_of_limits: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            counters: Counters::default(),
            settings,
        };
        Self { inner: Arc::new(inner), witness: None }
    }

    /// A handle on the same flow whose doings `witness` sees, and nobody else but listeners. What
    /// goes on behind a call that was made through it, such as a refresh, is seen as well.
    #[must_use]
    pub fn seen_by(&self, witness: Arc<dyn Witness>) -> Self {
        Self { inner: Arc::clone(&self.inner), witness: Some(witness) }
    }

    /// The store under the flow.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.inner.store
    }

    /// The issuer under the flow.
    #[must_use]
    pub fn issuer(&self) -> &I {
        &self.inner.issuer
    }

    /// The instant that the flow goes by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Listens to what happens to sessions, from here on or from after an event's number.
    #[must_use]
    pub fn subscribe(&self, after: Option<u64>) -> Subscription {
        self.inner.events.subscribe(after)
    }

    /// Tells the listeners what another process with the same store told.
    pub fn pass_on(&self, heard: Heard) {
        self.inner.events.pass_on(heard);
    }

    /// What the flow has done so far.
    #[must_use]
    pub fn stats(&self) -> FlowStats {
        let counters = &self.inner.counters;
        FlowStats {
            logins: counters.logins.load(Ordering::Relaxed),
            refreshes_done: counters.refreshes_done.load(Ordering::Relaxed),
            refreshes_failed: counters.refreshes_failed.load(Ordering::Relaxed),
            refreshes_in_flight: self.inner.flights.len(),
        }
    }

    /// Starts no further refresh, and waits until those that are with the issuer have stored
    /// what they got. Those that only queue are given up.
    pub async fn shutdown(&self) {
        self.inner.permits.close();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn tell(&self, record: &TokenRecord, kind: EventKind) {
        if let Some(witness) = &self.witness {
            witness.saw(record.device_id, &record.email, &kind);
        }
        self.inner.events.send(self.now(), &record.email, record.device_id, kind);
    }
}

impl<S, I> Clone for Sessions<S, I> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), witness: self.witness.clone() }
    }
}

impl<S, I> fmt::Debug for Sessions<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// So many notes of use may wait for the store; others are left out, the next use brings one.
const TOUCHES_AT_ONCE: usize = 64;
/// So many leases may wait for their store to take them back, others run out.
const RELEASES_AT_ONCE: usize = 64;

/// The outcome of a refresh, as everybody who waited for it gets it.
type Outcome = Result<Arc<TokenRecord>, crate::Error>;

#[cfg(test)]
mod tests;
