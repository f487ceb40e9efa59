//! Readers while 64 threads refresh, and a bare map read in the same way at the same time.

use std::sync::Arc;

use tokenkeep::{DeviceId, Engine, Options};

use super::bare_map::BareMap;
use super::finding::{Finding, Unit};
use super::latency::{Latencies, SHARES};
use super::picks::Spread;
use super::readers::{Crew, Pace, Read, Readers};
use super::reads::{cache_for, hot, read, warm};
use super::site::{Findings, Site, stage};
use super::writers::Writers;
use super::{Section, Settings};
use crate::instant;

pub(super) fn run(site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut found = site.findings(Section::ReadersUnderWriters);
    let (settings, records) = (site.settings, site.records);
    let hot = hot(records);
    let store = site.store()?;
    stage(&format!("reading from {records} records while {WRITERS} threads refresh"));
    let (engine, _clock) = store.open(Options::new().cache_bytes(cache_for(hot)))?;
    warm(&engine, hot)?;
    let map = BareMap::of(&engine, hot)?;
    let ways = [("engine", of_engine(&engine)), ("bare map", of_map(map))];
    let picks = Spread::Uniform.devices(hot, PICKS, 3)?.into();
    let quiet = measure(settings, &ways, &picks)?;
    let begun = instant();
    let writers = Writers::start(&engine, WRITERS, hot, u64::MAX)?;
    let busy = measure(settings, &ways, &picks)?;
    let written = writers.stop()?;
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    found.note("refreshes beside the readers", rate, Unit::PerSecond);
    for (quiet, busy) in quiet.iter().zip(&busy) {
        report(&mut found, settings, quiet, busy);
    }
    engine.blocking().close()?;
    Ok(found.done())
}

/// What one kind of readers saw.
struct Seen {
    readers: usize,
    way: &'static str,
    latencies: Latencies,
}

fn measure(
    settings: &Settings,
    ways: &[(&'static str, Read)],
    picks: &Arc<[DeviceId]>,
) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for readers in READERS {
        for (way, read) in ways {
            let crew = Crew { threads: readers, pace: Pace::Spinning };
            let latencies = Readers::read_for(settings.reading, crew, picks, read)?;
            seen.push(Seen { readers, way, latencies });
        }
    }
    Ok(seen)
}

fn report(found: &mut Findings, settings: &Settings, quiet: &Seen, busy: &Seen) {
    let Seen { readers, way, .. } = quiet;
    let what = format!("{way}, readers: {readers}");
    for (seen, when) in [(quiet, "quiet"), (busy, "writers at work")] {
        let rate = seen.latencies.count() as f64 / settings.reading.as_secs_f64();
        found.note(&format!("{what}, {when}: reads"), rate, Unit::PerSecond);
    }
    for (name, share) in SHARES {
        let (quiet, busy) = (quiet.latencies.within(share), busy.latencies.within(share));
        found.note(&format!("{what}, quiet: {name}"), quiet, Unit::Nanos);
        found.note(&format!("{what}, writers at work: {name}"), busy, Unit::Nanos);
        let ratio = format!("{what}, {name} over quiet {name}");
        if (*way, name) == ("engine", "p99") {
            found.hold(&ratio, busy / quiet, Unit::Times, MOST);
        } else {
            found.note(&ratio, busy / quiet, Unit::Times);
        }
    }
}

fn of_engine(engine: &Engine) -> Read {
    let engine = engine.clone();
    Arc::new(move |device| read(&engine, device))
}

/// Nobody changes it: what its readers see of the writers, the machine does to them.
fn of_map(map: BareMap) -> Read {
    Arc::new(move |device| map.read(device))
}

const WRITERS: u64 = 64;
const READERS: [usize; 2] = [1, 4];
const PICKS: u64 = 1 << 20;
const MOST: f64 = 3.0;
