//! The stores behind the session flow, beside each other, and servers that share one Redis.
//!
//! `cargo bench -p tokenkeep-benches --bench stores [-- --records 100000 --seconds 5 --csv FILE]`
#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use tokenkeep_benches::compare::Machine;
use tokenkeep_benches::stores::{self, Plan, Row};

/// Measures every store in one run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Records that each store holds when it begins.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1000..))]
    records: u64,
    /// How long each figure is measured, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Writes the figures to this file. Cargo runs benches in the directory of their package: a
    /// relative path begins there.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// What a process that this one started has to do.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(url) = &arguments.serve {
        return stores::serve_child(url);
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stores");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let plan = Plan { records: arguments.records, time: Duration::from_secs(arguments.seconds) };
    let mut rows = Vec::new();
    stores::run(&directory, &plan, |row| rows.push(row))?;
    if let Some(path) = &arguments.csv {
        let mut file = csv::Writer::from_path(path).context(path.display().to_string())?;
        rows.iter().try_for_each(|row| file.serialize(row))?;
        file.flush()?;
    }
    let machine = Machine::this(&directory);
    println!(
        "{}, {} cores; {} records\n{}",
        machine.cpu,
        machine.cores,
        plan.records,
        table(&rows)
    );
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["store", "work", "at once", "servers", "a second", "p50 us", "p99 us"]);
    for row in rows {
        let servers = if row.servers == 0 { "-".into() } else { row.servers.to_string() };
        table.add_row([
            row.store.to_owned(),
            row.what.to_string(),
            row.at_once.to_string(),
            servers,
            format!("{:.0}", row.rate),
            format!("{:.0}", row.p50_micros),
            format!("{:.0}", row.p99_micros),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
