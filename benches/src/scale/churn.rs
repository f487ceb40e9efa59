//! The size of the file while every record is refreshed again and again.

use std::time::Duration;

use tokenkeep::Options;

use super::Section;
use super::finding::{Finding, Unit};
use super::loading::bar;
use super::site::{Findings, Site, Store, check_space, stage};
use super::writers::Writers;
use crate::instant;

pub(super) fn run(site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut found = site.findings(Section::Churn);
    let (times, records) = (site.settings.churn, site.records);
    let store = site.store()?;
    stage(&format!("refreshing {records} records {times} times"));
    // As much as is live again, and as much as that for compacting.
    check_space(store.path(), 2 * records)?;
    let (engine, _clock) = store.open(Options::new())?;
    engine.blocking().compact()?;
    let live = store.file_bytes()? as f64;
    found.note("live: the file after compacting", live, Unit::Bytes);
    let writers = Writers::start(&engine, WRITERS, records, times.saturating_mul(records))?;
    let largest = watch(&mut found, store, &writers, live, Rounds { times, records })?;
    writers.stop()?;
    let last = store.file_bytes()? as f64;
    let loaded = store.loaded_bytes as f64;
    found.note("the file as it was loaded", loaded, Unit::Bytes);
    found.note("file over the file as loaded, at most", largest / loaded, Unit::Times);
    found.hold("file over live, at most", largest / live, Unit::Times, MOST);
    found.hold("file over live, at the end", last / live, Unit::Times, MOST);
    let figures = engine.figures();
    let share = figures.garbage_rows as f64 / figures.rows as f64;
    found.note("garbage rows over rows, at the end", share, Unit::Times);
    let begun = instant();
    engine.blocking().compact()?;
    found.note("compacting", begun.elapsed().as_secs_f64(), Unit::Seconds);
    let compacted = store.file_bytes()? as f64;
    found.note("file over live, compacted", compacted / live, Unit::Times);
    engine.blocking().close()?;
    Ok(found.done())
}

#[derive(Clone, Copy)]
struct Rounds {
    times: u64,
    records: u64,
}

/// Looks at the file until the writers are done, and notes each round; returns the largest size.
fn watch(
    found: &mut Findings,
    store: &Store,
    writers: &Writers,
    live: f64,
    Rounds { times, records }: Rounds,
) -> anyhow::Result<f64> {
    let bar = bar(times.saturating_mul(records), "refreshes");
    let mut largest = live;
    let (mut begun, mut before) = (instant(), 0);
    let mut round = 1;
    while round <= times {
        let done = writers.are_done();
        let written = writers.written();
        let size = store.file_bytes()? as f64;
        largest = largest.max(size);
        bar.set_position(written);
        if written >= round * records {
            let rate = (written - before) as f64 / begun.elapsed().as_secs_f64();
            found.note(&format!("file over live, after {round} x"), size / live, Unit::Times);
            found.note(&format!("refreshes, round {round}"), rate, Unit::PerSecond);
            (begun, before) = (instant(), written);
            round = written / records + 1;
        } else if done {
            // One of them failed, and stopping them says why.
            break;
        }
        let _ = crossbeam_channel::after(LOOKING).recv();
    }
    bar.finish_and_clear();
    Ok(largest)
}

const WRITERS: u64 = 64;
const MOST: f64 = 2.0;
const LOOKING: Duration = Duration::from_millis(5);
