//! The dying while readers read and writers write, and how soon the engine has let go of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokenkeep::{Clock as _, DeviceId, Engine, Lookup, Options, TokenStore as _};

use super::{DEATHS, first_death};
use crate::scale::Settings;
use crate::scale::finding::Unit;
use crate::scale::latency::SHARES;
use crate::scale::picks::Spread;
use crate::scale::readers::{Crew, Pace, Read, Readers};
use crate::scale::reads::{cache_for, hot, read, warm};
use crate::scale::site::{Findings, Store, stage};
use crate::scale::writers::Writers;
use crate::{device, instant, runtime};

/// The dying of the devices `numbers` beside the same load without it and no load at all.
pub(super) fn run(
    found: &mut Findings,
    store: &Store,
    settings: &Settings,
    records: u64,
    numbers: Range<u64>,
) -> anyhow::Result<()> {
    stage("dying under load");
    let hot = hot(records);
    let (engine, clock) = store.open(Options::new().cache_bytes(cache_for(hot)))?;
    warm(&engine, hot)?;
    clock.put_forward_to(first_death().saturating_sub(TRUSTED));
    let picks: Arc<[DeviceId]> = Spread::Uniform.devices(hot, PICKS, 4)?.into();
    let read = of(&engine);
    let quiet = Readers::read_for(settings.reading, READERS, &picks, &read)?;
    let writers = Writers::start(&engine, WRITERS, records, u64::MAX)?;
    let begun = (instant(), writers.written());
    let loaded = Readers::read_for(settings.reading, READERS, &picks, &read)?;
    found.note("refreshes, nothing dies", rate(&writers, begun), Unit::PerSecond);
    clock.put_forward_to(first_death());
    let begun = (instant(), writers.written());
    let dying = Readers::read_for(DEATHS, READERS, &picks, &read)?;
    found.note("refreshes, while they die", rate(&writers, begun), Unit::PerSecond);
    for (name, share) in SHARES {
        compare(found, name, [&quiet, &loaded, &dying].map(|seen| seen.within(share)));
    }
    let live = runtime().block_on(engine.stats(clock.now()))?.devices;
    anyhow::ensure!(live == records, "{live} devices live, not {records}");
    wait_for_the_index(found, &Dead { engine: &engine, numbers }, &writers)?;
    let rows = engine.figures().rows as f64 / records as f64;
    found.note("rows then, over live records", rows, Unit::Times);
    writers.stop()?;
    Ok(engine.blocking().close()?)
}

fn of(engine: &Engine) -> Read {
    let engine = engine.clone();
    Arc::new(move |device| read(&engine, device))
}

/// Refreshes a second since `begun`.
fn rate(writers: &Writers, begun: (std::time::Instant, u64)) -> f64 {
    (writers.written() - begun.1) as f64 / begun.0.elapsed().as_secs_f64()
}

fn compare(found: &mut Findings, name: &str, [quiet, loaded, dying]: [f64; 3]) {
    found.note(&format!("get, quiet: {name}"), quiet, Unit::Nanos);
    found.note(&format!("get, writers at work: {name}"), loaded, Unit::Nanos);
    found.note(&format!("get, writers at work, dying: {name}"), dying, Unit::Nanos);
    for (before, than) in [("quiet", quiet), ("the same load", loaded)] {
        let what = format!("get {name}, dying over {before}");
        if name == "p99" {
            found.hold(&what, dying / than, Unit::Times, MOST);
        } else {
            found.note(&what, dying / than, Unit::Times);
        }
    }
}

/// Waits, the writers at work, until the index has let go of nearly all that are dead.
fn wait_for_the_index(
    found: &mut Findings,
    dead: &Dead<'_>,
    writers: &Writers,
) -> anyhow::Result<()> {
    let died_at = instant();
    found.note("dead in the index when the last one dies", dead.kept()?, Unit::Times);
    let mut half = None;
    let mut kept = dead.kept()?;
    while kept > LEFT && died_at.elapsed() < PATIENCE && !writers.are_done() {
        if kept <= 0.5 && half.is_none() {
            half = Some(died_at.elapsed());
        }
        let _ = crossbeam_channel::after(LOOKING).recv();
        kept = dead.kept()?;
    }
    let took = died_at.elapsed();
    let half = half.unwrap_or(took).as_secs_f64();
    found.note("until half of the dead are out of the index", half, Unit::Seconds);
    found.note("until all are, or patience ended", took.as_secs_f64(), Unit::Seconds);
    found.hold("dead in the index then", kept, Unit::Times, LEFT);
    Ok(())
}

/// Devices that died.
struct Dead<'a> {
    engine: &'a Engine,
    numbers: Range<u64>,
}

impl Dead<'_> {
    /// The share of them that the index knows: it says of those that they expired. Asks some.
    fn kept(&self) -> anyhow::Result<f64> {
        let step = usize::try_from((self.numbers.end - self.numbers.start) / ASKED)?.max(1);
        let (mut asked, mut kept) = (0.0, 0.0);
        for number in self.numbers.clone().step_by(step) {
            let now = first_death() + DEATHS;
            asked += 1.0;
            match self.engine.blocking().get(device(number), now)? {
                Lookup::Ended(_) => kept += 1.0,
                Lookup::Absent => {}
                Lookup::Live(_) => anyhow::bail!("device {number} lives on"),
            }
        }
        Ok(kept / asked)
    }
}

/// How long before the first death the load begins; the engine trusts its clock by then.
const TRUSTED: Duration = Duration::from_secs(60);
const WRITERS: u64 = 16;
const READERS: Crew = Crew { threads: 2, pace: Pace::Resting };
const PICKS: u64 = 1 << 20;
const MOST: f64 = 2.0;
/// The share of the dead that may stay.
const LEFT: f64 = 0.01;
/// How many of the dead are asked for.
const ASKED: u64 = 1000;
const LOOKING: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);
