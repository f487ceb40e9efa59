//! How long single reads took, and which share of them took how long.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies from a nanosecond to a minute, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_NANOS, 3)?))
    }

    /// Counts one; what took longer than a minute counts as a minute.
    pub(super) fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NANOS);
        self.0.saturating_record(nanos.max(1));
    }

    pub(super) fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The nanoseconds within which this share of the reads was done.
    pub(super) fn within(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64
    }
}

/// The shares that are reported, with their names.
pub(super) const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];

const LONGEST_NANOS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanos: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new().unwrap();
        nanos.into_iter().for_each(|nanos| latencies.record(Duration::from_nanos(nanos)));
        latencies
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected / 500.0, "{found}, not {expected}");
    }

    #[test]
    fn a_share_is_the_latency_that_so_many_did_not_exceed() {
        let latencies = of((1..=10_000).rev().map(|n| n * 100));
        near(latencies.within(0.5), 500_000.0);
        near(latencies.within(0.99), 990_000.0);
        near(latencies.within(0.999), 999_000.0);
        near(latencies.within(1.0), 1_000_000.0);
    }

    #[test]
    fn one_slow_read_in_a_hundred_is_beyond_p99_and_two_are_not() {
        near(of((0..99).map(|_| 10).chain([5_000])).within(0.99), 10.0);
        near(of((0..98).map(|_| 10).chain([5_000; 2])).within(0.99), 5_000.0);
    }

    #[test]
    fn merged_latencies_are_those_of_all_threads() {
        let mut merged = of((1..=500).map(|n| n * 1000));
        merged.merge(&of((501..=1000).map(|n| n * 1000))).unwrap();
        let all = of((1..=1000).map(|n| n * 1000));
        assert_eq!(merged.count(), 1000);
        for (_, share) in SHARES {
            assert_eq!(merged.within(share), all.within(share));
        }
    }

    #[test]
    fn extremes_are_counted_too() {
        let latencies = of([0, u64::MAX]);
        assert_eq!(latencies.count(), 2);
        near(latencies.within(0.5), 1.0);
        near(latencies.within(1.0), LONGEST_NANOS as f64);
    }
}
