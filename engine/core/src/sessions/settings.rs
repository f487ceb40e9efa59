//! What an operator may set about the flow.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::{Ceiling, Leeway};

/// What an operator may set about the flow. The defaults are the documented ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How early a refresh is due.
    pub leeway: Leeway,
    /// How many devices a user may have; absent: any number.
    pub ceiling: Option<Ceiling>,
    /// How long a session lives however much it is used; absent: as long as it is refreshed.
    pub absolute_limit: Option<Duration>,
    /// How long a session lives without use; absent: as long as its refresh token.
    pub idle_limit: Option<Duration>,
    /// How long one call to the issuer may take.
    pub issuer_deadline: Duration,
    /// How long a store that fails is asked again before it is given up. A new pair is offered to it
    /// longer, unless the flow shuts down.
    pub store_patience: Duration,
    /// How many refreshes may be with the issuer at one time.
    pub concurrent_refreshes: NonZeroUsize,
    /// A refresh that a user asks for does nothing while the access token is younger than this,
    /// and a token that was renewed after a 401 is not renewed again before.
    pub cool_down: Duration,
    /// How far behind `last_seen_at` may be.
    pub touch_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            leeway: Leeway::default(),
            ceiling: None,
            absolute_limit: None,
            idle_limit: None,
            issuer_deadline: Duration::from_secs(10),
            store_patience: Duration::from_secs(5),
            concurrent_refreshes: NonZeroUsize::MIN.saturating_add(31),
            cool_down: Duration::from_secs(5),
            touch_interval: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// How long a refresh lease lasts unless it is extended: it outlives the call to the issuer
    /// and the offers to the store.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        let work = self.issuer_deadline.saturating_add(self.store_patience);
        work.saturating_add(Duration::from_secs(5))
    }
}
