//! A clock that cannot leap, for the one decision that cannot be taken back: deleting the dead.

use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{Clock, Timestamp};

/// Says which instant has certainly come: the smaller of the wall clock and the wall clock at
/// opening plus the time since. Nothing is certain in the first ten minutes, so that a machine
/// that starts with a wrong clock has time to set it.
#[derive(Clone)]
pub(crate) struct ClockGuard {
    clock: Arc<dyn Clock>,
    opened_wall: Timestamp,
    opened: Duration,
}

impl ClockGuard {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (opened_wall, opened) = (clock.now(), clock.monotonic());
        Self { clock, opened_wall, opened }
    }

    /// The instant that has certainly come.
    pub(crate) fn certain(&self) -> Option<Timestamp> {
        let since = self.clock.monotonic().saturating_sub(self.opened);
        (since >= SETTLING).then(|| self.clock.now().min(self.opened_wall + since))
    }

    /// Time that never goes back.
    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl std::fmt::Debug for ClockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockGuard").field("opened_wall", &self.opened_wall).finish_non_exhaustive()
    }
}

const SETTLING: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use tokenkeep_core::ManualClock;

    use super::*;

    #[test]
    fn a_leap_of_the_wall_clock_is_not_believed() {
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let clock = Arc::new(ManualClock::new(start));
        let guard = ClockGuard::new(clock.clone());
        assert_eq!(guard.certain(), None);
        clock.advance(SETTLING);
        assert_eq!(guard.certain(), Some(start + SETTLING));
        clock.leap_to(start + Duration::from_secs(1_000_000));
        assert_eq!(guard.certain(), Some(start + SETTLING));
        clock.leap_to(start);
        assert_eq!(guard.certain(), Some(start));
    }
}
