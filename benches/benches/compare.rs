//! The engine beside its peers, on the same work with the same durability.
//!
//! `cargo bench -p tokenkeep-benches --bench compare -- --short` for every day; without `--short`
//! it takes about half an hour. See `benches/README.md`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokenkeep_benches::compare::{
    Comparison, Contender, Operation, Plan, operation_table, run, target_table, targets, write,
};

/// Compares tokenkeep with its peers and prints tables, targets, and where the files are.
#[derive(Debug, Parser)]
struct Arguments {
    /// Less than three minutes: 100 000 records, less time for each figure.
    #[arg(long)]
    short: bool,
    /// How many records live, one run for each size.
    #[arg(long, value_delimiter = ',')]
    records: Vec<u64>,
    /// Only these stores.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Where the files go; `target/compare` unless told.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let plan = plan(&arguments)?;
    let out = arguments.out.map_or_else(default_out, Ok)?;
    fs::create_dir_all(&out)?;
    let progress = progress(plan.steps());
    let comparison = run(&plan, &out, &|step| {
        progress.inc(1);
        progress.set_message(step.to_owned());
        // Without a terminal there is no bar, and one line for each store tells enough.
        if progress.is_hidden() && step.ends_with("loading") {
            eprintln!("[{}/{}] {step}", progress.position(), plan.steps());
        }
    })?;
    progress.finish_and_clear();
    print(&comparison, &plan);
    write(&comparison, &out)?;
    println!("\n{}/compare.json, .csv and .svg", out.display());
    Ok(())
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let mut plan = if arguments.short { Plan::short() } else { Plan::full() };
    if !arguments.records.is_empty() {
        ensure!(!arguments.records.contains(&0), "a store without records cannot be read");
        plan.records.clone_from(&arguments.records);
    }
    if !arguments.only.is_empty() {
        plan.contenders.clone_from(&arguments.only);
    }
    plan.contenders.retain(|contender| contender.is_present());
    if !Contender::Redis.is_present() {
        eprintln!(
            "Redis is left out: redis-server is not installed (apt-get install redis-server)"
        );
    }
    Ok(plan)
}

/// `compare` in the target directory.
fn default_out() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    Ok(target.context("the target directory has no parent")?.join("compare"))
}

fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("[{elapsed_precise}] {pos}/{len} {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    bar
}

fn print(comparison: &Comparison, plan: &Plan) {
    let machine = &comparison.machine;
    println!(
        "{}, {} cores, {} GiB, {}, {}",
        machine.cpu,
        machine.cores,
        machine.memory_bytes >> 30,
        machine.kernel,
        machine.file_system
    );
    println!("{}", comparison.versions.join(", "));
    println!("median of {} repetitions", plan.repetitions);
    for records in comparison.sizes() {
        println!("\n# {records} records");
        for operation in Operation::ALL {
            println!("\n{}", operation_table(comparison, records, operation));
        }
    }
    for cell in comparison.cells.iter().filter(|cell| cell.note.is_some()) {
        let (name, note) = (cell.contender.label(), cell.note.as_deref().unwrap_or_default());
        println!("{name}, {} records, {}: {note}", cell.records, cell.operation.label());
    }
    println!("\n{FOOTNOTES}");
    if let Some(records) = comparison.sizes().last() {
        println!("\n# Targets, at {records} records\n");
        println!("{}", target_table(&targets(comparison, *records)));
    }
}

const FOOTNOTES: &str = "\
tokenkeep seals what it stores and hands out opened, decoded records; the peers store plain bytes
and hand out raw bytes. Redis is asked over loopback, the others in the process. Redis does not take
dead devices out of the sets of their emails.";
