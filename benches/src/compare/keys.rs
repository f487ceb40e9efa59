//! Which records are asked for.

use std::sync::Arc;

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};

use super::Keys;
use crate::scatter;

/// Zipf draws made beforehand, because a draw takes as long as a read of a cached record.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    records: u64,
    zipf: Arc<[u32]>,
}

/// Chooses one record after another, for one thread.
#[derive(Clone, Debug)]
pub(super) struct Picker {
    draws: Draws,
    keys: Keys,
    next: u64,
}

impl Draws {
    pub(super) fn new(records: u64) -> Result<Self> {
        let zipf = Zipf::new(records as f64, EXPONENT)?;
        let mut random = SmallRng::seed_from_u64(SEED);
        let draw = |_| {
            let rank = zipf.sample(&mut random) as u64 - 1;
            // The popular ones are spread over all, instead of being the first that were loaded.
            (rank * SPREAD % records) as u32
        };
        Ok(Self { records, zipf: (0..DRAWS).map(draw).collect() })
    }

    /// The choices of one thread in one repetition.
    pub(super) fn picker(&self, keys: Keys, thread: u64) -> Picker {
        Picker { draws: self.clone(), keys, next: scatter(thread) >> 1 }
    }
}

impl Picker {
    pub(super) fn pick(&mut self) -> u64 {
        self.next += 1;
        match self.keys {
            Keys::Uniform => scatter(self.next) % self.draws.records,
            Keys::Zipf => {
                let at = self.next as usize % self.draws.zipf.len();
                self.draws.zipf.get(at).copied().map_or(0, u64::from)
            }
        }
    }
}

const EXPONENT: f64 = 0.99;
const SEED: u64 = 7;
const DRAWS: usize = 1 << 20;
/// A prime larger than any number of records: ranks stay apart.
const SPREAD: u64 = 2_654_435_761;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn counts(keys: Keys) -> Vec<usize> {
        let mut picker = Draws::new(1000).unwrap().picker(keys, 3);
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for _ in 0..100_000 {
            *counts.entry(picker.pick()).or_default() += 1;
        }
        assert!(counts.keys().all(|number| *number < 1000));
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        counts.reverse();
        counts
    }

    #[test]
    fn uniform_keys_are_all_alike() {
        let counts = counts(Keys::Uniform);
        assert_eq!(counts.len(), 1000);
        assert!(counts[0] < 200 && counts[999] > 40, "{counts:?}");
    }

    #[test]
    fn the_most_popular_zipf_key_is_drawn_twice_as_often_as_the_second() {
        let counts = counts(Keys::Zipf);
        // With exponent 0.99 over 1000 keys, rank 1 has 13.0 % of the draws and rank 2 has 6.5 %.
        assert!((12_000..14_000).contains(&counts[0]), "{counts:?}");
        assert!((6_000..7_100).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn ranks_stay_apart() {
        let mut spread: Vec<u64> = (0..10_000).map(|rank| rank * SPREAD % 10_000).collect();
        spread.sort_unstable();
        spread.dedup();
        assert_eq!(spread.len(), 10_000);
    }
}
