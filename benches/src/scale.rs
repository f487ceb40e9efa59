//! What becomes of the engine's promises when there are many records: opening, memory, reads,
//! readers beside writers, space under refreshes, expiry.

mod across;
mod bare_map;
pub mod child;
mod churn;
mod clock;
mod contention;
mod expiry;
mod finding;
mod latency;
mod loading;
pub mod machine;
mod memory;
mod opening;
mod picks;
mod readers;
mod reads;
mod site;
mod writers;

pub use across::across;
pub use finding::{Finding, Unit, table};
pub use site::Site;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// A part of the benches that can be run alone. They run in this order: what writes comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// The time until a store is open, closed properly before or killed.
    Opening,
    /// The memory that the index takes.
    Memory,
    /// Point reads, cached and not, uniform and zipf.
    Reads,
    /// Point reads while 64 threads refresh.
    ReadersUnderWriters,
    /// The size of the file while every record is refreshed many times.
    Churn,
    /// Many records that die within seconds.
    Expiry,
}

impl Section {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 6] = [
        Self::Opening,
        Self::Memory,
        Self::Reads,
        Self::ReadersUnderWriters,
        Self::Churn,
        Self::Expiry,
    ];

    /// Runs it on `site`.
    ///
    /// # Errors
    /// Whatever went wrong: then there are no figures.
    pub fn run(self, site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
        match self {
            Self::Opening => opening::run(site),
            Self::Memory => memory::run(site),
            Self::Reads => reads::run(site),
            Self::ReadersUnderWriters => contention::run(site),
            Self::Churn => churn::run(site),
            Self::Expiry => expiry::run(site),
        }
    }
}

/// How long and how large.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the stores are made, and removed again.
    pub directory: PathBuf,
    /// How long readers read for one figure.
    pub reading: Duration,
    /// How often every record is refreshed by the churn.
    pub churn: u64,
    /// How many records die.
    pub dying: u64,
}
