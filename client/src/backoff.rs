//! How long to wait before trying again.

use std::time::Duration;

/// Doubling waits with jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    tried: u32,
}

impl Backoff {
    /// Waits from about `first` up to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, tried: 0 }
    }

    /// Begins again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.tried = 0;
    }

    /// The next wait: at least `asked`, which is what the server wants.
    pub(crate) fn next(&mut self, asked: Duration) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.tried).unwrap_or(u32::MAX));
        self.tried = self.tried.saturating_add(1);
        let wait = doubled.min(self.longest);
        // Half of it at random: callers that failed together do not come back together.
        asked.max(wait / 2).saturating_add((wait / 2).mul_f64(fraction()))
    }
}

/// A number from 0 to 1; without random bytes the middle will do.
fn fraction() -> f64 {
    getrandom::u32().map_or(0.5, |drawn| f64::from(drawn) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        for longest in [100, 200, 350, 350] {
            let wait = backoff.next(Duration::ZERO);
            assert!(wait >= ms(longest) / 2 && wait <= ms(longest), "{wait:?} of {longest} ms");
        }
        backoff.reset();
        assert!(backoff.next(Duration::ZERO) <= ms(100));
        assert!(backoff.next(ms(2_000)) >= ms(2_000), "the server's wish is the least");
        assert!((0..100).all(|_| backoff.next(Duration::ZERO) <= ms(350)));
    }
}
