//! Measuring one store: load, warm up, then every operation in every setup.

use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use hdrhistogram::Histogram;

use super::keys::{Draws, Picker};
use super::{Cell, Contender, Operation, Plan, Setup};
use crate::peers::{Client, Expired, Peer};
use crate::{Entry, instant};

/// Measures everything that `contender` can do with `records` records.
pub(super) fn measure<P: Peer>(
    contender: Contender,
    plan: &Plan,
    records: u64,
    directory: &Path,
    progress: &dyn Fn(&str),
) -> Result<Vec<Cell>> {
    let directory = tempfile::tempdir_in(directory)?;
    let peer = P::create(directory.path())?;
    let name = format!("{}, {records} records", contender.label());
    progress(&format!("{name}: loading"));
    let cohorts = if contender.operations().contains(&Operation::Expire) {
        cohorts(plan, records)
    } else {
        Vec::new()
    };
    load(&peer, contender, records, &cohorts)?;
    let fresh = AtomicU64::new(first_after(records) + plan.dying * cohorts.len() as u64);
    let work = Work { plan, peer: &peer, draws: Draws::new(records)?, fresh };
    let mut cells = Vec::new();
    for operation in contender.operations().iter().copied() {
        if operation == Operation::Get {
            work.warm_up(records)?;
        }
        for setup in operation.setups().iter().copied() {
            progress(&format!("{name}: {}, {setup}", operation.label()));
            let figures = match operation {
                Operation::Expire => expire(&peer, &cohorts)?,
                _ => work.repeat(operation, setup)?,
            };
            cells.push(figures.cell(contender, records, operation, setup));
        }
    }
    Ok(cells)
}

/// What dies together, one cohort a day.
fn cohorts(plan: &Plan, records: u64) -> Vec<Vec<Entry>> {
    let cohort = |round: u64| {
        let first = first_after(records) + round * plan.dying;
        (first..first + plan.dying)
            .map(|number| Entry::dying(number, (round + 1) * A_DAY))
            .collect()
    };
    (0..plan.repetitions as u64).map(cohort).collect()
}

/// The first device whose user has none among the living.
const fn first_after(records: u64) -> u64 {
    records.next_multiple_of(3)
}

/// The dying come first: whoever dies first was stored first, unless refreshed.
fn load(peer: &impl Peer, contender: Contender, records: u64, dying: &[Vec<Entry>]) -> Result<()> {
    if contender == Contender::Append {
        return Ok(());
    }
    for cohort in dying {
        peer.load(cohort)?;
    }
    for first in (0..records).step_by(LOADED_AT_ONCE) {
        let last = records.min(first + LOADED_AT_ONCE as u64);
        let entries: Vec<_> = (first..last).map(|number| Entry::lasting(number, 0)).collect();
        peer.load(&entries)?;
    }
    Ok(())
}

fn expire(peer: &impl Peer, cohorts: &[Vec<Entry>]) -> Result<Figures> {
    let mut figures = Figures::none()?;
    for (cohort, round) in cohorts.iter().zip(1..) {
        let Expired { freed, took } = peer.expire(round * A_DAY, cohort)?;
        if freed < cohort.len() as u64 {
            figures.rates.clear();
            let dead = cohort.len();
            figures.note = Some(format!("{freed} of {dead} were gone after {took:.1?}"));
            break;
        }
        figures.rates.push(freed as f64 / took.as_secs_f64());
    }
    Ok(figures)
}

/// What the setups of a store share.
struct Work<'a, P> {
    plan: &'a Plan,
    peer: &'a P,
    draws: Draws,
    /// The next device that nobody has seen.
    fresh: AtomicU64,
}

impl<P: Peer> Work<'_, P> {
    /// Reads every record once, if there is time.
    fn warm_up(&self, records: u64) -> Result<()> {
        let (begun, mut client) = (instant(), self.peer.client()?);
        for number in 0..records {
            if number % 256 == 0 && begun.elapsed() > self.plan.warming {
                break;
            }
            ensure!(client.get(number)?.is_some(), "record {number} is missing");
        }
        Ok(())
    }

    fn repeat(&self, operation: Operation, setup: Setup) -> Result<Figures> {
        let duration = match operation {
            Operation::Get | Operation::List => self.plan.reading,
            _ => self.plan.writing,
        };
        self.round(operation, setup, duration / 4)?;
        let mut figures = Figures::none()?;
        for _ in 0..self.plan.repetitions {
            let (rate, latencies) = self.round(operation, setup, duration)?;
            figures.rates.push(rate);
            figures.latencies.add(latencies)?;
        }
        Ok(figures)
    }

    /// One repetition: every thread does one operation after another until the time is over.
    fn round(
        &self,
        operation: Operation,
        setup: Setup,
        duration: Duration,
    ) -> Result<(f64, Histogram<u64>)> {
        let barrier = Barrier::new(setup.threads);
        let round = self.fresh.load(Ordering::Relaxed);
        let done: Vec<Result<Done>> = std::thread::scope(|scope| {
            let start = |thread: usize| {
                let picker = self.draws.picker(setup.keys, round + thread as u64);
                let barrier = &barrier;
                scope.spawn(move || {
                    let client = self.peer.client();
                    barrier.wait();
                    self.drive(client?, operation, picker, duration)
                })
            };
            let threads: Vec<_> = (0..setup.threads).map(start).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Done>>| {
                thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        let mut done = done.into_iter();
        let mut all = done.next().context("no thread was asked for")??;
        for done in done {
            all.add(&done?)?;
        }
        let took = all.ended.saturating_duration_since(all.begun);
        Ok((all.operations as f64 / took.as_secs_f64(), all.latencies))
    }

    fn drive(
        &self,
        mut client: P::Client,
        operation: Operation,
        mut picker: Picker,
        duration: Duration,
    ) -> Result<Done> {
        // Looking at the clock takes as long as a fast read.
        let stride = match operation {
            Operation::Get | Operation::List => 16,
            _ => 1,
        };
        let mut done = Done::begin()?;
        loop {
            let asked = instant();
            self.act(&mut client, operation, &mut picker)?;
            let answered = instant();
            done.latencies.record(as_nanos(answered - asked))?;
            for _ in 1..stride {
                self.act(&mut client, operation, &mut picker)?;
            }
            done.operations += stride;
            done.ended = instant();
            if done.ended - done.begun >= duration {
                return Ok(done);
            }
        }
    }

    fn act(&self, client: &mut P::Client, operation: Operation, picker: &mut Picker) -> Result<()> {
        match operation {
            Operation::Get => {
                let found = black_box(client.get(picker.pick())?);
                ensure!(found.is_some(), "a record is missing");
            }
            Operation::List => {
                let found = black_box(client.list(picker.pick())?);
                ensure!(!found.is_empty(), "a user's devices are missing");
            }
            Operation::Refresh => {
                let number = picker.pick();
                client.refresh(Entry::lasting(number, self.fresh.load(Ordering::Relaxed)))?;
                self.fresh.fetch_add(1, Ordering::Relaxed);
            }
            Operation::Insert => {
                let number = self.fresh.fetch_add(1, Ordering::Relaxed);
                client.insert(Entry::lasting(number, 0))?;
            }
            Operation::Expire => {}
        }
        Ok(())
    }
}

/// What one thread did, or all of them.
struct Done {
    begun: Instant,
    ended: Instant,
    operations: u64,
    latencies: Histogram<u64>,
}

impl Done {
    fn begin() -> Result<Self> {
        let now = instant();
        Ok(Self { begun: now, ended: now, operations: 0, latencies: Histogram::new(DIGITS)? })
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.begun = self.begun.min(other.begun);
        self.ended = self.ended.max(other.ended);
        self.operations += other.operations;
        Ok(self.latencies.add(&other.latencies)?)
    }
}

/// The figures of one cell.
struct Figures {
    rates: Vec<f64>,
    latencies: Histogram<u64>,
    note: Option<String>,
}

impl Figures {
    fn none() -> Result<Self> {
        Ok(Self { rates: Vec::new(), latencies: Histogram::new(DIGITS)?, note: None })
    }

    fn cell(
        mut self,
        contender: Contender,
        records: u64,
        operation: Operation,
        Setup { threads, keys }: Setup,
    ) -> Cell {
        self.rates.sort_unstable_by(f64::total_cmp);
        let micros = |share| {
            let nanos = self.latencies.value_at_quantile(share);
            (!self.latencies.is_empty()).then_some(nanos as f64 / 1000.0)
        };
        Cell {
            contender,
            records,
            operation,
            threads,
            keys,
            per_second: self.rates.get(self.rates.len() / 2).copied(),
            least_per_second: self.rates.first().copied(),
            most_per_second: self.rates.last().copied(),
            p50_micros: micros(0.5),
            p99_micros: micros(0.99),
            note: self.note,
        }
    }
}

fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const A_DAY: u64 = 86_400;
const LOADED_AT_ONCE: usize = 10_000;
/// Latencies are kept to a hundredth.
const DIGITS: u8 = 2;
