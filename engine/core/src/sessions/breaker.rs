//! The circuit breaker towards the issuer: while it is open, nobody waits for a time-out.

use std::sync::{Mutex, PoisonError};
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
    consecutive_failures: u32,
    /// Nobody is let through before this instant.
    shut_until: Option<Duration>,
    /// How long it stays open after the next failure.
    pause: Duration,
}

impl Breaker {
    /// Lets a call through, or says how long to stay away. Whoever is let through reports how
    /// it went, or is taken for lost after `probe_limit`.
    pub(super) fn admit(&self, now: Duration, probe_limit: Duration) -> Result<(), Duration> {
        let mut state = self.lock();
        match state.shut_until {
            None => Ok(()),
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                // One probe; the others stay away until it is back.
                state.shut_until = Some(now + probe_limit);
                Ok(())
            }
        }
    }

    /// How long to stay away, for whoever would only prepare a call.
    pub(super) fn pause(&self, now: Duration) -> Option<Duration> {
        self.lock().shut_until?.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// The issuer answered, whatever it said.
    pub(super) fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// The issuer did not answer; returns how long to stay away.
    pub(super) fn failed(&self, now: Duration) -> Duration {
        let mut state = self.lock();
        state.consecutive_failures = state.consecutive_failures.saturating_add(1);
        if state.consecutive_failures < FAILURES_TO_OPEN {
            return FIRST_PAUSE;
        }
        state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        state.shut_until = Some(now + state.pause);
        state.pause
    }

    /// The issuer asked to be left alone, or an operator must act: opens at once.
    pub(super) fn trip(&self, now: Duration, pause: Duration) -> Duration {
        let pause = pause.clamp(FIRST_PAUSE, LONGEST_TRIP);
        let mut state = self.lock();
        state.consecutive_failures = FAILURES_TO_OPEN;
        state.shut_until = Some(now + pause);
        pause
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FAILURES_TO_OPEN: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_TRIP: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Duration = Duration::from_secs(10);

    fn open(breaker: &Breaker, now: Duration) {
        for _ in 0..FAILURES_TO_OPEN {
            assert!(breaker.admit(now, PROBE).is_ok(), "closed until the last failure");
            breaker.failed(now);
        }
    }

    #[test]
    fn it_opens_after_consecutive_failures_only() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(Duration::ZERO);
            breaker.succeeded();
        }
        assert!(breaker.admit(Duration::ZERO, PROBE).is_ok());
        open(&breaker, Duration::ZERO);
        assert_eq!(breaker.admit(Duration::ZERO, PROBE), Err(FIRST_PAUSE));
    }

    #[test]
    fn one_probe_goes_through_and_closes_it() {
        let breaker = Breaker::default();
        open(&breaker, Duration::ZERO);
        assert!(breaker.admit(FIRST_PAUSE, PROBE).is_ok());
        assert!(breaker.admit(FIRST_PAUSE, PROBE).is_err(), "one probe at a time");
        breaker.succeeded();
        assert!(breaker.admit(FIRST_PAUSE, PROBE).is_ok());
    }

    #[test]
    fn a_lost_probe_does_not_close_it_for_ever() {
        let breaker = Breaker::default();
        open(&breaker, Duration::ZERO);
        assert!(breaker.admit(FIRST_PAUSE, PROBE).is_ok());
        assert!(breaker.admit(FIRST_PAUSE + PROBE, PROBE).is_ok());
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let breaker = Breaker::default();
        open(&breaker, Duration::ZERO);
        let pauses: Vec<u64> = (0..5).map(|_| breaker.failed(Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 10, 10]);
        assert_eq!(breaker.trip(Duration::ZERO, Duration::MAX), LONGEST_TRIP);
    }
}
