//! How long a comparison takes, and of what.

use std::time::Duration;

use super::Contender;

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many records live, one run after the other.
    pub records: Vec<u64>,
    /// Who is compared, in the order of the tables.
    pub contenders: Vec<Contender>,
    /// How long one repetition of a durable write takes.
    pub writing: Duration,
    /// How long one repetition of a read takes.
    pub reading: Duration,
    /// How long a store may warm up before it is read.
    pub warming: Duration,
    /// How often a cell is measured; the median counts.
    pub repetitions: usize,
    /// How many records die at once.
    pub dying: u64,
}

impl Plan {
    /// Everything, within half an hour on two cores.
    #[must_use]
    pub fn full() -> Self {
        Self {
            records: vec![10_000, 100_000, 1_000_000],
            contenders: Contender::present(),
            writing: Duration::from_millis(800),
            reading: Duration::from_millis(300),
            warming: Duration::from_secs(3),
            repetitions: 3,
            dying: 10_000,
        }
    }

    /// For every day: less than three minutes.
    #[must_use]
    pub fn short() -> Self {
        Self {
            records: vec![100_000],
            writing: Duration::from_millis(250),
            reading: Duration::from_millis(100),
            warming: Duration::from_millis(500),
            ..Self::full()
        }
    }

    /// How many steps [`run`](super::run) will tell of.
    #[must_use]
    pub fn steps(&self) -> usize {
        let setups = |contender: &Contender| -> usize {
            let operations = contender.operations().iter();
            1 + operations.map(|operation| operation.setups().len()).sum::<usize>()
        };
        self.records.len() * self.contenders.iter().map(setups).sum::<usize>()
    }
}
