//! A clock that cannot leap, for the one decision that a store cannot take back: reclaiming.

use std::time::Duration;

use crate::{Clock, Timestamp};

/// Says which instant has certainly come, to a store that asks it now and then.
///
/// It is the smaller of the wall clock and the wall clock at opening plus the time since. While
/// the two are apart by more than a minute that is logged; after an hour at the same distance
/// the wall clock is believed. Nothing is certain in the first ten minutes, so that a machine
/// that starts with a wrong clock has time to set it.
#[derive(Debug)]
pub struct ClockGuard {
    opened: Duration,
    base_wall: Timestamp,
    base: Duration,
    apart: Option<Apart>,
}

/// The wall clock and the steady one are apart.
#[derive(Clone, Copy, Debug)]
struct Apart {
    since: Duration,
    by_micros: i64,
}

impl ClockGuard {
    /// A guard that begins to watch `clock` at this moment, when a store is opened.
    pub fn new(clock: &dyn Clock) -> Self {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        Self { opened: monotonic, base_wall: wall, base: monotonic, apart: None }
    }

    /// The instant up to which whatever expired may be destroyed; none yet after opening.
    pub fn certain(&mut self, clock: &dyn Clock) -> Option<Timestamp> {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let steady = self.base_wall + monotonic.saturating_sub(self.base);
        self.compare(wall, steady, monotonic);
        let steady = self.base_wall + monotonic.saturating_sub(self.base);
        let settled = monotonic.saturating_sub(self.opened) >= SETTLING;
        settled.then(|| wall.min(steady))
    }

    fn compare(&mut self, wall: Timestamp, steady: Timestamp, monotonic: Duration) {
        let by_micros = wall.as_unix_micros().saturating_sub(steady.as_unix_micros());
        let near = |a: i64, b: i64| a.abs_diff(b) <= TOLERANCE_MICROS;
        match self.apart {
            _ if near(by_micros, 0) => {
                if self.apart.take().is_some() {
                    tracing::info!("the wall clock agrees with the steady clock again");
                }
            }
            Some(apart) if near(apart.by_micros, by_micros) => {
                if monotonic.saturating_sub(apart.since) >= BELIEVED_AFTER {
                    tracing::warn!(seconds = by_micros / 1_000_000, "the wall clock is believed");
                    (self.base_wall, self.base, self.apart) = (wall, monotonic, None);
                }
            }
            _ => {
                tracing::warn!(
                    seconds = by_micros / 1_000_000,
                    "the wall clock leapt; nothing is reclaimed by it for an hour"
                );
                self.apart = Some(Apart { since: monotonic, by_micros });
            }
        }
    }

    /// How far the wall clock is from the steady one, in seconds, while it is not believed.
    #[must_use]
    pub fn disagreement_seconds(&self) -> i64 {
        self.apart.map_or(0, |apart| apart.by_micros / 1_000_000)
    }
}

const TOLERANCE_MICROS: u64 = 60 * 1_000_000;
const BELIEVED_AFTER: Duration = Duration::from_secs(60 * 60);
const SETTLING: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use crate::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn settled() -> (ManualClock, ClockGuard) {
        let clock = ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000));
        let mut guard = ClockGuard::new(&clock);
        clock.advance(10 * MINUTE);
        assert_eq!(guard.certain(&clock), Some(clock.now()));
        (clock, guard)
    }

    #[test]
    fn nothing_is_certain_in_the_first_ten_minutes() {
        let clock = ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000));
        let mut guard = ClockGuard::new(&clock);
        assert_eq!(guard.certain(&clock), None);
        clock.advance(10 * MINUTE - Duration::from_secs(1));
        assert_eq!(guard.certain(&clock), None);
    }

    #[test]
    fn a_leap_ahead_is_believed_after_an_hour_only() {
        let (clock, mut guard) = settled();
        let before = clock.now();
        clock.leap_to(before + 87_600 * HOUR);
        assert_eq!(guard.certain(&clock), Some(before));
        clock.advance(HOUR - MINUTE);
        assert_eq!(guard.certain(&clock), Some(before + (HOUR - MINUTE)));
        assert!(guard.disagreement_seconds() > 0);
        clock.advance(MINUTE);
        assert_eq!(guard.certain(&clock), Some(clock.now()));
        assert_eq!(guard.disagreement_seconds(), 0);
    }

    #[test]
    fn a_second_leap_starts_the_hour_again() {
        let (clock, mut guard) = settled();
        clock.leap_to(clock.now() + 10 * HOUR);
        guard.certain(&clock);
        clock.advance(HOUR - MINUTE);
        clock.leap_to(clock.now() + 10 * HOUR);
        guard.certain(&clock);
        clock.advance(2 * MINUTE);
        assert!(guard.certain(&clock).unwrap() < clock.now());
    }

    #[test]
    fn a_leap_back_counts_at_once() {
        let (clock, mut guard) = settled();
        clock.leap_to(clock.now().saturating_sub(10 * HOUR));
        assert_eq!(guard.certain(&clock), Some(clock.now()));
    }

    #[test]
    fn a_leap_that_is_taken_back_leaves_no_trace() {
        let (clock, mut guard) = settled();
        let before = clock.now();
        clock.leap_to(before + 87_600 * HOUR);
        guard.certain(&clock);
        clock.leap_to(before);
        assert_eq!(guard.certain(&clock), Some(before));
        assert_eq!(guard.disagreement_seconds(), 0);
    }
}
