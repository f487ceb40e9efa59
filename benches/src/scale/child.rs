//! What is measured in a process of its own: a fresh heap to count in, and one that can be killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokenkeep::{Engine, Options, TokenStore as _};

use super::clock::RunningClock;
use super::machine::{processor_time, resident_bytes};
use super::writers::refresh;
use crate::{NOW, instant, runtime};

/// What a child is to do; the argument that it is started with, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    directory: PathBuf,
    work: Work,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Work {
    /// Opens the store, says how that went, and closes it.
    Open { cache_bytes: usize, page_cache_bytes: usize, settling: Duration },
    /// Opens the store, refreshes some of so many records, and waits to be killed.
    Crash { records: u64 },
}

/// How opening a store went.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) seconds: f64,
    /// The same on the processor alone, waiting for nobody.
    pub(super) processor_seconds: f64,
    /// Bytes that are allocated and were not before.
    pub(super) allocated_bytes: f64,
    /// Bytes of the process that are in memory and were not before.
    pub(super) resident_bytes: f64,
    /// What the engine says that its index takes.
    pub(super) index_bytes: f64,
    pub(super) devices: u64,
}

/// Opens the store in `directory` in a fresh process.
pub(super) fn open(
    directory: &Path,
    cache_bytes: usize,
    page_cache_bytes: usize,
    settling: Duration,
) -> anyhow::Result<Opening> {
    let work = Work::Open { cache_bytes, page_cache_bytes, settling };
    let mut child = start(&Task { directory: directory.into(), work })?;
    let line = first_line(&mut child)?;
    anyhow::ensure!(child.wait()?.success(), "the process that opened the store failed");
    serde_json::from_str(&line).context("the process that opened the store said nothing")
}

/// Leaves the store in `directory` as a process that was killed leaves it.
pub(super) fn crash(directory: &Path, records: u64) -> anyhow::Result<()> {
    let mut child = start(&Task { directory: directory.into(), work: Work::Crash { records } })?;
    let line = first_line(&mut child)?;
    child.kill()?;
    child.wait()?;
    anyhow::ensure!(line.trim() == READY, "the process was to be killed at work, and ended");
    Ok(())
}

fn start(task: &Task) -> anyhow::Result<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(serde_json::to_string(task)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?)
}

fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let mut line = String::new();
    let output = child.stdout.as_mut().context("the process has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    Ok(line)
}

/// What a child does: `task` is its argument, `allocated` counts the bytes that are allocated.
///
/// # Errors
/// Whatever went wrong; whoever started it finds no answer.
pub fn run(task: &str, allocated: fn() -> usize) -> anyhow::Result<()> {
    let Task { directory, work } = serde_json::from_str(task)?;
    let options = Options::new().clock(Arc::new(RunningClock::new()));
    let answer = match work {
        Work::Open { cache_bytes, page_cache_bytes, settling } => {
            let options = options.cache_bytes(cache_bytes).page_cache_bytes(page_cache_bytes);
            serde_json::to_string(&measure(&directory, options, settling, allocated)?)?
        }
        Work::Crash { records } => {
            let engine = Engine::open(&directory, options)?;
            for number in 0..records.min(REFRESHES) {
                refresh(&engine, number, 1)?;
            }
            engine.blocking().flush()?;
            say(READY)?;
            // Until it is killed, or whoever would kill it is gone.
            std::io::stdin().read_line(&mut String::new())?;
            return Ok(());
        }
    };
    Ok(say(&answer)?)
}

fn measure(
    directory: &Path,
    options: Options,
    settling: Duration,
    allocated: fn() -> usize,
) -> anyhow::Result<Opening> {
    let (allocated_before, resident_before) = (allocated(), resident_bytes());
    let (begun, processor) = (instant(), processor_time());
    let engine = Engine::open(directory, options)?;
    let seconds = begun.elapsed().as_secs_f64();
    let processor = processor_time().saturating_sub(processor);
    if !settling.is_zero() {
        // A moment in which the engine does what it does after opening.
        let _ = crossbeam_channel::after(settling).recv();
    }
    let (allocated, resident) = (allocated(), resident_bytes());
    let index_bytes = engine.figures().index_bytes as f64;
    let devices = runtime().block_on(engine.stats(NOW))?.devices;
    engine.blocking().close()?;
    Ok(Opening {
        seconds,
        processor_seconds: processor.as_secs_f64(),
        allocated_bytes: allocated as f64 - allocated_before as f64,
        resident_bytes: resident as f64 - resident_before as f64,
        index_bytes,
        devices,
    })
}

fn say(line: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

const READY: &str = "ready";
/// How much a process does before it is killed.
const REFRESHES: u64 = 1000;
