//! Drives the engine and the model with the same operations.

use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{Clock as _, KeyRing, ManualClock, StoreError, Timestamp};

use super::input::Input;
use super::known::Known;
use super::settling::MOST_DUE;
use super::state::{ANSWERABLE, Model};
use super::tally::Tally;
use crate::testing::{Disk, open_on};
use crate::{Engine, Options};

/// Carries out the operations that `bytes` spell, on an engine and on a model, and compares what
/// they answer, through crashes, failed syncs and clock leaps. Says what was done.
///
/// # Panics
/// If engine and model differ.
pub fn run_model(bytes: &[u8]) -> Tally {
    let mut input = Input { bytes, at: 0 };
    let Ok(ring) = KeyRing::generate() else { return Tally::default() };
    let mut driver = Driver::new(ring, input.next());
    while input.at < bytes.len() {
        driver.step(&mut input);
    }
    driver.crash_if_it_comes_to_it(0);
    driver.reopen();
    driver.compare();
    driver.tally
}

/// An engine, a model, and the disk and clock that the engine lives on.
pub(super) struct Driver {
    pub(super) disk: Disk,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ring: KeyRing,
    /// What the first byte decides about the options.
    settings: u8,
    pub(super) engine: Option<Engine>,
    pub(super) model: Model,
    /// The latest time that the wall clock ever told: what was due by then may be forgotten.
    pub(super) latest: Timestamp,
    pub(super) counter: u64,
    /// How long the calls were on their way: they carry the time at which they began.
    late_by: Duration,
    /// A sync or a write may fail.
    pub(super) trouble_ahead: bool,
    pub(super) tally: Tally,
}

impl Driver {
    fn new(ring: KeyRing, settings: u8) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        let latest = clock.now();
        let disk = Disk::new();
        let model = Model::default();
        let mut driver = Self {
            disk,
            clock,
            ring,
            settings,
            engine: None,
            model,
            latest,
            counter: 0,
            late_by: Duration::ZERO,
            trouble_ahead: false,
            tally: Tally::default(),
        };
        driver.engine = Some(driver.open());
        driver
    }

    pub(super) fn open(&self) -> Engine {
        // Nothing is cached, or about two records, or all.
        let cache_bytes = match self.settings % 3 {
            0 => 0,
            1 => 1500,
            _ => 1 << 20,
        };
        // Garbage goes at once, or after a while, or only when it is asked to.
        let (percent, rows) = match self.settings / 3 % 3 {
            0 => (1, 1),
            1 => (30, 20),
            _ => (100, u64::MAX),
        };
        let open = || {
            let options = Options::new()
                .clock(Arc::clone(&self.clock) as Arc<dyn tokenkeep_core::Clock>)
                .key_ring(self.ring.clone())
                .cache_bytes(cache_bytes)
                .page_cache_bytes(1 << 20)
                .garbage(percent, rows)
                .answerable(ANSWERABLE);
            open_on(&self.disk, options)
        };
        // A sync that was told to fail may have been left for this.
        open().or_else(|_| open()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine.clone().unwrap_or_else(|| panic!("the engine is open"))
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let seed = u64::from(input.next());
        self.crash_if_it_comes_to_it(seed);
        self.drop_what_is_forgotten();
        match input.next() % 20 {
            0..=10 => self.calls(input),
            11 => self.pass(Duration::from_secs(u64::from(input.next()) * 15)),
            12 => self.pass(Duration::from_secs(u64::from(input.next()).pow(2) * 40)),
            13 => self.leap(input),
            14 | 15 => self.upkeep(input),
            16 => self.reopen(),
            17 => {
                self.disk.crash_after(u64::from(input.next() % 64));
                self.trouble_ahead = true;
            }
            _ => self.fail_next_sync(input),
        }
        if !self.disk.has_crashed() {
            self.compare();
        }
    }

    /// The time that the next call carries.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().saturating_sub(self.late_by)
    }

    /// Decides how late the next calls come: usually not at all, else by some hours, or so that
    /// one that died is found alive. None is late that may fail: it may have ended a session so
    /// long ago that nobody is told whether it did.
    pub(super) fn late_by(&mut self, input: &mut Input<'_>) {
        self.late_by = Duration::ZERO;
        let (byte, due) = (input.next(), self.due());
        if self.trouble_ahead || due.len() > MOST_DUE || !byte.is_multiple_of(4) {
            return;
        }
        let died_at =
            due.first().and_then(|device| self.model.devices.get(device)).map(Known::due_at);
        let hours = Duration::from_secs(u64::from(byte) * 360);
        self.late_by = match died_at {
            Some(died_at) if byte.is_multiple_of(8) => {
                self.clock.now().duration_since(died_at) + Duration::from_secs(1)
            }
            _ => hours,
        };
        self.tally.event("late calls");
    }

    fn fail_next_sync(&mut self, input: &mut Input<'_>) {
        match input.next() % 3 {
            0 => self.disk.fail_next_sync(false),
            1 => self.disk.fail_next_sync(true),
            _ => self.disk.fail_next_sync_unseen(),
        }
        self.trouble_ahead = true;
        self.tally.event("sync to fail");
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.wait_for_the_writer();
    }

    /// Afterwards the writer has seen the clock as it is.
    fn wait_for_the_writer(&mut self) {
        self.latest = self.latest.max(self.clock.now());
        // A failure shows in the next comparison.
        let _ = self.engine().blocking().flush();
    }

    fn leap(&mut self, input: &mut Input<'_>) {
        let hours = input.next();
        // A day or so is what decides over idle sessions.
        let hours = if hours & 1 == 0 { hours / 2 % 32 } else { hours };
        let by = Duration::from_secs(u64::from(hours) * 3600);
        let now = self.clock.now();
        let ahead = input.next() & 1 == 1;
        self.clock.leap_to(if ahead { now + by } else { now.saturating_sub(by) });
        self.tally.event(if ahead { "leap ahead" } else { "leap back" });
        self.wait_for_the_writer();
    }

    fn upkeep(&mut self, input: &mut Input<'_>) {
        let engine = self.engine();
        let (name, outcome) = match input.next() % 4 {
            0 => ("flush", engine.blocking().flush()),
            1 => ("compact", engine.blocking().compact()),
            _ => ("purge", self.purge(usize::from(input.next() % 4))),
        };
        self.tally.operation(name, if outcome.is_ok() { "done" } else { "failed" });
        self.settle(&[], outcome.map(|()| Vec::new()).unwrap_or_else(|error| vec![Err(error)]));
    }

    fn purge(&mut self, limit: usize) -> Result<(), StoreError> {
        let freed = self.engine().blocking().purge_expired(limit, self.clock.now())?;
        assert!(freed <= limit, "freed {freed} of at most {limit}");
        if freed > 0 {
            self.tally.event("purge freed");
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let closed = self.engine().blocking().close();
        if self.disk.has_crashed() {
            self.crash_if_it_comes_to_it(self.counter);
            return;
        }
        self.engine = None;
        self.disk.stay_up();
        if closed.is_err() {
            // What was noted and not written is lost, as in a crash.
            self.restart(vec![self.model.clone()], self.counter);
            return;
        }
        self.tally.event("reopen");
        self.engine = Some(self.open());
        // The last use of a record that is due is not worth a row.
        let mut model = std::mem::take(&mut self.model);
        self.adopt_last_seen(&mut model, |known| known.due_at() <= self.latest);
        self.model = model;
        self.model.reopen();
    }
}
