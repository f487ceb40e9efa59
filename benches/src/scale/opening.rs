//! How long a store takes to open: closed properly before, or killed at work.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::Section;
use super::child::{self, Opening};
use super::finding::{Finding, Unit};
use super::site::{Site, Store, stage};

pub(super) fn run(site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut found = site.findings(Section::Opening);
    let records = site.records;
    let rounds = if records > LARGE { 1 } else { ROUNDS };
    let store = site.store()?;
    stage(&format!("opening {records} records"));
    found.note("file", store.file_bytes()? as f64, Unit::Bytes);
    #[cfg(unix)]
    found.note("file, on the disk", store.disk_bytes()? as f64, Unit::Bytes);
    for state in [State::JustRead, State::NotCached, State::Killed] {
        let openings = (0..rounds).map(|_| open(store, records, state));
        let openings = openings.collect::<anyhow::Result<Vec<_>>>()?;
        let seconds = median(openings.iter().map(|opening| opening.seconds));
        let what = format!("open, {}", state.name());
        // With few records it is the fixed cost that is seen.
        if records >= MILLION {
            found.hold(&what, seconds, Unit::Seconds, records as f64 / MILLION as f64);
        } else {
            found.note(&what, seconds, Unit::Seconds);
        }
        let processor = median(openings.iter().map(|opening| opening.processor_seconds));
        found.note(&format!("{what}: processor time"), processor, Unit::Seconds);
        let per_million = seconds * MILLION as f64 / records as f64;
        found.note(&format!("{what}, a million devices"), per_million, Unit::Seconds);
    }
    Ok(found.done())
}

/// How the file was left, and how much of it the operating system has in memory. The engine lets
/// the operating system forget it at opening, so that the first two should be alike.
#[derive(Clone, Copy, Debug)]
enum State {
    JustRead,
    NotCached,
    Killed,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::JustRead => "closed, file just read",
            Self::NotCached => "closed, file not cached",
            Self::Killed => "killed",
        }
    }
}

fn open(store: &Store, records: u64, state: State) -> anyhow::Result<Opening> {
    match state {
        State::JustRead => {
            std::io::copy(&mut File::open(store.file())?, &mut std::io::sink())?;
        }
        State::NotCached => forget_cached(&store.file())?,
        State::Killed => child::crash(store.path(), records)?,
    }
    let opening = child::open(store.path(), CACHE_BYTES, PAGE_CACHE_BYTES, Duration::ZERO)?;
    let devices = opening.devices;
    anyhow::ensure!(devices == records, "{devices} devices were found, not {records}");
    Ok(opening)
}

/// Lets the operating system forget the file, as far as it does what it is asked.
fn forget_cached(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// The value in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// So many devices may take a second to open.
const MILLION: u64 = 1_000_000;
const ROUNDS: usize = 3;
/// From so many records on, once must do.
const LARGE: u64 = 2_000_000;
/// The engine's own default.
const CACHE_BYTES: usize = 256 << 20;
const PAGE_CACHE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median([5.0, 1.0, 3.0].into_iter()), 3.0);
        assert_eq!(median([7.0].into_iter()), 7.0);
        assert!(median([].into_iter()).is_nan(), "nothing is no figure");
    }
}
