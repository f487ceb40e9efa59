//! Which devices are asked for: drawn before the clock starts.

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};
use tokenkeep::DeviceId;

use crate::{device, scatter};

/// How reads are spread over the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Every device alike.
    Uniform,
    /// The n-th most popular device with a weight of 1/n.
    Zipf,
}

impl Spread {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }

    /// `count` numbers below `devices`, the same ones for the same seed.
    pub(super) fn numbers(self, devices: u64, count: u64, seed: u64) -> anyhow::Result<Vec<u64>> {
        let devices = devices.max(1);
        match self {
            Self::Uniform => {
                let start = scatter(seed);
                Ok((0..count).map(|n| scatter(start.wrapping_add(n)) % devices).collect())
            }
            Self::Zipf => {
                let zipf = Zipf::new(devices as f64, 1.0)?;
                let mut random = SmallRng::seed_from_u64(seed);
                // Popular devices are not neighbours in the file.
                let number = |_| scatter(zipf.sample(&mut random) as u64) % devices;
                Ok((0..count).map(number).collect())
            }
        }
    }

    /// `count` of the first `devices` devices.
    pub(super) fn devices(
        self,
        devices: u64,
        count: u64,
        seed: u64,
    ) -> anyhow::Result<Vec<DeviceId>> {
        Ok(self.numbers(devices, count, seed)?.into_iter().map(device).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const DEVICES: u64 = 1000;
    const COUNT: u64 = 200_000;

    fn frequencies(spread: Spread) -> Vec<u64> {
        let mut counts = HashMap::new();
        for number in spread.numbers(DEVICES, COUNT, 1).unwrap() {
            assert!(number < DEVICES);
            *counts.entry(number).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn uniform_picks_hit_every_device_about_as_often() {
        let counts = frequencies(Spread::Uniform);
        assert_eq!(counts.len() as u64, DEVICES);
        assert!(counts[0] < 300 && counts[counts.len() - 1] > 120, "{counts:?}");
    }

    #[test]
    fn the_most_popular_device_of_zipf_has_its_share() {
        let counts = frequencies(Spread::Zipf);
        // 1 / (1 + 1/2 + ... + 1/1000) is 13.4 %; another device may share its number.
        let share = counts[0] as f64 / COUNT as f64;
        assert!((0.12..0.16).contains(&share), "{share}");
        assert!(counts[0] > 50 * counts[100]);
    }

    #[test]
    fn a_seed_gives_the_same_picks_again_and_another_gives_others() {
        for spread in [Spread::Uniform, Spread::Zipf] {
            let picks = |seed| spread.numbers(DEVICES, 100, seed).unwrap();
            assert_eq!(picks(1), picks(1));
            assert_ne!(picks(1), picks(2));
        }
    }
}
