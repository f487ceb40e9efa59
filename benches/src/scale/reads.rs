//! How long a point read takes, from memory and from the file.

use anyhow::Context as _;
use tokenkeep::{DeviceId, Engine, Options};

use super::Section;
use super::bare_map::BareMap;
use super::finding::{Finding, Unit};
use super::latency::{Latencies, SHARES};
use super::machine::available_bytes;
use super::picks::Spread;
use super::site::{Findings, Site, stage};
use crate::{NOW, device, instant};

pub(super) fn run(site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut found = site.findings(Section::Reads);
    let records = site.records;
    let store = site.store()?;
    found.note("reading the clock", clock_nanos(), Unit::Nanos);
    stage(&format!("reading from {records} records, cached"));
    let hot = hot(records);
    let (engine, _clock) = store.open(Options::new().cache_bytes(cache_for(hot)))?;
    warm(&engine, hot)?;
    found.note("cached records", engine.figures().cached_records as f64, Unit::Count);
    let map = BareMap::of(&engine, hot)?;
    for spread in SPREADS {
        let picks = spread.devices(hot, CACHED_READS, 1)?;
        let what = format!("get, cached, {}", spread.name());
        let mean = report(&mut found, &engine, &what, &picks)?;
        let bare = mean_nanos(&picks, |device| map.read(device))?;
        found.note(&format!("bare map, {}: mean", spread.name()), bare, Unit::Nanos);
        found.hold(&format!("{what}: mean over bare map"), mean / bare, Unit::Times, OVER_BARE);
    }
    drop(map);
    let kept = engine.figures().cached_records;
    anyhow::ensure!(kept == hot, "{kept} of {hot} records stayed in the cache");
    engine.blocking().close()?;
    drop(engine);
    stage(&format!("reading from {records} records, not cached"));
    let (engine, _clock) = store.open(Options::new().cache_bytes(0))?;
    for spread in SPREADS {
        let picks = spread.devices(records, FILE_READS, 2)?;
        // What the operating system can keep in memory of the file, it has after a first round.
        mean_nanos(&picks, |device| read(&engine, device))?;
        report(&mut found, &engine, &format!("get, not cached, {}", spread.name()), &picks)?;
    }
    engine.blocking().close()?;
    Ok(found.done())
}

/// The mean without a reading of the clock at every read, and the shares with one. Returns the
/// mean.
fn report(
    found: &mut Findings,
    engine: &Engine,
    what: &str,
    picks: &[DeviceId],
) -> anyhow::Result<f64> {
    let mean = mean_nanos(picks, |device| read(engine, device))?;
    found.note(&format!("{what}: mean"), mean, Unit::Nanos);
    let mut latencies = Latencies::new()?;
    for device in picks {
        let begun = instant();
        read(engine, *device)?;
        latencies.record(begun.elapsed());
    }
    for (name, share) in SHARES {
        found.note(&format!("{what}: {name}"), latencies.within(share), Unit::Nanos);
    }
    Ok(mean)
}

fn mean_nanos(
    picks: &[DeviceId],
    read: impl Fn(DeviceId) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let begun = instant();
    for device in picks {
        read(*device)?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / picks.len() as f64)
}

/// Reads a device that must be there.
pub(super) fn read(engine: &Engine, device: DeviceId) -> anyhow::Result<()> {
    let record = engine.blocking().get(device, NOW)?.live();
    std::hint::black_box(record.context("a record is missing")?);
    Ok(())
}

/// Reads the first `hot` devices once, so that they are cached.
pub(super) fn warm(engine: &Engine, hot: u64) -> anyhow::Result<()> {
    (0..hot).try_for_each(|number| read(engine, device(number)))
}

/// How many of `records` records are kept in memory: all of them if they fit twice and leave as
/// much to others, a million if not.
pub(super) fn hot(records: u64) -> u64 {
    let fitting = available_bytes() / 4 / CACHED_RECORD;
    if records <= fitting { records } else { records.min(HOT).min(fitting.max(1)) }
}

/// A cache in which so many records fit.
pub(super) fn cache_for(records: u64) -> usize {
    usize::try_from(records.saturating_mul(CACHED_RECORD)).unwrap_or(usize::MAX)
}

/// What a measurement of nothing shows.
fn clock_nanos() -> f64 {
    let begun = instant();
    for _ in 0..CLOCK_READINGS {
        std::hint::black_box(instant());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(CLOCK_READINGS)
}

const SPREADS: [Spread; 2] = [Spread::Uniform, Spread::Zipf];
const CACHED_READS: u64 = 2_000_000;
const FILE_READS: u64 = 200_000;
const CLOCK_READINGS: u32 = 1_000_000;
/// How much more than a bare map a cached read may take.
const OVER_BARE: f64 = 2.0;
const HOT: u64 = 1_000_000;
/// More than a cached record takes, in bytes.
const CACHED_RECORD: u64 = 2200;
