//! Drives the engine and the model with the same operations.

use std::sync::Arc;
use std::time::Duration;

use tokenkeep_core::{Clock as _, KeyRing, ManualClock, Timestamp};

use super::input::Input;
use super::state::{ANSWERABLE, Model, Went};
use crate::testing::{Disk, open_on};
use crate::{Engine, Options};

/// Carries out the operations that `bytes` spell, on an engine and on a model, and compares what
/// they answer, through crashes, failed syncs and clock leaps.
///
/// # Panics
/// If engine and model differ.
pub fn run_model(bytes: &[u8]) {
    let mut input = Input { bytes, at: 0 };
    let Ok(ring) = KeyRing::generate() else { return };
    let mut driver = Driver::new(ring, input.next());
    while input.at < bytes.len() {
        driver.step(&mut input);
    }
    driver.crash_if_it_comes_to_it(0);
    driver.reopen();
    driver.compare();
}

/// An engine, a model, and the disk and clock that the engine lives on.
pub(super) struct Driver {
    pub(super) disk: Disk,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ring: KeyRing,
    pub(super) cache_bytes: usize,
    pub(super) engine: Option<Engine>,
    pub(super) model: Model,
    /// The latest time that the wall clock ever told: what was due by then may be forgotten.
    pub(super) latest: Timestamp,
    pub(super) counter: u64,
}

impl Driver {
    fn new(ring: KeyRing, settings: u8) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_700_000_000)));
        let cache_bytes = if settings & 1 == 0 { 0 } else { 1 << 20 };
        let latest = clock.now();
        let disk = Disk::new();
        let model = Model::default();
        let mut driver =
            Self { disk, clock, ring, cache_bytes, engine: None, model, latest, counter: 0 };
        driver.engine = Some(driver.open());
        driver
    }

    pub(super) fn open(&self) -> Engine {
        let options = Options::new()
            .clock(Arc::clone(&self.clock) as Arc<dyn tokenkeep_core::Clock>)
            .key_ring(self.ring.clone())
            .cache_bytes(self.cache_bytes)
            .page_cache_bytes(1 << 20)
            .garbage(1, 1)
            .answerable(ANSWERABLE);
        open_on(&self.disk, options).unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine.clone().unwrap_or_else(|| panic!("the engine is open"))
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let seed = u64::from(input.next());
        self.crash_if_it_comes_to_it(seed);
        self.drop_what_is_forgotten();
        match input.next() % 20 {
            0..=3 => self.insert(input),
            4..=6 => self.replace(input),
            7 => self.remove(input),
            8 => self.remove_all_of(input),
            9 | 10 => self.touch(input),
            11 => self.lease(input),
            12 => self.lease_ends(input),
            13 => self.pass(Duration::from_secs(u64::from(input.next()) * 300)),
            14 => self.pass(Duration::from_secs(u64::from(input.next() % 40) * 86_400)),
            15 => self.leap(input),
            16 => self.upkeep(input),
            17 => self.reopen(),
            18 => self.disk.crash_after(u64::from(input.next() % 64)),
            _ => self.disk.fail_next_sync(input.next() & 1 == 1),
        }
        if !self.disk.has_crashed() {
            self.compare();
        }
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
        let by = Duration::from_secs(u64::from(input.next()) * 3600);
        let now = self.clock.now();
        let ahead = input.next() & 1 == 1;
        self.clock.leap_to(if ahead { now + by } else { now.saturating_sub(by) });
        self.wait_for_the_writer();
    }

    fn upkeep(&mut self, input: &mut Input<'_>) {
        let engine = self.engine();
        let now = self.clock.now();
        let outcome = match input.next() % 4 {
            0 => engine.blocking().flush(),
            1 => engine.blocking().compact(),
            _ => {
                let limit = usize::from(input.next() % 4);
                let freed = engine.blocking().purge_expired(limit, now);
                if let Ok(freed) = &freed {
                    assert!(*freed <= limit, "freed {freed} of at most {limit}");
                }
                freed.map(|_| ())
            }
        };
        self.settle(outcome.map(|()| Went::Done), |_| Went::Done);
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
        self.engine = Some(self.open());
        self.model.reopen();
    }
}
