//! A comparison as files: `compare.json`, `compare.csv` and `compare.svg`.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Comparison, plot};

/// Writes the files into `directory`.
///
/// # Errors
/// A file that cannot be written.
pub fn write(comparison: &Comparison, directory: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(comparison)?;
    fs::write(directory.join("compare.json"), json + "\n")?;
    let mut table = csv::Writer::from_path(directory.join("compare.csv"))?;
    for cell in &comparison.cells {
        table.serialize(cell)?;
    }
    table.flush()?;
    fs::write(directory.join("compare.svg"), plot(comparison))?;
    Ok(())
}
