//! A clock that runs with real time and can be put forward.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokenkeep::{Clock, Timestamp};

use crate::{NOW, instant};

/// It says [`NOW`] when it is made. Both its clocks are put forward together, as if the time had
/// passed: the engine believes it.
#[derive(Debug)]
pub(super) struct RunningClock {
    started: Instant,
    ahead_micros: AtomicU64,
}

impl RunningClock {
    pub(super) fn new() -> Self {
        Self { started: instant(), ahead_micros: AtomicU64::new(0) }
    }

    /// Lets the time up to `at` pass at once; it is `at` or later then.
    pub(super) fn put_forward_to(&self, at: Timestamp) {
        let ahead = at.duration_since(self.now());
        let micros = u64::try_from(ahead.as_micros()).unwrap_or(u64::MAX);
        self.ahead_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for RunningClock {
    fn now(&self) -> Timestamp {
        NOW + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed() + Duration::from_micros(self.ahead_micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_skipped_passes_on_both_clocks() {
        let clock = RunningClock::new();
        let day = Duration::from_secs(86_400);
        clock.put_forward_to(NOW + day);
        assert!(clock.now() >= NOW + day);
        assert!(clock.monotonic() >= day);
        let now = clock.now();
        clock.put_forward_to(NOW);
        assert!(clock.now() >= now, "it never goes back");
    }
}
