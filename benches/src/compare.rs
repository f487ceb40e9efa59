//! The comparison of the engine with its peers: the same work, the same durability, in one run.

mod contender;
mod keys;
mod machine;
mod measure;
mod output;
mod plan;
mod plot;
mod result;
mod table;
mod targets;

pub use contender::Contender;
pub use machine::Machine;
pub use output::write;
pub use plan::Plan;
pub use plot::plot;
pub use result::{Cell, Comparison, Keys, Operation, Setup};
pub use table::{operation_table, target_table};
pub use targets::{Target, Wanted, targets};

use std::path::Path;

use anyhow::{Context as _, Result};

/// Carries out `plan` in fresh directories below `directory`; `progress` hears of every step.
///
/// # Errors
/// What a store says; a comparison with a hole in it is none.
pub fn run(plan: &Plan, directory: &Path, progress: &dyn Fn(&str)) -> Result<Comparison> {
    let mut cells = Vec::new();
    for records in plan.records.iter().copied() {
        for contender in plan.contenders.iter().copied() {
            let measured = contender.measure(plan, records, directory, progress);
            let name = contender.label();
            cells.extend(measured.with_context(|| format!("{name} with {records} records"))?);
        }
    }
    Ok(Comparison {
        machine: Machine::this(directory),
        versions: plan.contenders.iter().map(|contender| contender.version()).collect(),
        cells,
    })
}
