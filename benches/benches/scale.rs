//! The engine with many records: opening, memory, reads, readers beside writers, space, expiry.
//!
//! `cargo bench -p tokenkeep-benches --bench scale -- [SECTION...] [--records 10000,1000000]`
//!
//! Ten million records need about 20 GB of disk: `--records 10000000 opening memory reads`.
#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::alloc::System;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use cap::Cap;
use clap::Parser;
use serde::Serialize;
use tokenkeep_benches::scale::machine::Machine;
use tokenkeep_benches::scale::{Finding, Section, Settings, Site, across, child, table};

/// Counts the bytes that are allocated, as the program asked for them.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Measures the engine with many records, and says which targets are met.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything unless told.
    sections: Vec<Section>,
    /// Numbers of live records.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000],
          value_parser = clap::value_parser!(u64).range(1000..))]
    records: Vec<u64>,
    /// How long readers read for one figure, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often the churn refreshes every record.
    #[arg(long, default_value_t = 10)]
    churn: u64,
    /// How many records die.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    dying: u64,
    /// Where stores are made; below the build's directory unless told.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Appends the figures to this file, one JSON object a line. Cargo runs benches in the
    /// directory of their package: a relative path begins there.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What a process that this one started has to do.
    #[arg(long, hide = true)]
    child: Option<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(task) = &arguments.child {
        return child::run(task, || ALLOCATOR.allocated());
    }
    let directory = arguments.directory.clone().unwrap_or_else(beside_the_build);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let settings = Settings {
        directory,
        reading: Duration::from_secs(arguments.seconds),
        churn: arguments.churn,
        dying: arguments.dying,
    };
    let machine = Machine::this();
    println!("{machine}");
    let json = arguments.json.as_deref().map(open).transpose()?;
    let mut report = Report { machine, json, all: Vec::new() };
    let mut sizes = arguments.records.clone();
    sizes.sort_unstable();
    for records in sizes {
        let mut site = Site::new(&settings, records);
        for section in Section::ALL {
            if arguments.sections.is_empty() || arguments.sections.contains(&section) {
                report.add(section.run(&mut site)?)?;
            }
        }
    }
    report.add(across(&report.all))?;
    println!("{}\n{}", report.machine, table(&report.all));
    Ok(())
}

/// Stores are made on the disk that the build is on, which is a real one; `/tmp` may be memory.
fn beside_the_build() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale")
}

/// Opened before anything is measured: a figure that cannot be kept is no use.
fn open(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("{} cannot be written", path.display()))
}

/// What was found so far.
struct Report {
    machine: Machine,
    json: Option<File>,
    all: Vec<Finding>,
}

/// A line of the JSON file.
#[derive(Serialize)]
struct Line<'a> {
    machine: &'a Machine,
    #[serde(flatten)]
    finding: &'a Finding,
}

impl Report {
    /// Keeps what a section found, in the file, too: a later section may fail.
    fn add(&mut self, found: Vec<Finding>) -> anyhow::Result<()> {
        if let Some(file) = &mut self.json {
            for finding in &found {
                let line = Line { machine: &self.machine, finding };
                writeln!(file, "{}", serde_json::to_string(&line)?)?;
            }
        }
        if !found.is_empty() {
            println!("\n{}\n", table(&found));
        }
        self.all.extend(found);
        Ok(())
    }
}
