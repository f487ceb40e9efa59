//! Counts what a run of the model did, so that one sees what it never does.

use std::collections::BTreeMap;
use std::fmt;

/// How many operations a run did, and how often each went which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    operations: u64,
    outcomes: BTreeMap<String, u64>,
}

impl Tally {
    /// How many operations were carried out.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// How often an operation went a certain way: `insert ceiling`, `crash`.
    #[must_use]
    pub fn times(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or(0)
    }

    /// Counts what another run did, too.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        for (outcome, times) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += times;
        }
    }

    pub(super) fn operation(&mut self, name: &str, outcome: &str) {
        self.operations += 1;
        self.event(&format!("{name} {outcome}"));
    }

    pub(super) fn event(&mut self, name: &str) {
        *self.outcomes.entry(name.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} operations", self.operations)?;
        self.outcomes.iter().try_for_each(|(outcome, times)| writeln!(f, "{times:>9} {outcome}"))
    }
}
