//! What a comparison found.

use std::fmt;

use serde::Serialize;

use super::{Contender, Machine};

/// What is done to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Free what died.
    Expire,
    /// Read one record.
    Get,
    /// Read the records of one user.
    List,
    /// Replace a record, durably.
    Refresh,
    /// Store a login, durably.
    Insert,
}

/// How the records are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// All alike.
    Uniform,
    /// Few of them most of the time: zipf with exponent 0.99.
    Zipf,
}

/// Who asks, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How many threads ask at once.
    pub threads: usize,
    /// For which records.
    pub keys: Keys,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Which store.
    pub contender: Contender,
    /// How many records lived in it.
    pub records: u64,
    /// What was done.
    pub operation: Operation,
    /// By how many threads.
    pub threads: usize,
    /// To which records.
    pub keys: Keys,
    /// Operations per second, the median of the repetitions; none if the store did not get done.
    pub per_second: Option<f64>,
    /// The slowest repetition.
    pub least_per_second: Option<f64>,
    /// The fastest repetition.
    pub most_per_second: Option<f64>,
    /// Half of the operations took at most so many microseconds.
    pub p50_micros: Option<f64>,
    /// 99 of 100 operations took at most so many microseconds.
    pub p99_micros: Option<f64>,
    /// What must be known of the figure.
    pub note: Option<String>,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Where it ran.
    pub machine: Machine,
    /// The stores and their versions.
    pub versions: Vec<String>,
    /// The figures.
    pub cells: Vec<Cell>,
}

impl Operation {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Get, Self::Insert, Self::Refresh, Self::List, Self::Expire];

    /// In which setups it is measured.
    #[must_use]
    pub const fn setups(self) -> &'static [Setup] {
        const fn setup(threads: usize, keys: Keys) -> Setup {
            Setup { threads, keys }
        }
        use Keys::{Uniform, Zipf};
        match self {
            Self::Expire => const { &[setup(1, Uniform)] },
            Self::Get => {
                const { &[setup(1, Uniform), setup(64, Uniform), setup(1, Zipf), setup(64, Zipf)] }
            }
            Self::List => const { &[setup(1, Uniform), setup(64, Uniform)] },
            Self::Refresh => {
                const { &[setup(1, Uniform), setup(16, Uniform), setup(64, Uniform), setup(64, Zipf)] }
            }
            // A login is of a device that nobody has seen before, however keys are chosen.
            Self::Insert => const { &[setup(1, Uniform), setup(16, Uniform), setup(64, Uniform)] },
        }
    }

    /// What the tables call it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Expire => "expire: dead records freed",
            Self::Get => "get: point reads",
            Self::List => "list: devices of an email",
            Self::Refresh => "refresh: durable replaces",
            Self::Insert => "insert: durable logins",
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zipf = if self.keys == Keys::Zipf { ", zipf" } else { "" };
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{} {threads}{zipf}", self.threads)
    }
}

impl Comparison {
    /// The figure of `contender`, if it was measured.
    #[must_use]
    pub fn cell(
        &self,
        contender: Contender,
        records: u64,
        operation: Operation,
        setup: Setup,
    ) -> Option<&Cell> {
        self.cells.iter().find(|cell| {
            (cell.contender, cell.records, cell.operation) == (contender, records, operation)
                && (cell.threads, cell.keys) == (setup.threads, setup.keys)
        })
    }

    /// How many times as fast `contender` is as `peer`.
    #[must_use]
    pub fn ratio(
        &self,
        (contender, peer): (Contender, Contender),
        records: u64,
        operation: Operation,
        setup: Setup,
    ) -> Option<f64> {
        let rate = |of| self.cell(of, records, operation, setup)?.per_second;
        Some(rate(contender)? / rate(peer)?)
    }

    /// The sizes that were measured, the largest last.
    #[must_use]
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.cells.iter().map(|cell| cell.records).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The stores that were measured, in their order.
    #[must_use]
    pub fn contenders(&self) -> Vec<Contender> {
        let mut contenders = Vec::new();
        for cell in &self.cells {
            if !contenders.contains(&cell.contender) {
                contenders.push(cell.contender);
            }
        }
        contenders
    }
}
