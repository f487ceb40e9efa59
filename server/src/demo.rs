//! The built-in demo auth server: the central contract, in memory, with one-time refresh tokens.
//!
//! It is for trying tokenkeep out and for tests: its counters show how many refreshes really
//! came, a spent refresh token kills its whole family, and faults can be switched on. Whatever it
//! knows is gone when it stops, and it serves loopback addresses only.

mod ledger;
mod routes;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokenkeep_core::{Clock, Email, Password, Timestamp};
use tokio::net::TcpListener;

use ledger::Ledger;
pub use ledger::{DemoRefusal, DemoStats};

/// A demo auth server. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Demo {
    shared: Arc<Shared>,
}

struct Shared {
    settings: DemoSettings,
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
    fault: Mutex<Fault>,
}

impl std::fmt::Debug for Demo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demo").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// How the demo auth server grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoSettings {
    /// The access token's life.
    pub access_lifetime: Duration,
    /// The refresh token's life.
    pub refresh_lifetime: Duration,
    /// Whether answers say the lifetimes; the contract's do not.
    pub says_lifetimes: bool,
}

impl Default for DemoSettings {
    /// Short lives, so that a refresh can be watched: 15 seconds and 10 minutes.
    fn default() -> Self {
        Self {
            access_lifetime: Duration::from_secs(15),
            refresh_lifetime: Duration::from_secs(10 * 60),
            says_lifetimes: false,
        }
    }
}

/// What is wrong with the demo auth server, on purpose. `/stats` always works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It answers with this status and does nothing.
    Down(u16),
    /// It answers 429 with this many seconds in `Retry-After` and does nothing.
    Busy(u32),
    /// It answers 200 with a page and does nothing.
    Garbage,
    /// It acts and answers, this much later.
    Slow(Duration),
    /// It acts, and the answer is lost on the way: 502.
    LostAnswer,
}

/// Why the demo auth server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The listener is open to other machines.
    #[error("the demo auth server is for loopback addresses only")]
    NotLoopback,
    /// The listener does not say where it listens.
    #[error("the listener has no address")]
    Listener(#[source] std::io::Error),
}

impl Demo {
    /// An auth server without accounts.
    #[must_use]
    pub fn new(settings: DemoSettings, clock: Arc<dyn Clock>) -> Self {
        let (ledger, fault) = (Mutex::new(Ledger::default()), Mutex::default());
        Self { shared: Arc::new(Shared { settings, clock, ledger, fault }) }
    }

    /// Serves until `shutdown` is done.
    ///
    /// # Errors
    /// [`DemoError::NotLoopback`] unless the listener is on a loopback address.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), DemoError> {
        if !listener.local_addr().map_err(DemoError::Listener)?.ip().is_loopback() {
            return Err(DemoError::NotLoopback);
        }
        let routes = routes::routes(self);
        warp::serve(routes).incoming(listener).graceful(shutdown).run().await;
        Ok(())
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`DemoRefusal`] if there is one, or no place for another.
    pub fn register(&self, email: Email, password: &Password) -> Result<(), DemoRefusal> {
        self.ledger().register(email, password)
    }

    /// Switches a fault on, or all off.
    pub fn set_fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// What was counted since the start.
    #[must_use]
    pub fn stats(&self) -> DemoStats {
        self.ledger().stats()
    }

    /// Ends every access token, as a restart of an API that keeps them in memory does.
    pub fn forget_access_tokens(&self) {
        self.ledger().forget_access_tokens();
    }

    /// Ends every refresh token, as an administrator does.
    pub fn forget_refresh_tokens(&self) {
        self.ledger().forget_refresh_tokens();
    }

    fn settings(&self) -> &DemoSettings {
        &self.shared.settings
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn fault(&self) -> Fault {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
