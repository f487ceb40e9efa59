//! The circuit breaker towards the issuer: while it is open, nobody waits for a time-out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Opens after consecutive failures, lets one probe through, and closes on success.
///
/// Instants are the monotonic time of the clock.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the openings. A report on a call that was admitted before the latest one says
    /// nothing about the time since.
    epoch: u64,
    consecutive_failures: u32,
    /// Set while it is open: nobody is let through before this instant, and then one probe.
    open_until: Option<Duration>,
    probing: bool,
    /// How long it stayed open the last time.
    pause: Duration,
}

/// The right to make one call. Dropped without a report, it has not been used.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    breaker: &'a Breaker,
    epoch: u64,
}

impl Breaker {
    /// Lets a call through, or says how long to stay away.
    pub(super) fn admit(&self, now: Duration) -> Result<Admission<'_>, Duration> {
        let mut state = self.lock();
        if let Some(open_until) = state.open_until {
            if now < open_until {
                return Err(open_until - now);
            }
            if state.probing {
                return Err(FIRST_PAUSE);
            }
            state.probing = true;
        }
        Ok(Admission { breaker: self, epoch: state.epoch })
    }

    /// How long to stay away, for whoever makes a call without being the probe.
    pub(super) fn pause(&self, now: Duration) -> Option<Duration> {
        self.lock().open_until?.checked_sub(now).filter(|left| !left.is_zero())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission<'_> {
    /// The issuer answered, whatever it said.
    pub(super) fn succeeded(self) {
        if let Some(mut state) = self.current() {
            *state = State { epoch: state.epoch, ..State::default() };
        }
    }

    /// The issuer did not answer; returns how long to stay away.
    pub(super) fn failed(self, now: Duration) -> Duration {
        let Some(mut state) = self.current() else { return FIRST_PAUSE };
        state.consecutive_failures = state.consecutive_failures.saturating_add(1);
        if state.consecutive_failures < FAILURES_TO_OPEN {
            return FIRST_PAUSE;
        }
        let pause = state.pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        state.pause = pause;
        state.open(now.saturating_add(pause));
        pause
    }

    /// The issuer asked to be left alone: opens at once.
    pub(super) fn trip(self, now: Duration, pause: Duration) -> Duration {
        let pause = pause.clamp(FIRST_PAUSE, LONGEST_TRIP);
        if let Some(mut state) = self.current() {
            state.consecutive_failures = FAILURES_TO_OPEN;
            state.open(now.saturating_add(pause));
        }
        pause
    }

    /// The state, unless the breaker has opened since this call was admitted.
    fn current(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.breaker.lock()).filter(|state| state.epoch == self.epoch)
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        // After a report the breaker is closed, or open with a later epoch: this changes nothing.
        if let Some(mut state) = self.current() {
            state.probing = false;
        }
    }
}

impl State {
    fn open(&mut self, until: Duration) {
        self.epoch += 1;
        self.probing = false;
        self.open_until = Some(until);
    }
}

const FAILURES_TO_OPEN: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_TRIP: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open(breaker: &Breaker) {
        for _ in 0..FAILURES_TO_OPEN {
            breaker.admit(at(0)).unwrap().failed(at(0));
        }
    }

    #[test]
    fn it_opens_after_consecutive_failures_only() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            breaker.admit(at(0)).unwrap().failed(at(0));
            breaker.admit(at(0)).unwrap().succeeded();
        }
        open(&breaker);
        assert_eq!(breaker.admit(at(0)).unwrap_err(), FIRST_PAUSE);
        assert_eq!(breaker.pause(at(0)), Some(FIRST_PAUSE));
    }

    #[test]
    fn one_probe_goes_through_and_closes_it() {
        let breaker = Breaker::default();
        open(&breaker);
        let probe = breaker.admit(at(1)).unwrap();
        assert!(breaker.admit(at(1)).is_err(), "one probe at a time");
        probe.succeeded();
        assert!(breaker.admit(at(1)).is_ok() && breaker.admit(at(1)).is_ok());
    }

    #[test]
    fn a_probe_that_was_not_used_is_free_again() {
        let breaker = Breaker::default();
        open(&breaker);
        drop(breaker.admit(at(1)).unwrap());
        assert!(breaker.admit(at(1)).is_ok());
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_longer() {
        let breaker = Breaker::default();
        open(&breaker);
        let mut now = at(1);
        for pause in [2, 4, 8, 10, 10] {
            assert_eq!(breaker.admit(now).unwrap().failed(now), at(pause));
            assert!(breaker.admit(now + at(pause) - Duration::from_millis(1)).is_err());
            now += at(pause);
        }
    }

    #[test]
    fn late_reports_change_nothing() {
        let breaker = Breaker::default();
        let calls: Vec<_> = (0..32).map(|_| breaker.admit(at(0)).unwrap()).collect();
        let late = breaker.admit(at(0)).unwrap();
        assert_eq!(breaker.admit(at(0)).unwrap().trip(at(0), Duration::MAX), LONGEST_TRIP);
        for call in calls {
            call.failed(at(0));
        }
        late.succeeded();
        assert_eq!(breaker.pause(at(0)), Some(LONGEST_TRIP));
    }
}
