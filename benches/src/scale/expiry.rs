//! Many records that die within ten seconds: what it costs, what readers notice, what comes back.

mod under_load;

use std::time::Duration;

use tokenkeep::{Clock as _, Insert, Options, Timestamp};

use super::Section;
use super::finding::{Finding, Unit};
use super::machine::processor_time;
use super::site::{Findings, Site, Store, stage};
use crate::{NOW, instant, login, scatter};

pub(super) fn run(site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut found = site.findings(Section::Expiry);
    let (settings, records) = (site.settings, site.records);
    let dying = settings.dying;
    let store = site.store()?;
    stage(&format!("loading {dying} records that will die beside {records}"));
    store.add(FIRST_DYING..FIRST_DYING + dying, dying_login)?;
    let size = store.file_bytes()? as f64;
    cost(&mut found, store, dying)?;
    stage(&format!("loading {dying} more"));
    let numbers = FIRST_DYING + dying..FIRST_DYING + 2 * dying;
    store.add(numbers.clone(), dying_login)?;
    let reused = store.file_bytes()? as f64 / size;
    found.note("file, filled again, over its size before", reused, Unit::Times);
    under_load::run(&mut found, store, settings, records, numbers)?;
    Ok(found.done())
}

/// What a dead record costs when nothing else is done, until its space is free.
fn cost(found: &mut Findings, store: &Store, dying: u64) -> anyhow::Result<()> {
    stage("purging, nothing else at work");
    // Nothing is reclaimed unless it is asked for, so that all of the cost is seen here.
    let (engine, clock) = store.open(Options::new().garbage(100, u64::MAX))?;
    let before = engine.figures();
    clock.put_forward_to(first_death() + DEATHS);
    let (begun, processor) = (instant(), processor_time());
    let mut freed = 0;
    loop {
        let step = engine.blocking().purge_expired(STEP, clock.now())?;
        freed += step as u64;
        if step == 0 {
            break;
        }
    }
    let (took, processor) = (begun.elapsed(), processor_time().saturating_sub(processor));
    anyhow::ensure!(freed == dying, "{freed} of {dying} dead records were freed");
    let each = |time: Duration| time.as_nanos() as f64 / freed as f64;
    found.note(COST, each(processor), Unit::Nanos);
    found.note("a dead record, purged: time", each(took), Unit::Nanos);
    let after = engine.figures();
    let share = |now: u64, before: u64| now as f64 / before as f64;
    let index = share(after.index_bytes, before.index_bytes);
    found.note("index, purged over before", index, Unit::Times);
    found.note("rows, purged over before", share(after.rows, before.rows), Unit::Times);
    Ok(engine.blocking().close()?)
}

/// The login of a device that dies at its instant of the ten seconds.
fn dying_login(number: u64) -> Insert {
    let mut insert = login(number);
    let within = Duration::from_micros(scatter(number) % micros(DEATHS));
    insert.record.refresh_expires_at = first_death() + within;
    insert
}

/// When the first of them dies: long enough after opening for the engine to trust its clock.
fn first_death() -> Timestamp {
    NOW + Duration::from_secs(2 * 60 * 60)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The figure that must not depend on how many live.
pub(super) const COST: &str = "a dead record, purged: processor time";
/// The number of the first device that dies; those that live on have smaller ones.
const FIRST_DYING: u64 = 1 << 40;
/// Within what time they die.
const DEATHS: Duration = Duration::from_secs(10);
/// How many one call purges; about as many as the engine drops in one step by itself.
const STEP: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dying_die_in_every_second_of_the_ten() {
        let mut seconds = [0; 10];
        for number in FIRST_DYING..FIRST_DYING + 1000 {
            let record = dying_login(number).record;
            let after = record.dies_at().duration_since(first_death());
            assert!(record.dies_at() >= first_death() && after < DEATHS);
            seconds[after.as_secs() as usize] += 1;
        }
        assert!(seconds.iter().all(|deaths| *deaths > 50), "{seconds:?}");
    }

    #[test]
    fn whoever_lives_on_outlives_all_of_them() {
        for number in 0..4000 {
            assert!(login(number).record.dies_at() > first_death() + 2 * DEATHS);
        }
    }
}
